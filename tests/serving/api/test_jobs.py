import asyncio
import io
import itertools
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.api import build_app
from serving.audio.decode import decode
from serving.audio.wav import read_wav, wav_bytes
from serving.engines.espeak import EspeakEngine
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.audio_measure import tone
from tests.serving.jobs.workbench import loop_of, running, until

JOBS = "/v1/jobs"
BOOK = "It was a night. Nobody spoke & nobody sang!\n\n***\n\nThen came the morning. " + "A long day passed. " * 60
ITEMS = [{"text": "One."}, {"text": "Zwei.", "language": "de"}, {"text": "Three.", "voice": "alloy"}]

RECORDING = ("a.wav", wav_bytes(tone(220, 2.0, 16000), 16000), "audio/wav")

Work = Callable[[str], dict[str, Any]]


@pytest.fixture
def work(client: TestClient, espeak: EspeakEngine, store: VoiceStore, settings: Settings) -> Work:
    """Speaks a job to its end as a worker does, and gives its card."""

    def spoken(job: str) -> dict[str, Any]:
        async def speak() -> None:
            async with running(loop_of(store, espeak, settings)):
                await until(lambda: client.get(f"{JOBS}/{job}").json()["finished_at"])

        asyncio.run(speak())
        card: dict[str, Any] = client.get(f"{JOBS}/{job}").json()
        return card

    return spoken


def created(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post(JOBS, json=fields)
    assert answer.status_code == 200, answer.text
    card: dict[str, Any] = answer.json()
    return card


def error(answer: Any) -> tuple[int, str | None, str]:
    assert answer.status_code >= 400, answer.text
    return answer.status_code, answer.json()["error"]["param"], answer.json()["error"]["code"]


def test_a_book_becomes_one_file_with_subtitles_that_fit_it_to_the_sample(client: TestClient, work: Work) -> None:
    job = created(client, text=BOOK, voice="alloy", response_format="wav", name="A book")
    assert (job["state"], job["kind"], job["name"], job["progress"], job["eta_seconds"]) == (
        ("queued", "text", "A book", 0.0, None)
    )
    assert job["items"]["total"] > 1
    done = work(job["id"])
    assert (done["state"], done["progress"], done["items"]["failed"]) == ("succeeded", 1.0, 0)

    whole = client.get(f"{JOBS}/{job['id']}/audio")
    assert whole.headers["content-type"] == "audio/wav"
    assert int(whole.headers["content-length"]) == len(whole.content)
    samples = (len(whole.content) - 44) // 2
    assert done["usage"]["audio_seconds"] == pytest.approx(samples / 24_000, abs=0.001)
    parts = [
        client.get(f"{JOBS}/{job['id']}/items/{number}/audio").content[44:]
        for number in range(1, done["items"]["total"] + 1)
    ]
    assert whole.content[44:] == b"".join(parts)

    srt = client.get(f"{JOBS}/{job['id']}/subtitles").text
    cues = re.findall(r"(\d+)\n(\S+) --> (\S+)\n(.+)\n\n", srt)
    assert [text for *_, text in cues][:4] == [
        "It was a night.", "Nobody spoke & nobody sang!", "Then came the morning.", "A long day passed.",
    ]  # fmt: skip
    assert len(cues) == 63
    assert cues[0][1] == "00:00:00,000"
    assert all(before[2] == after[1] for before, after in itertools.pairwise(cues))
    assert milliseconds(cues[-1][2]) == (samples + 12) // 24

    vtt = client.get(f"{JOBS}/{job['id']}/subtitles?format=vtt")
    assert vtt.text.startswith("WEBVTT\n\n1\n00:00:00.000 --> ")
    assert "Nobody spoke &amp; nobody sang!" in vtt.text


def milliseconds(time: str) -> int:
    hours, minutes, rest = time.replace(",", "").split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + int(rest)


def test_a_book_in_a_coded_format_is_one_stream_without_gaps(client: TestClient, work: Work) -> None:
    job = created(client, text=BOOK, response_format="flac", seed=3)
    seconds = work(job["id"])["usage"]["audio_seconds"]
    first = client.get(f"{JOBS}/{job['id']}/audio")
    assert first.headers["content-type"] == "audio/flac"
    assert first.content == client.get(f"{JOBS}/{job['id']}/audio").content
    assert decode(first.content, max_seconds=600, param="audio").seconds == pytest.approx(seconds, abs=0.001)


def test_a_list_becomes_files_and_a_zip_of_them(client: TestClient, work: Work, tmp_path: Path) -> None:
    job = created(client, items=ITEMS, response_format="wav")
    assert (job["kind"], job["items"]["total"]) == ("list", 3)
    assert error(client.get(f"{JOBS}/{job['id']}/items/1/audio")) == (404, "item", "not_found")
    assert error(client.get(f"{JOBS}/{job['id']}/audio")) == (409, "job", "conflict")
    work(job["id"])

    items = client.get(f"{JOBS}/{job['id']}/items").json()["data"]
    assert [(each["number"], each["state"], each["language"]) for each in items] == [
        (1, "succeeded", None),
        (2, "succeeded", "de"),
        (3, "succeeded", None),
    ]
    data = client.get(f"{JOBS}/{job['id']}/audio")
    assert data.content == client.get(f"{JOBS}/{job['id']}/audio").content
    with zipfile.ZipFile(io.BytesIO(data.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["00001.wav", "00002.wav", "00003.wav", "items.jsonl"]
        lines = [json.loads(line) for line in archive.read("items.jsonl").splitlines()]
        for item, line in zip(items, lines, strict=True):
            audio = client.get(item["audio"]).content
            assert archive.read(line["file"]) == audio
            (tmp_path / "one.wav").write_bytes(audio)
            assert read_wav(tmp_path / "one.wav").seconds == pytest.approx(item["seconds"], abs=0.001)
            assert np.abs(read_wav(tmp_path / "one.wav").pcm).max() > 0.01
    assert error(client.get(f"{JOBS}/{job['id']}/subtitles")) == (400, "job", "invalid_value")


@pytest.mark.parametrize("audio_format", ["wav", "pcm", "mp3"])
@pytest.mark.parametrize("kind", ["text", "list"])
def test_audio_that_is_gone_is_a_status_and_names_no_path(
    client: TestClient, work: Work, settings: Settings, kind: str, audio_format: str
) -> None:
    asked: dict[str, Any] = {"text": BOOK} if kind == "text" else {"items": ITEMS}
    job = created(client, response_format=audio_format, **asked)["id"]
    work(job)
    for file in (settings.data / "jobs").rglob("*.*"):
        file.unlink()
    for path in ("items/1/audio", "audio"):
        answer = client.get(f"{JOBS}/{job}/{path}")
        assert error(answer) == (507, None, "storage")
        assert str(settings.data) not in answer.text


def test_a_text_file_is_one_long_text(client: TestClient, work: Work) -> None:
    files = {"file": ("Book.TXT", b"\xef\xbb\xbf" + BOOK.replace("\n", "\r\n").encode())}
    job = client.post(JOBS, data={"response_format": "wav"}, files=files).json()
    as_json = created(client, text=BOOK)
    assert (job["kind"], job["items"]) == ("text", as_json["items"])
    texts = [
        [item["text"] for item in client.get(f"{JOBS}/{each['id']}/items").json()["data"]] for each in (job, as_json)
    ]
    assert texts[0] == texts[1]
    assert work(job["id"])["state"] == "succeeded"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "only blanks"),
        (b"One.\n\0", "line 2 has a NUL"),
        ("One.\nTwo.\ncaf\u00e9".encode("latin-1"), "line 3 is not UTF-8 (byte 0xe9)"),
        (b"\xef\xbb\xbfOne.\n\xff", "line 2 is not UTF-8 (byte 0xff)"),
        ("One.".encode("utf-16"), "UTF-16"),
        (b"***", "nothing that can be spoken"),
    ],
)
def test_a_text_file_that_cannot_be_read_is_refused_with_its_line(client: TestClient, text: bytes, said: str) -> None:
    answer = client.post(JOBS, files={"file": ("book.txt", text)})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert client.get(JOBS).json()["data"] == []


def test_items_that_failed_are_tried_again(client: TestClient, work: Work) -> None:
    voice = client.post("/v1/audio/voices", data={"name": "Ada"}, files={"audio_sample": RECORDING}).json()["id"]
    job = created(client, items=[{"text": "One."}, {"text": "Two.", "voice": voice}])["id"]
    client.delete(f"/v1/audio/voices/{voice}")
    assert work(job)["items"] == {"total": 2, "succeeded": 1, "failed": 1}
    again = client.post(f"{JOBS}/{job}/retry").json()
    assert (again["state"], again["items"]["failed"], again["finished_at"]) == ("queued", 0, None)
    assert error(client.post(f"{JOBS}/{job}/retry")) == (409, "job", "conflict")
    assert work(job)["items"]["failed"] == 1


def test_partial_results_are_there_while_a_job_goes_on_and_items_come_in_pages(client: TestClient) -> None:
    job = created(client, items=[{"text": f"Number {number}."} for number in range(5)])
    path = f"{JOBS}/{job['id']}/items"
    missing = client.get(JOBS, params={"after": "none"})
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "after")
    page = client.get(path, params={"limit": 2, "after": 2}).json()
    assert ([each["number"] for each in page["data"]], page["has_more"]) == ([3, 4], True)
    assert client.get(path, params={"state": "succeeded"}).json() == {"object": "list", "data": [], "has_more": False}


@pytest.mark.parametrize(
    "rows",
    [
        b'\xef\xbb\xbftext,voice,language\r\n"One, and\nmore.",,\r\nZwei.,alloy,de\r\n',
        b'\n{"text": "One, and\\nmore."}\n{"text": "Zwei.", "voice": "alloy", "language": "de"}\n\n',
    ],
    ids=["csv", "jsonl"],
)
def test_rows_come_as_csv_or_jsonl(client: TestClient, work: Work, rows: bytes) -> None:
    answer = client.post(JOBS, data={"voice": "echo", "seed": "5"}, files={"file": ("rows", rows)})
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert (job["options"]["voice"], job["options"]["seed"], job["items"]["total"]) == ("echo", 5, 2)
    items = client.get(f"{JOBS}/{job['id']}/items").json()["data"]
    assert [(each["text"], each["voice"], each["language"]) for each in items] == [
        ("One, and\nmore.", None, None),
        ("Zwei.", "alloy", "de"),
    ]
    assert work(job["id"])["state"] == "succeeded"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (b"", "the first line names the columns"),
        (b"text\n", "no rows"),
        (b"words,voice\nOne.,alloy\n", "the first line names the columns"),
        (b"text,text\na,b\n", "the first line names the columns"),
        (b"text,voice\nOne.\n", "line 2 does not have 2 columns"),
        (b'text\n"One.\n', "no CSV"),
        (b'{"text": "One."}\n{"text": \n', "line 2 is not JSON"),
        (b'{"text": "One."}\n["a"]\n', "line 2 is no JSON object"),
        (b'{"text": "One.", "pitch": 2}\n', "row 1, pitch"),
        (b"text,text_normalization\nOne.,\nTwo.,never\n", "row 2, text_normalization"),
        (b'{"text": "One.", "text_normalization": "OFF"}\n', "row 1, text_normalization"),
        (b"text\n\xff\xfe\n", "not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_with_its_row(client: TestClient, rows: bytes, said: str) -> None:
    answer = client.post(JOBS, files={"file": ("rows", rows)})
    assert error(answer)[:2] == (400, "file")
    assert said in answer.json()["error"]["message"]
    assert client.get(JOBS).json()["data"] == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (400, None, "invalid_body")),
        ({"text": "a", "items": ITEMS}, (400, None, "invalid_body")),
        ({"text": " \n"}, (400, "text", "invalid_value")),
        ({"text": "*** ..."}, (400, "text", "invalid_value")),
        ({"items": []}, (400, "items", "invalid_value")),
        ({"items": [{"text": "a"}, {"text": " "}]}, (400, "items.2.text", "invalid_value")),
        ({"items": [{"text": "a\0"}]}, (400, "items.1.text", "invalid_value")),
        ({"items": [{"text": "a" * 5000}]}, (413, "items.1.text", "payload_too_large")),
        ({"items": [{"text": "a", "voice": "nobody"}]}, (404, "items.1.voice", "voice_not_found")),
        ({"items": [{"text": "a", "language": "xx"}]}, (400, "items.1.language", "invalid_value")),
        ({"items": [{"text": "a", "text_normalization": 1}]}, (400, "items.1.text_normalization", "invalid_value")),
        ({"items": ITEMS * 4}, (413, "items", "payload_too_large")),
        ({"text": "a", "voice": "nobody"}, (404, "voice", "voice_not_found")),
        ({"text": "a", "language": "xx"}, (400, "language", "invalid_value")),
        ({"text": "a", "model": "gpt"}, (404, "model", "model_not_found")),
        ({"text": "a", "profile": "nobody"}, (404, "profile", "profile_not_found")),
        ({"text": "a", "speed": 9}, (400, "speed", "invalid_value")),
        ({"text": "a", "colour": 9}, (400, "colour", "unknown_field")),
        ({"text": "a", "name": "../x"}, (400, "name", "invalid_value")),
    ],
)
def test_what_cannot_be_spoken_is_refused_before_anything_is_kept(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings, fields: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    few = settings.model_copy(update={"limits": settings.limits.model_copy(update={"job_items": 10})})
    client = TestClient(build_app(espeak, store, few, LocalMetrics()))
    assert error(client.post(JOBS, json=fields)) == expected
    assert client.get(JOBS).json()["data"] == []
    assert list((settings.data / "jobs").iterdir()) == []


def test_a_body_that_is_too_large_or_no_json_is_refused(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings
) -> None:
    few = settings.model_copy(update={"limits": settings.limits.model_copy(update={"job_bytes": 1024})})
    client = TestClient(build_app(espeak, store, few, LocalMetrics()))
    assert error(client.post(JOBS, json={"text": "a" * 100_000}))[0] == 413
    assert error(client.post(JOBS, files={"file": ("rows", b"text\n" + b"a\n" * 600)}))[:2] == (413, "file")
    assert error(client.post(JOBS, content=b"{"))[0] == 400


def test_where_no_worker_runs_no_job_is_taken(espeak: EspeakEngine, store: VoiceStore, settings: Settings) -> None:
    none = settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"workers": 0})})
    client = TestClient(build_app(espeak, store, none, LocalMetrics()))
    assert error(client.post(JOBS, json={"text": "a"})) == (404, None, "not_served")


def test_a_repeated_request_makes_one_job(client: TestClient) -> None:
    def send(text: str) -> Any:
        return client.post(JOBS, json={"text": text}, headers={"Idempotency-Key": "k1"})

    first = send("One.").json()
    assert send("One.").json() == first
    assert error(send("Two.")) == (409, "Idempotency-Key", "idempotency_conflict")
    assert [each["id"] for each in client.get(JOBS).json()["data"]] == [first["id"]]


def test_a_job_is_cancelled_and_then_deleted(client: TestClient, settings: Settings) -> None:
    job = created(client, text=BOOK)["id"]
    assert error(client.delete(f"{JOBS}/{job}")) == (409, "job", "conflict")
    cancelled = client.post(f"{JOBS}/{job}/cancel").json()
    assert (cancelled["state"], cancelled["expires_at"] - cancelled["finished_at"]) == ("cancelled", 7 * 24 * 3600)
    assert error(client.get(f"{JOBS}/{job}/audio")) == (409, "job", "conflict")
    assert client.delete(f"{JOBS}/{job}").json() == {"id": job, "object": "job.deleted", "deleted": True}
    assert error(client.get(f"{JOBS}/{job}")) == (404, "job", "not_found")
    assert list((settings.data / "jobs" / "default").iterdir()) == []


def test_a_job_speaks_as_the_profile_said_when_it_was_made(client: TestClient) -> None:
    client.post("/v1/profiles", json={"name": "quick", "speed": 1.5, "temperature": 0.4})
    options = created(client, text="One.", profile="quick", temperature=0.6)["options"]
    assert (options["speed"], options["temperature"]) == (1.5, 0.6)


def test_neither_a_text_nor_items_is_said_without_advice_that_does_not_help(client: TestClient) -> None:
    error = client.post(JOBS, json={"voice": "alloy"}).json()["error"]
    assert error["message"] == "the body is not usable: give either text or items"
