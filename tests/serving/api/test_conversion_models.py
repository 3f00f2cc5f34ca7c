"""``/v1/conversion-models``: upload, list, show and delete; and every upload that is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from serving.api import build_app
from serving.errors import EngineError, ModelFilesError
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.settings_groups import LimitSettings
from serving.store.manifest import verify_manifest
from serving.store.voices import VoiceStore
from serving.store.volume import TOP_FOLDERS
from tests.serving.api.asgi import Exchange, until
from tests.serving.api.listing import files_below
from tests.serving.api.scripted import ScriptedSpeech
from tests.serving.api.scripted_converter import GOOD, ScriptedConverter

ROUTE = "/v1/conversion-models"


@pytest.fixture
def converter() -> ScriptedConverter:
    return ScriptedConverter()


@pytest.fixture
def client(converter: ScriptedConverter, store: VoiceStore, settings: Settings) -> TestClient:
    return TestClient(build_app(ScriptedSpeech(), store, settings, LocalMetrics(), converter))


def upload(client: TestClient, name: str | None = "Ada", file: bytes = GOOD, index: bytes | None = None) -> Any:
    files = {"file": ("ada.pth", file)} | ({"index": ("ada.index", index)} if index is not None else {})
    return client.post(ROUTE, data={} if name is None else {"name": name}, files=files)


def left(settings: Settings) -> set[str]:
    """What is on the volume beside its top folders and what is in the trash."""
    top = {*TOP_FOLDERS, "models/rvc"}
    return {path for path in files_below(settings.data) - top if not path.startswith(".trash")}


def test_a_model_is_uploaded_listed_shown_and_deleted(client: TestClient, settings: Settings) -> None:
    card = upload(client, index=b"index").json()

    assert card["object"] == "conversion_model"
    assert (card["name"], card["version"], card["sample_rate"], card["f0"]) == ("Ada", "v2", 40000, True)
    assert (card["speakers"], card["bytes"], card["notes"]) == (2, 7, ["it calls itself v1"])
    assert client.get(ROUTE).json() == {"object": "list", "data": [card]}
    assert client.get(f"{ROUTE}/{card['id']}").json() == client.get(f"{ROUTE}/Ada").json() == card
    directory = settings.data / "models" / "rvc" / card["id"] / "r1"
    assert set(verify_manifest(directory, hashes=True).files) == {"weights.safetensors"}
    assert not list((settings.data / ".staging").iterdir())

    deleted = client.delete(f"{ROUTE}/Ada").json()
    assert deleted == {"id": card["id"], "object": "conversion_model.deleted", "deleted": True}
    for method in ("GET", "DELETE"):
        answer = client.request(method, f"{ROUTE}/{card['id']}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert left(settings) == set()


@pytest.mark.parametrize(
    ("arguments", "param", "status"),
    [
        ({"file": b"a pickle that wants more"}, "file", 400),
        ({"file": b""}, "file", 400),
        ({"index": b"no index"}, "index", 400),
        ({"name": "../x"}, "name", 400),
        ({"name": ""}, "name", 400),
        ({"name": "x" * 65}, "name", 400),
        ({"name": "rvc_" + "0" * 24}, "name", 400),
        ({"name": None}, "name", 400),
        ({"file": bytes(20_000)}, "file", 413),
        ({"index": bytes(20_000)}, "index", 413),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_bad_upload_is_refused_by_name_and_leaves_nothing(
    converter: ScriptedConverter,
    store: VoiceStore,
    settings: Settings,
    arguments: dict[str, Any],
    param: str,
    status: int,
) -> None:
    small = settings.model_copy(update={"limits": LimitSettings(model_bytes=10_000, index_bytes=10_000)})
    client = TestClient(build_app(ScriptedSpeech(), store, small, LocalMetrics(), converter))
    response = upload(client, **arguments)

    assert (response.status_code, response.json()["error"]["param"]) == (status, param), response.text
    assert left(settings) == set()
    assert client.get(ROUTE).json()["data"] == []
    assert upload(client).status_code == 200


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_both_limits_is_refused_whether_or_not_it_says_its_size(
    converter: ScriptedConverter, store: VoiceStore, settings: Settings, declared: bool
) -> None:
    small = settings.model_copy(update={"limits": LimitSettings(model_bytes=10_000, index_bytes=10_000)})
    client = TestClient(build_app(ScriptedSpeech(), store, small, LocalMetrics(), converter))
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(200_000)
    pieces = (body[start : start + 4096] for start in range(0, len(body), 4096))
    headers = {"Content-Type": "multipart/form-data; boundary=b"}

    response = client.post(ROUTE, content=body if declared else pieces, headers=headers)

    assert (response.status_code, response.json()["error"]["param"]) == (413, "file")
    assert left(settings) == set()


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


FILE = '; filename="../../evil.pth"'
END = b"--b--\r\n"
FORM = "multipart/form-data; boundary=b"
BAD_FORMS: list[tuple[bytes, str, str | None]] = [
    (b"", FORM, "name"),
    (part("name", b"Ada") + END, FORM, "file"),
    (part("name", b"Ada") + part("file", GOOD) + END, FORM, "file"),
    (part("name", b"Ada") + part("name", b"Eve") + part("file", GOOD, FILE) + END, FORM, "name"),
    (part("name", b"Ada") + part("other", GOOD, FILE) + END, FORM, "other"),
    (part("name", b"Ada") + part("pitch", b"3") + part("file", GOOD, FILE) + END, FORM, "pitch"),
    (part("name", b"Ada", FILE) + part("file", GOOD, FILE) + END, FORM, "name"),
    (b"no boundary", FORM, None),
    (part("name", b"Ada"), "multipart/form-data", None),
    (part("name", b"x" * 10_000) + END, FORM, "name"),
    (part("name", b"x" * 20_000) + END, FORM, "name"),
    (b'{"name": "Ada"}', "application/json", None),
]


@pytest.mark.parametrize(("body", "content_type", "param"), BAD_FORMS, ids=range(len(BAD_FORMS)))
def test_a_bad_form_is_refused_and_leaves_nothing(
    client: TestClient, settings: Settings, body: bytes, content_type: str, param: str | None
) -> None:
    response = client.post(ROUTE, content=body, headers={"Content-Type": content_type})

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param), error
    assert left(settings) == set()


def test_the_files_name_is_never_a_path(client: TestClient, settings: Settings) -> None:
    body = part("name", b"Ada") + part("file", GOOD, FILE) + END
    assert client.post(ROUTE, content=body, headers={"Content-Type": FORM}).status_code == 200
    assert not [path for path in files_below(settings.data.parent) if "evil" in path]


def test_a_name_can_be_used_once(client: TestClient, settings: Settings) -> None:
    assert upload(client, "Zo\u00e9").status_code == 200
    before = left(settings)
    response = upload(client, "Zoe\u0301")
    assert (response.status_code, response.json()["error"]["param"]) == (409, "name")
    assert left(settings) == before


def test_uploads_of_one_name_at_once_store_one_model(client: TestClient, settings: Settings) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with client, ThreadPoolExecutor(6) as threads:
        statuses = [answer.status_code for answer in threads.map(lambda _: upload(client), range(6))]

    assert sorted(statuses) == [200] + [409] * 5
    assert len(list((settings.data / "models" / "rvc").iterdir())) == 1
    assert not list((settings.data / ".staging").iterdir())


def test_where_weights_are_missing_the_upload_says_so_before_it_is_read(
    client: TestClient, converter: ScriptedConverter, settings: Settings
) -> None:
    converter.check_error = ModelFilesError("the content encoder is missing; run: kubevoice models pull rvc-base")
    response = upload(client)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "model_files")
    assert "kubevoice models pull rvc-base" in response.json()["error"]["message"]
    assert client.get(ROUTE).json()["data"] == []
    assert left(settings) == set()


def test_a_replica_that_fails_leaves_nothing(
    client: TestClient, converter: ScriptedConverter, settings: Settings
) -> None:
    async def fail(*_: object) -> None:
        raise EngineError("the replica died")

    converter.ingest = fail  # type: ignore[assignment,method-assign]
    assert upload(client).status_code == 500
    assert left(settings) == set()


async def test_a_client_that_is_cut_off_leaves_nothing_and_its_work_is_stopped(
    converter: ScriptedConverter, store: VoiceStore, settings: Settings
) -> None:
    converter.ingest_hold = asyncio.Event()
    app = build_app(ScriptedSpeech(), store, settings, LocalMetrics(), converter)
    body = part("name", b"Ada") + part("file", GOOD, FILE) + END
    exchange = Exchange(app, "POST", ROUTE, body=body, headers={b"content-type": FORM.encode()})
    await until(lambda: converter.running)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.task

    assert (converter.running, converter.cancelled) == (0, 1)
    assert left(settings) == set()
    assert app.state.context.conversion_models.list("default") == []


async def test_at_most_two_are_taken_in_at_a_time(
    converter: ScriptedConverter, store: VoiceStore, settings: Settings
) -> None:
    converter.ingest_hold = asyncio.Event()
    app = build_app(ScriptedSpeech(), store, settings, LocalMetrics(), converter)
    exchanges = [
        Exchange(
            app,
            "POST",
            ROUTE,
            body=part("name", name) + part("file", GOOD, FILE) + END,
            headers={b"content-type": FORM.encode()},
        )
        for name in (b"a", b"b", b"c")
    ]
    await until(lambda: len(list((settings.data / ".staging").glob("upload-*"))) == 3)
    await asyncio.sleep(0.1)
    assert converter.running == 2
    converter.ingest_hold.set()
    for exchange in exchanges:
        await exchange.end()
        assert exchange.status == 200


async def test_uploads_that_take_long_hold_no_other_up(
    converter: ScriptedConverter, store: VoiceStore, settings: Settings
) -> None:
    app = build_app(ScriptedSpeech(), store, settings, LocalMetrics(), converter)
    headers = {b"content-type": FORM.encode()}
    slow = [Exchange(app, "POST", ROUTE, body=None, headers=headers) for _ in range(4)]
    for exchange in slow:
        await exchange.send(part("name", b"slow"))
    quick = Exchange(app, "POST", ROUTE, body=part("name", b"Ada") + part("file", GOOD, FILE) + END, headers=headers)
    await quick.end()
    assert quick.status == 200
    for exchange in slow:
        await exchange.leave()
        await exchange.end()
    assert list((settings.data / ".staging").iterdir()) == []


async def test_a_client_that_stops_sending_is_told_and_nothing_stays(
    converter: ScriptedConverter, store: VoiceStore, settings: Settings
) -> None:
    impatient = settings.model_copy(update={"limits": LimitSettings(stalled_client_s=0.2)})
    app = build_app(ScriptedSpeech(), store, impatient, LocalMetrics(), converter)
    stalled = Exchange(app, "POST", ROUTE, body=None, headers={b"content-type": FORM.encode()})
    await stalled.send(part("name", b"Ada"))
    await stalled.end()
    error = json.loads(stalled.body)["error"]
    assert (stalled.status, error["code"]) == (408, "body_timeout")
    assert left(settings) == set()


@pytest.mark.parametrize("key", ["../../secret", "%2e%2e%2fsecret", "..", "/etc/passwd", "a\0b", "\u202e", "x" * 3000])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_path_for_an_id_finds_nothing(client: TestClient, settings: Settings, method: str, key: str) -> None:
    upload(client)
    before = left(settings)
    for path in {quote(key, safe=""), quote(key, safe="%")}:
        response = client.request(method, f"{ROUTE}/{path}")
        assert response.status_code in (404, 405)
        assert len(response.text) < 600
    assert left(settings) == before


def test_without_a_converter_models_can_be_listed_and_the_rest_says_why(store: VoiceStore, settings: Settings) -> None:
    client = TestClient(build_app(ScriptedSpeech(), store, settings, LocalMetrics()))
    assert client.get(ROUTE).json() == {"object": "list", "data": []}
    response = upload(client)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_served")
    assert "rvc.enabled" in response.json()["error"]["message"]
