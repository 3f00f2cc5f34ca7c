"""Jobs outlive every process that works on them: each is killed in the middle, and every item is there once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from serving.audio.wav import wav_bytes
from serving.engines.espeak import EspeakEngine
from serving.engines.text import split_text
from serving.jobs.speaking import speak
from serving.settings import Settings
from serving.store.database import Database
from serving.store.job import JobOptions, NewItem, NewWebhook
from serving.store.job_queue import Claimed
from serving.store.jobs import JobStore
from serving.store.voices import VoiceStore
from serving.store.volume import Volume
from tests.e2e.jobs import ENVIRONMENT, ask, ended, kill, kill_everything, spoken_files, succeeded, until
from tests.e2e.servers import Server, serving
from tests.serving.jobs.receiver import Receiver, receiving

pytestmark = [pytest.mark.xdist_group("jobs"), pytest.mark.timeout(1200)]

ITEMS = 30
SENTENCE = "Sentence {} of item {} goes on for a while, so that it takes its time."
TEXTS = [" ".join(SENTENCE.format(each, number) for each in range(1, 25)) for number in range(1, ITEMS + 1)]


def test_a_job_survives_the_death_of_its_worker_its_engine_the_ingress_and_the_server(
    tmp_path: Path, espeak: EspeakEngine, store: VoiceStore, settings: Settings
) -> None:
    data = tmp_path / "volume"
    with receiving() as receiver:
        receiver.status = 503  # until everything has died once
        survive(data, receiver, espeak, store, settings)


def survive(data: Path, receiver: Receiver, espeak: EspeakEngine, store: VoiceStore, settings: Settings) -> None:
    environment = {**ENVIRONMENT, "KUBEVOICE_JOBS__WEBHOOK_PRIVATE": "true"}
    with serving(data, environment=environment) as server:
        note = {"items": [{"text": "A note."}], "voice": "alloy", "webhook": {"url": receiver.url}}
        told = httpx.post(f"{server.url}/v1/jobs", json=note, timeout=60).json()
        until(server, told["id"], lambda card: card["webhook"]["last_error"] == "it answered 503")
        body = {"items": [{"text": text} for text in TEXTS], "response_format": "wav", "voice": "alloy", "seed": 1}
        job = httpx.post(f"{server.url}/v1/jobs", json=body, timeout=60).json()["id"]
        for number, victim in enumerate(("Jobs", "Espeak", "Ingress"), 1):
            until(server, job, succeeded(3 * number))
            kill(server, victim)
        until(server, job, succeeded(12))
        before = kept(server, job)
        kill_everything(server)

    receiver.status = 204
    with serving(data, environment=environment) as server:
        done = until(server, job, ended)
        assert (done["state"], done["items"]) == ("succeeded", {"total": ITEMS, "succeeded": ITEMS, "failed": 0})
        after = kept(server, job)
        archive = httpx.get(f"{server.url}/v1/jobs/{job}/audio", timeout=60)
        options = JobOptions.model_validate(done["options"])
        until(server, told["id"], lambda card: card["webhook"]["state"] == "delivered")
    assert len(set(receiver.ids())) == 1, "one message, under one id"
    headers, payload = receiver.got[-1]
    assert Webhook(told["webhook"]["secret"]).verify(payload, headers)["data"]["id"] == told["id"]
    assert 12 <= len(before) < ITEMS, "there was work left"
    assert before.items() <= after.items(), "what was done is not done again"
    files = spoken_files(archive.content)
    assert [line["text"] for line in files] == TEXTS
    for number in (1, 12, ITEMS):  # those that were in work when something died are what an undisturbed engine speaks
        item = Claimed(job, number, "", "default", "list", options, data, TEXTS[number - 1], None, None)
        spoken = asyncio.run(speak(item, espeak, settings.voices, store))
        assert files[number - 1]["audio"] == wav_bytes(spoken.pcm, 24_000)
        assert [text for text, _ in spoken.sentences] == split_text(TEXTS[number - 1], 400)


def kept(server: Server, job: str) -> dict[int, str]:
    """The files of the items that are done, by their numbers: each attempt has another name."""
    answer = ask(server, f"/v1/jobs/{job}/items?state=succeeded")
    assert answer is not None
    numbers = [item["number"] for item in answer.json()["data"]]
    files = sorted((server.data / "jobs" / "default" / job / "items").glob("*.wav"))
    return {number: files_of(files, number) for number in numbers}


def files_of(files: list[Path], number: int) -> str:
    return ",".join(f"{path.name}@{path.stat().st_mtime_ns}" for path in files if path.name.startswith(f"{number:05}-"))


def test_where_no_worker_is_messages_are_delivered_and_the_log_says_what_waits(tmp_path: Path) -> None:
    data = tmp_path / "volume"
    with receiving() as receiver:
        ended, waiting = jobs_from_before(data, receiver.url)
        environment = {**ENVIRONMENT, "KUBEVOICE_JOBS__WEBHOOK_PRIVATE": "true", "KUBEVOICE_JOBS__WORKERS": "0"}
        with serving(data, environment=environment) as server:
            until(server, ended, lambda card: card["webhook"]["state"] == "delivered")
            assert [line for line in server.lines if "2 texts of jobs wait" in line and "jobs.workers is 0" in line]
            assert until(server, waiting, lambda card: True)["state"] == "queued"
            httpx.post(f"{server.url}/v1/jobs/{waiting}/cancel", timeout=60).raise_for_status()
            until(server, waiting, lambda card: card["webhook"]["state"] == "delivered")
    assert len(receiver.got) == 2


def jobs_from_before(data: Path, url: str) -> tuple[str, str]:
    """Two jobs of a server that had workers: one that has ended untold, and one that waits."""
    volume = Volume(data)
    volume.create()
    database = Database.for_volume(None, data)
    database.migrate()
    jobs = JobStore(volume, database)
    options = JobOptions(model="espeak-ng", voice="alloy", language="en", response_format="wav", speed=1.0, seed=7)
    webhook = NewWebhook(url, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
    ended, waiting = (
        jobs.add(
            tenant="default", name=None, kind="list", options=options, webhook=webhook,
            items=[NewItem("One."), NewItem("Two.")],
        ).id
        for _ in range(2)
    )  # fmt: skip
    jobs.cancel("default", ended)
    database.close()
    return ended, waiting
