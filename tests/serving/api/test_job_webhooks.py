import base64
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.api import build_app
from serving.engines.espeak import EspeakEngine
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore

JOBS = "/v1/jobs"
URL = "https://example.com/hook?token=1"
SECRET = "whsec_" + base64.b64encode(b"0123456789" * 3).decode()


def created(client: TestClient, webhook: Any, **headers: str) -> dict[str, Any]:
    answer = client.post(JOBS, json={"text": "One.", "webhook": webhook}, headers=headers)
    assert answer.status_code == 200, answer.text
    card: dict[str, Any] = answer.json()
    return card


def test_a_secret_is_made_and_told_to_who_asked_only(client: TestClient) -> None:
    job = created(client, {"url": URL}, **{"Idempotency-Key": "k"})
    hook = job["webhook"]
    assert (hook["url"], hook["state"], hook["attempts"], hook["last_error"]) == (URL, "pending", 0, None)
    assert hook["secret"].startswith("whsec_")
    assert len(base64.b64decode(hook["secret"].removeprefix("whsec_"))) == 24
    again = created(client, {"url": URL}, **{"Idempotency-Key": "k"})
    assert again["webhook"]["secret"] == hook["secret"], "the first answer may have been lost"

    for path in (f"{JOBS}/{job['id']}", JOBS, f"{JOBS}/{job['id']}/items"):
        assert hook["secret"] not in client.get(path).text
    assert hook["secret"] not in client.post(f"{JOBS}/{job['id']}/cancel").text
    assert created(client, {"url": URL})["webhook"]["secret"] != hook["secret"]


def test_a_secret_of_ones_own_is_not_repeated(client: TestClient) -> None:
    job = created(client, {"url": URL, "secret": SECRET}, **{"Idempotency-Key": "k"})
    assert job["webhook"]["secret"] is None
    assert SECRET not in json.dumps(job)
    other = {"url": URL, "secret": SECRET[:-4] + "MDEy"}
    body = {"text": "One.", "webhook": other}
    answer = client.post(JOBS, json=body, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 409, "another secret is another request"


def test_a_job_without_a_webhook_says_so(client: TestClient) -> None:
    assert created(client, None)["webhook"] is None


def test_a_form_has_it_as_json(client: TestClient) -> None:
    files = {"file": ("rows.csv", b"text\nOne.\n")}
    answer = client.post(JOBS, data={"webhook": json.dumps({"url": URL})}, files=files)
    assert answer.json()["webhook"]["url"] == URL
    refused = client.post(JOBS, data={"webhook": URL}, files=files)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "webhook")
    assert refused.json()["error"]["message"].startswith("webhook: write it as JSON")


@pytest.mark.parametrize(
    "url",
    [
        "example.com", "http://example.com/", "ftp://example.com/", "https://", "https://user:pw@example.com/",
        "https://example.com/#a", "https://example.com:99999/", "https://b\u00fccher.example/", "https://a b/",
        "https://127.0.0.1/", "https://10.1.2.3/", "https://169.254.169.254/latest", "https://[::1]/",
        "https://localhost/", "https://localhost./", "https://db.internal/", "https://[::ffff:10.0.0.1]/",
    ],
)  # fmt: skip
def test_a_url_to_which_nothing_may_be_sent_is_refused_at_once(client: TestClient, url: str) -> None:
    answer = client.post(JOBS, json={"text": "One.", "webhook": {"url": url}})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "webhook.url")
    assert client.get(JOBS).json()["data"] == []


@pytest.mark.parametrize(
    "secret", ["abc", "whsec_", "whsec_short", "whsec_" + "A" * 200, SECRET[6:], "whsec_*" + SECRET]
)
def test_a_bad_secret_is_refused_without_repeating_it(client: TestClient, secret: str) -> None:
    answer = client.post(JOBS, json={"text": "One.", "webhook": {"url": URL, "secret": secret}})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "webhook.secret")
    assert len(secret) < 7 or secret not in answer.text


def test_a_setting_lets_them_go_inside(espeak: EspeakEngine, store: VoiceStore, settings: Settings) -> None:
    inside = settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"webhook_private": True})})
    client = TestClient(build_app(espeak, store, inside, LocalMetrics()))
    for url in ("http://127.0.0.1:9/", "http://hooks.default.svc/"):
        assert created(client, {"url": url})["webhook"]["url"] == url
    refused = client.post(JOBS, json={"text": "One.", "webhook": {"url": "ftp://127.0.0.1/"}})
    assert refused.json()["error"]["message"] == "webhook.url must be https:// or http://"
