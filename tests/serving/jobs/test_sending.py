import dataclasses
import json
import re
import secrets
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from serving.jobs import sending
from serving.jobs.sending import NotDelivered, new_client, send, signed
from serving.store.webhooks import Message, receiver_of
from tests.e2e.tls import make_certificate, tls_in_front_of
from tests.serving.jobs.receiver import Receiver, receiving

SECRET = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
DOCS = Path(__file__).parents[3] / "docs" / "jobs.md"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def message(url: str) -> Message:
    payload = '{"type":"job.succeeded","data":{"name":"Bücher"}}'
    return Message("msg_1", "job-1", "a", receiver_of(url), "lease", url, SECRET, payload, 0)


async def sent(to: Message, *, private: bool = True) -> None:
    async with new_client() as client:
        await send(to, client, private=private)


async def test_a_message_is_verified_by_the_specifications_own_client(receiver: Receiver) -> None:
    it = message(receiver.url)
    await sent(it)
    ((headers, body),) = receiver.got
    assert Webhook(SECRET).verify(body, headers) == json.loads(it.payload)
    assert (headers["webhook-id"], headers["content-type"]) == (it.id, "application/json")
    assert headers["host"] == receiver.url.split("/")[2]


def test_the_documented_lines_verify_a_message_and_nothing_else() -> None:
    code = re.search(r"```python\n(import base64.+?)```", DOCS.read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    it = message("https://example.com")
    headers, body = dict(signed(it, int(time.time()))), it.payload.encode()
    assert names["verify"](SECRET, headers, body)
    assert not names["verify"](SECRET, headers, body + b" ")
    assert not names["verify"](SECRET, {**headers, "webhook-id": "msg_2"}, body)
    assert not names["verify"]("whsec_" + b64encode(b"x" * 24).decode(), headers, body)
    assert not names["verify"](SECRET, dict(signed(it, int(time.time()) - 3600)), body)


@pytest.mark.parametrize(("status", "final"), [(200, None), (201, None), (400, False), (410, True), (503, False)])
async def test_only_2xx_is_a_receipt_and_410_ends_it(receiver: Receiver, status: int, final: bool | None) -> None:
    receiver.status = status
    if final is None:
        await sent(message(receiver.url))
        return
    with pytest.raises(NotDelivered, match=f"it answered {status}") as refused:
        await sent(message(receiver.url))
    assert refused.value.final is final


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 307, {"Location": receiver.url}
    with pytest.raises(NotDelivered, match="307; redirects are not followed"):
        await sent(message(receiver.url))
    assert len(receiver.got) == 1


async def test_nothing_goes_to_an_address_inside(receiver: Receiver) -> None:
    with pytest.raises(NotDelivered, match="not https"):
        await sent(message(receiver.url), private=False)
    with pytest.raises(NotDelivered, match="not public"):
        await sent(message(receiver.url.replace("http:", "https:")), private=False)
    assert receiver.got == []


async def test_a_name_is_resolved_once_and_the_checked_address_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere a moment later leads nowhere: the client is given the address."""
    asked: list[str] = []

    async def once(host: str, _port: int, *, private: bool) -> list[str]:
        asked.append(f"{host} {private}")
        return ["127.0.0.1"]

    monkeypatch.setattr(sending, "resolved", once)
    await sent(message(receiver.url.replace("127.0.0.1", "hooks.example")))
    assert asked == ["hooks.example True"]
    assert receiver.got[0][0]["host"].startswith("hooks.example:")


async def test_a_certificate_has_to_be_of_the_name_and_of_an_authority(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    port = int(receiver.url.split(":")[2].split("/")[0])
    with tls_in_front_of(port, certificate) as secure:
        url = f"https://127.0.0.1:{secure}/hook"
        with pytest.raises(NotDelivered, match="certificate is not accepted"):
            await sent(message(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        await sent(message(url))

        async def elsewhere(*_: object, **__: object) -> list[str]:
            return ["127.0.0.1"]

        monkeypatch.setattr(sending, "resolved", elsewhere)
        with pytest.raises(NotDelivered, match="certificate is not accepted"):
            await sent(message(url.replace("127.0.0.1", "hooks.example")))
    assert len(receiver.got) == 1


async def test_who_does_not_answer_is_given_up(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.3)
    receiver.hold.clear()
    with pytest.raises(NotDelivered, match="did not answer within"):
        await sent(message(receiver.url))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/?token=t0ken", "http://nobody.invalid/?token=t0ken", "http://a:b/"]
)
async def test_errors_say_why_and_have_neither_url_nor_secret(url: str) -> None:
    with pytest.raises(NotDelivered) as refused:
        await sent(message(url))
    assert "t0ken" not in str(refused.value)
    assert SECRET not in repr(refused.value)
    assert refused.value.__cause__ is None


async def test_a_secret_that_is_none_fails_the_message_and_not_the_loop(receiver: Receiver) -> None:
    with pytest.raises(NotDelivered, match="the request failed"):
        await sent(dataclasses.replace(message(receiver.url), secret="whsec_A"))
