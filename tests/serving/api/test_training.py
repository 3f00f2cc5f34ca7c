"""``/v1/training/runs`` with real, supervised processes behind them."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.errors import NotFound
from serving.settings import Settings
from serving.store.training_files import read_run
from serving.store.voices import VoiceStore
from tests.serving.api.standin import StandIn
from tests.serving.api.training_client import (
    DATASETS,
    RUNS,
    WAIT_S,
    add_weights,
    client_of,
    start,
    until_ended,
    until_said,
)


@pytest.fixture
def client(store: VoiceStore, settings: Settings, launcher: StandIn) -> TestClient:
    add_weights(settings)
    return client_of(store, settings, launcher)


def folder(settings: Settings, run: str) -> Path:
    return settings.data / "training" / "default" / run


def runs_started(launcher: StandIn) -> list[str]:
    return sorted(run.name for run in launcher.runs() if run.name.startswith("run-"))


def test_a_run_trains_on_a_dataset_and_tells_how_it_goes(
    client: TestClient, dataset: dict[str, Any], settings: Settings, launcher: StandIn
) -> None:
    card = start(client, name="First").json()
    assert (card["object"], card["name"], card["dataset"]) == ("training.run", "First", dataset["id"])
    assert (card["model"], card["revision"], card["settings"]["epochs"]) == ("xtts_v2", None, 1)
    spec = read_run(folder(settings, card["id"]))
    assert (spec.tenant, spec.name, spec.dataset, spec.settings.epochs) == ("default", card["id"], dataset["id"], 1)
    assert launcher.started[-1] == ["python", "-m", "training.xtts", str(folder(settings, card["id"]))]

    ended = until_ended(client, f"{RUNS}/{card['id']}")
    assert (ended["state"], ended["reason"], ended["attempt"]) == ("succeeded", "", 1)
    assert (ended["progress"]["stage"], ended["progress"]["step"]) == ("succeeded", 10)
    assert client.get(RUNS).json() == {"object": "list", "data": [ended], "has_more": False}
    assert client.get(f"{RUNS}/{card['id']}/logs").text == f"attempt on {dataset['id']}\ndone\n"


def test_what_ended_is_told_although_the_launcher_has_forgotten_it(
    client: TestClient, dataset: dict[str, Any], launcher: StandIn
) -> None:
    card = start(client).json()
    ended = until_ended(client, f"{RUNS}/{card['id']}")
    launcher.stop(card["job"])
    assert client.get(f"{RUNS}/{card['id']}").json() == ended
    answer = client.get(f"{RUNS}/{card['id']}/logs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_the_same_key_and_body_are_one_run(client: TestClient, dataset: dict[str, Any], launcher: StandIn) -> None:
    first, second = (start(client, key="k-1").json() for _ in range(2))
    assert first["id"] == second["id"]
    assert start(client, key="k-2").json()["id"] != first["id"]
    assert start(client).json()["id"] != start(client).json()["id"]
    assert len(runs_started(launcher)) == 4


def test_the_same_key_with_another_body_is_refused(client: TestClient, dataset: dict[str, Any]) -> None:
    first = start(client, key="k-1").json()
    answer = start(client, key="k-1", epochs=2)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (409, "idempotency_conflict", "Idempotency-Key")
    assert first["id"] in error["message"]


@pytest.mark.parametrize("key", ["", "a b", "k" * 256])
def test_a_bad_key_is_refused_by_name(client: TestClient, key: str) -> None:
    answer = start(client, key=key)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_the_same_request_at_once_from_two_replicas_is_one_run(
    client: TestClient, dataset: dict[str, Any], store: VoiceStore, settings: Settings, launcher: StandIn
) -> None:
    other = client_of(store, settings, StandIn(launcher.root))
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda c=each: answers.append(start(c, key="k-1"))) for each in (client, other) * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(runs_started(launcher)) == 1
    assert until_ended(client, f"{RUNS}/{answers[0].json()['id']}")["state"] == "succeeded"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "dataset"),
        ({"dataset": "none"}, 404, "dataset"),
        ({"dataset": "Ada", "model": "none"}, 404, "model"),
        ({"dataset": "Ada", "revision": "none"}, 404, "revision"),
        ({"dataset": "Ada", "model": "../x"}, 400, "model"),
        ({"dataset": "Ada", "name": "a/b"}, 400, "name"),
        ({"dataset": "Ada", "settings": {"epochs": 0}}, 400, "settings.epochs"),
        ({"dataset": "Ada", "settings": {"epoch": 1}}, 400, "settings.epoch"),
        ({"dataset": "Ada", "setting": {}}, 400, "setting"),
    ],
)
def test_a_bad_request_is_refused_by_field_and_records_nothing(
    client: TestClient, dataset: dict[str, Any], body: dict[str, Any], status: int, param: str
) -> None:
    answer = client.post(RUNS, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert client.get(RUNS).json()["data"] == []


def test_a_language_that_the_base_model_does_not_speak_is_refused_before_anything_starts(
    client: TestClient, dataset: dict[str, Any], settings: Settings, launcher: StandIn
) -> None:
    (add_weights(settings, "german") / "config.json").write_text('{"languages": ["de"]}')
    refused = start(client, revision="german", key="k-1")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "dataset"
    assert "language 'en' is not one that model xtts_v2@german speaks; take one of de" in refused.text
    assert runs_started(launcher) == []
    assert start(client, revision="r1", key="k-1").status_code == 200  # what it speaks is not known here


def test_settings_are_finite(client: TestClient, dataset: dict[str, Any]) -> None:
    body = '{"dataset": "Ada", "settings": {"save_every_minutes": Infinity}}'
    answer = client.post(RUNS, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "settings.save_every_minutes")


def test_a_run_that_fails_says_why_in_the_trainers_words(client: TestClient, dataset: dict[str, Any]) -> None:
    ended = until_ended(client, f"{RUNS}/{start(client, epochs=42).json()['id']}")
    assert (ended["state"], ended["reason"]) == ("failed", "the dataset has no clips; prepare it again")


def test_a_cancelled_run_saves_and_is_resumed_in_the_same_folder(
    client: TestClient, dataset: dict[str, Any], settings: Settings, launcher: StandIn
) -> None:
    card = start(client, epochs=1000).json()
    path = f"{RUNS}/{card['id']}"
    until_said(client, path)
    cancelled = client.post(f"{path}/cancel").json()
    assert (cancelled["state"], cancelled["reason"]) == ("running", "told to stop; it saves first")
    ended = until_ended(client, path)
    assert (ended["state"], ended["progress"]["stage"], ended["progress"]["step"]) == ("cancelled", "stopped", 3)
    assert client.get(f"{path}/logs").text.endswith("saved\n")
    again = client.post(f"{path}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")

    (folder(settings, card["id"]) / "finish").touch()
    resumed = client.post(f"{path}/resume").json()
    assert (resumed["attempt"], resumed["job"]) == (2, f"{card['id']}-2")
    assert until_ended(client, path)["state"] == "succeeded"
    assert launcher.started[-1] == launcher.started[-2]
    assert client.post(f"{path}/resume").status_code == 409


def test_a_run_at_work_is_neither_resumed_nor_deleted(client: TestClient, dataset: dict[str, Any]) -> None:
    path = f"{RUNS}/{start(client, epochs=1000).json()['id']}"
    assert client.post(f"{path}/resume").status_code == 409
    assert client.delete(path).status_code == 409
    assert client.get(path).json()["state"] in ("queued", "running")


def test_a_run_that_ended_is_deleted_with_its_files(
    client: TestClient, dataset: dict[str, Any], settings: Settings, launcher: StandIn
) -> None:
    card = start(client, key="k-1").json()
    until_ended(client, f"{RUNS}/{card['id']}")
    answer = client.delete(f"{RUNS}/{card['id']}").json()
    assert answer == {"id": card["id"], "object": "training.run.deleted", "deleted": True}
    assert not folder(settings, card["id"]).exists()
    assert runs_started(launcher) == []
    assert client.get(f"{RUNS}/{card['id']}").status_code == 404
    assert start(client, key="k-1").json()["id"] != card["id"]


def resume(client: TestClient, path: str) -> None:
    """Resume a run that has said that it failed, as soon as its supervisor has ended too."""
    deadline = time.monotonic() + WAIT_S
    while (answer := client.post(f"{path}/resume")).status_code != 200:
        assert answer.status_code == 409, answer.text
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)


def test_nothing_is_left_of_any_attempt_of_a_run_that_is_deleted_at_its_end(
    client: TestClient, dataset: dict[str, Any], settings: Settings
) -> None:
    path = f"{RUNS}/{start(client, epochs=42).json()['id']}"
    for _ in range(3):
        assert until_ended(client, path)["state"] == "failed"
        resume(client, path)
    assert until_ended(client, path)["attempt"] == 4
    assert client.delete(path).status_code == 200  # at once: its supervisor may be on its way out
    assert [one.name for one in (settings.data / "launch").iterdir() if one.name.startswith("run-")] == []
    assert list((settings.data / "training" / "default").iterdir()) == []


def test_a_dataset_in_use_stays_and_is_not_changed(client: TestClient, dataset: dict[str, Any]) -> None:
    card = start(client, epochs=1000).json()
    answer = client.delete(f"{DATASETS}/Ada")
    assert (answer.status_code, answer.json()["error"]["param"]) == (409, "dataset")
    assert card["id"] in answer.json()["error"]["message"]
    files = [("files", ("b.wav", b"RIFFb"))]
    assert client.post(f"{DATASETS}/Ada/files", files=files).status_code == 409
    assert client.get(f"{DATASETS}/Ada").json() == dataset
    client.post(f"{RUNS}/{card['id']}/cancel")
    until_ended(client, f"{RUNS}/{card['id']}")
    assert client.delete(f"{DATASETS}/Ada").status_code == 200


def test_runs_come_in_pages_newest_first(client: TestClient, dataset: dict[str, Any]) -> None:
    made = [start(client).json()["id"] for _ in range(3)]
    page = client.get(RUNS, params={"limit": 2}).json()
    assert ([run["id"] for run in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
    rest = client.get(RUNS, params={"limit": 2, "after": made[1]}).json()
    assert ([run["id"] for run in rest["data"]], rest["has_more"]) == ([made[0]], False)
    missing = client.get(RUNS, params={"after": "none"})
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "after")
    assert client.get(RUNS, params={"limit": 0}).json()["error"]["param"] == "limit"


def test_evaluation_and_samples_are_given_and_nothing_beside_them(
    client: TestClient, dataset: dict[str, Any], settings: Settings
) -> None:
    card = start(client).json()
    path = f"{RUNS}/{card['id']}"
    until_ended(client, path)
    rows = client.get(f"{path}/evaluation").json()["data"]
    assert rows == [{"name": "base", "val_loss": 2.5}, {"name": "run", "val_loss": None}]
    (sample,) = client.get(f"{path}/samples").json()["data"]
    assert (sample["path"], sample["bytes"]) == ("step_000001/0.wav", 10)
    audio = client.get(sample["url"])
    assert (audio.content, audio.headers["content-type"]) == (b"RIFFsample", "audio/wav")
    (folder(settings, card["id"]) / "samples" / "link.wav").symlink_to("/etc/passwd")
    for bad in ("%2e%2e/run.json", "..%2frun.json", "link.wav", "none.wav", "step_000001", "%2fetc%2fpasswd", ".x.wav"):
        assert client.get(f"{path}/samples/{bad}").status_code == 404, bad


def test_samples_are_listed_by_step(client: TestClient, dataset: dict[str, Any], settings: Settings) -> None:
    card = start(client).json()
    path = f"{RUNS}/{card['id']}"
    until_ended(client, path)
    samples = folder(settings, card["id"]) / "samples"
    shutil.rmtree(samples)
    for step in (10, 9, 0):
        (samples / f"step-{step}").mkdir(parents=True)
        (samples / f"step-{step}" / "b2.wav").touch()
        (samples / f"step-{step}" / "a10.wav").touch()
    listed = [sample["path"] for sample in client.get(f"{path}/samples").json()["data"]]
    assert listed == [f"step-{step}/{name}.wav" for step in (0, 9, 10) for name in ("a10", "b2")]


def test_a_run_that_has_nothing_yet_says_so(client: TestClient, dataset: dict[str, Any]) -> None:
    path = f"{RUNS}/{start(client, epochs=1000).json()['id']}"
    assert client.get(f"{path}/samples").json()["data"] == []
    for route, method in (("evaluation", "get"), ("promote", "post"), ("rollback", "post")):
        answer = getattr(client, method)(f"{path}/{route}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "run"), route


@pytest.mark.parametrize(
    ("method", "route"), [("get", ""), ("get", "/logs"), ("post", "/cancel"), ("post", "/promote")]
)
def test_a_run_that_is_not_there_is_said_to_be_none(client: TestClient, method: str, route: str) -> None:
    for name in ("none", "run-0", "a%00b", "x" * 300):
        answer = getattr(client, method)(f"{RUNS}/{name}{route}")
        assert answer.status_code == 404, name


def test_where_training_is_off_every_route_says_so(store: VoiceStore, settings: Settings) -> None:
    off = client_of(store, settings, NotFound("training is switched off here", code="not_served"))
    for path in (RUNS, f"{RUNS}/x", f"{RUNS}/x/logs", DATASETS, f"{DATASETS}/x/report"):
        answer = off.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_served")
