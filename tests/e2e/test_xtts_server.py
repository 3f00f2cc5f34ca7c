"""A real XTTS checkpoint (tiny, random weights) behind the real server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import httpx
import numpy as np
import pytest
from openai import OpenAI

from serving.deployments.admission import MOST_RETRY_S
from tests.audio_measure import decode_any, is_silent
from tests.e2e.jobs import ended, spoken_files, until
from tests.e2e.servers import Server

pytestmark = [pytest.mark.xdist_group("xtts_server"), pytest.mark.timeout(600)]

TEXT = "A sentence for the cloned voice."


@pytest.fixture
def client(xtts_server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{xtts_server.url}/v1", api_key="unused") as openai:
        yield openai


def speak(client: OpenAI, text: str = TEXT, **extra: object) -> bytes:
    return client.audio.speech.create(
        model="tts-1", voice="alloy", input=text, response_format="wav", extra_body=extra
    ).read()


def test_xtts_speaks_with_a_preset_and_says_so(client: OpenAI) -> None:
    answer = client.audio.speech.with_raw_response.create(model="auto", voice="default", input=TEXT)
    assert answer.headers["x-kubevoice-engine"] == "xtts"
    assert answer.headers["x-kubevoice-model"] == "xtts_v2@r1"
    pcm, _ = decode_any(answer.content)
    assert not is_silent(pcm)


def test_the_same_seed_gives_the_same_audio_and_another_does_not(client: OpenAI) -> None:
    assert speak(client, seed=7) == speak(client, seed=7)
    assert speak(client, seed=7) != speak(client, seed=8)


def test_concurrent_requests_do_not_disturb_each_other(client: OpenAI) -> None:
    alone = [speak(client, seed=seed) for seed in (1, 2, 3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda seed: speak(client, seed=seed), (1, 2, 3)))
    for one, other in zip(alone, together, strict=True):
        # Matrix products of other sizes round otherwise, in the seventh digit: now and then one step of 16 bits.
        (pcm, _), (beside, _) = decode_any(one), decode_any(other)
        assert len(pcm) == len(beside)
        assert np.abs(pcm - beside).max() <= 2 / 32768


def test_an_uploaded_voice_is_cloned_and_its_conditioning_kept(client: OpenAI, xtts_server: Server) -> None:
    sample = speak(client, TEXT + " " + TEXT + " " + TEXT, seed=3)
    voice = client.audio.voices.create(name="clone", audio_sample=("clone.wav", sample), consent="the test agrees")
    folder = xtts_server.data / "voices" / "default" / voice.id
    assert [path.name for path in (folder / "conditioning").iterdir()] == ["xtts_v2@r1.safetensors"]
    answer = client.audio.speech.create(model="auto", voice=voice.id, input=TEXT, response_format="wav").read()
    pcm, _ = decode_any(answer)
    assert not is_silent(pcm)
    assert np.isfinite(pcm).all()
    client.audio.voices.delete(voice.id)
    assert not folder.exists()


def test_more_than_the_server_holds_is_refused_early_and_the_rest_is_served(xtts_server: Server) -> None:
    answers: list[httpx.Response] = []
    for callers in (16, 48, 96):  # the faster the machine, the more it takes to fill the queue
        answers += answers_to(xtts_server, callers)
        if any(answer.status_code == 429 for answer in answers):
            break
    served = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(served) + len(refused) == len(answers)
    assert len(served) >= 6
    assert refused
    assert all(1 <= int(answer.headers["retry-after"]) <= MOST_RETRY_S for answer in refused)
    assert all(answer.json()["error"]["code"] == "overloaded" for answer in refused)
    assert_ready(xtts_server)


def answers_to(server: Server, callers: int) -> list[httpx.Response]:
    """What as many callers at once get; meanwhile the server says that it is ready."""
    body = {"model": "tts-1", "voice": "alloy", "input": " ".join([TEXT] * 15)}  # two pieces: 480 characters

    def post(_: int) -> httpx.Response:
        return httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=240)

    with ThreadPoolExecutor(callers) as pool:
        coming = [pool.submit(post, index) for index in range(callers)]
        wait(coming, return_when=FIRST_COMPLETED)  # the others are in the queue or at work
        assert_ready(server)
        return [answer.result() for answer in coming]


def assert_ready(server: Server) -> None:
    for _ in range(10):
        ready = httpx.get(f"{server.url}/readyz", timeout=60)
        if "did not answer within" not in ready.text:  # a machine that is busy with other tests
            break
    assert ready.status_code == 200, ready.text


def test_a_job_is_spoken_beside_those_who_listen(client: OpenAI, xtts_server: Server) -> None:
    items = [{"text": f"{TEXT} It is number {number}. {TEXT}"} for number in range(1, 9)]
    body = {"items": items, "voice": "alloy", "response_format": "wav", "seed": 3}
    job = httpx.post(f"{xtts_server.url}/v1/jobs", json=body, timeout=120).json()["id"]
    assert len(speak(client, seed=7)) > 1000  # it waits for no place that a job has
    card = until(xtts_server, job, ended)
    assert (card["state"], card["items"]["succeeded"]) == ("succeeded", len(items))
    assert card["options"]["model"] == "xtts_v2"  # whatever revision speaks it
    assert card["usage"]["output_tokens"] > 0
    archive = httpx.get(f"{xtts_server.url}/v1/jobs/{job}/audio", timeout=60).content
    files = [line["audio"] for line in spoken_files(archive)]
    assert len(set(files)) == len(items)
    assert not any(is_silent(decode_any(audio)[0]) for audio in files)

    again = httpx.post(f"{xtts_server.url}/v1/jobs", json=body, timeout=120).json()["id"]
    until(xtts_server, again, ended)
    archive = httpx.get(f"{xtts_server.url}/v1/jobs/{again}/audio", timeout=60).content
    for one, other in zip(files, [line["audio"] for line in spoken_files(archive)], strict=True):
        (pcm, _), (beside, _) = decode_any(one), decode_any(other)
        assert len(pcm) == len(beside)
        assert np.abs(pcm - beside).max() <= 2 / 32768
