"""What rows of a job may say for themselves, however they are sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.api import build_app
from serving.engines.spoken import spoken_text
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech, chunk
from tests.serving.jobs.workbench import loop_of, running, until

ROWS: list[dict[str, str]] = [
    {"text": "$5"},
    {"text": "$5", "text_normalization": "off"},
    {"text": "$5", "text_normalization": "on"},
]
CSV = b"text,text_normalization\n$5,\n$5,off\n$5,on\n"
JSONL = "\n".join(map(json.dumps, ROWS)).encode()


@pytest.mark.parametrize(("whole", "first"), [("auto", "five dollars"), ("off", "$5")])
@pytest.mark.parametrize("rows", [CSV, JSONL, None], ids=["csv", "jsonl", "json"])
def test_a_row_says_whether_it_is_normalised_and_is_else_as_its_job(
    store: VoiceStore, settings: Settings, rows: bytes | None, whole: str, first: str
) -> None:
    engine = ScriptedSpeech(chunk(0.2))
    client = TestClient(build_app(engine, store, settings, LocalMetrics()))
    job = sent(client, rows, whole)
    listed = client.get(f"/v1/jobs/{job}/items").json()["data"]
    assert [each["text_normalization"] for each in listed] == [None, "off", "on"]

    async def speak() -> None:
        async with running(loop_of(store, engine, settings, concurrency=1)):
            await until(lambda: client.get(f"/v1/jobs/{job}").json()["finished_at"])

    asyncio.run(speak())
    assert [spoken_text(each) for each in engine.requests] == [first, "$5", "five dollars"]


def sent(client: TestClient, rows: bytes | None, whole: str) -> str:
    """A job of ``rows`` of a file, or of ROWS in a body."""
    fields: dict[str, Any] = {"text_normalization": whole}
    body: dict[str, Any]
    body = {"json": {"items": ROWS, **fields}} if rows is None else {"data": fields, "files": {"file": ("rows", rows)}}
    answer = client.post("/v1/jobs", **body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])
