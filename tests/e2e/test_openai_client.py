"""The official ``openai`` client, unmodified, against the real server."""

from __future__ import annotations

import base64
import json
import time
from typing import Literal, get_args

import numpy as np
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from serving.audio.pcm import Pcm, to_float32
from tests.audio_measure import decode_any, duration_of, is_silent, peak
from tests.intelligible import SENTENCES, heard

pytestmark = [pytest.mark.xdist_group("espeak_server"), pytest.mark.timeout(600)]

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

SENTENCE = "The quick brown fox jumps over the lazy dog, and then it rests for a while in the shade."
LONG = " ".join(f"This is sentence number {index}, and it says something of its own." for index in range(60))


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_every_format_is_speech_of_the_right_length(openai_client: OpenAI, audio_format: Format) -> None:
    answer = openai_client.audio.speech.create(
        model="tts-1", voice="alloy", input=SENTENCE, response_format=audio_format
    ).read()
    reference = openai_client.audio.speech.create(
        model="tts-1", voice="alloy", input=SENTENCE, response_format="pcm"
    ).read()
    seconds = len(reference) / 2 / 24000
    assert 3.0 < seconds < 9.0
    if audio_format == "pcm":
        return
    pcm, rate = decode_any(answer)
    assert rate == (48000 if audio_format == "opus" else 24000)
    assert duration_of(answer) == pytest.approx(seconds, abs=0.15)
    assert not is_silent(pcm)
    assert peak(pcm) < 1.0


@pytest.mark.parametrize(("audio_format", "sentence"), list(zip(get_args(Format), SENTENCES, strict=False)))
def test_what_is_spoken_can_be_understood(openai_client: OpenAI, audio_format: Format, sentence: str) -> None:
    answer = openai_client.audio.speech.create(
        model="tts-1", voice="alloy", input=f"{sentence.capitalize()}.", response_format=audio_format
    ).read()
    pcm, rate = (pcm_of(answer), 24000) if audio_format == "pcm" else decode_any(answer)
    assert heard(pcm, rate) == sentence


def pcm_of(data: bytes) -> Pcm:
    return to_float32(np.frombuffer(data, np.int16))


def test_the_default_format_is_mp3_and_names_the_engine(openai_client: OpenAI) -> None:
    answer = openai_client.audio.speech.with_raw_response.create(model="gpt-4o-mini-tts", voice="nova", input="Hi.")
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["x-kubevoice-engine"] == "espeak"
    assert len(answer.headers.get_list("x-request-id")) == 1


def test_a_long_text_streams(openai_client: OpenAI) -> None:
    # Not a benchmark: a server that collects the audio first is at 100 % each time, a busy machine once in a while.
    assert any(share_of_the_time_before_the_first_audio(openai_client) < 0.5 for _ in range(5))


def share_of_the_time_before_the_first_audio(client: OpenAI) -> float:
    began = time.perf_counter()
    first = 0.0
    pieces = 0
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=LONG, response_format="pcm"
    ) as answer:
        for _ in answer.iter_bytes():
            first = first or time.perf_counter() - began
            pieces += 1
    assert pieces > 20
    return first / (time.perf_counter() - began)


def test_sse_events_carry_the_audio_and_a_true_end(openai_client: OpenAI) -> None:
    audio, done = b"", None
    with openai_client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input=SENTENCE, response_format="pcm", stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                if event["type"] == "speech.audio.delta":
                    audio += base64.b64decode(event["audio"])
                else:
                    done = event
    plain = openai_client.audio.speech.create(
        model="gpt-4o-mini-tts", voice="alloy", input=SENTENCE, response_format="pcm"
    ).read()
    assert audio == plain
    assert done is not None
    assert done["type"] == "speech.audio.done"
    assert done["usage"]["input_tokens"] == len(SENTENCE)
    assert done["usage"]["output_tokens"] == pytest.approx(len(plain) / 2 / 24000 * 22050 / 1024, rel=0.1)


def test_a_voice_is_uploaded_spoken_with_and_deleted(openai_client: OpenAI) -> None:
    sample = openai_client.audio.speech.create(
        model="tts-1", voice="onyx", input=SENTENCE, response_format="flac"
    ).read()
    consents = openai_client.audio.voice_consents
    consent = consents.create(name="Ana e2e", language="en-US", recording=("agreed.flac", sample)).id
    assert consents.retrieve(consent).name == "Ana e2e"
    voice = openai_client.audio.voices.create(name="Ana e2e", audio_sample=("ana.flac", sample), consent=consent)
    assert voice.object == "audio.voice"
    assert voice.name == "Ana e2e"
    answer = openai_client.audio.speech.with_raw_response.create(model="tts-1", voice={"id": voice.id}, input="Hello.")
    assert "does not clone" in answer.headers["x-kubevoice-warning"]
    assert openai_client.audio.voices.delete(voice.id).deleted
    assert consents.delete(consent).deleted
    with pytest.raises(NotFoundError) as failure:
        openai_client.audio.speech.create(model="tts-1", voice=voice.id, input="Hello.")
    assert failure.value.param == "voice"


def test_models_are_listed_with_the_aliases(openai_client: OpenAI) -> None:
    assert {"espeak", "auto", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"} <= {
        model.id for model in openai_client.models.list()
    }


def test_errors_are_the_clients_own_exceptions(openai_client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as failure:
        openai_client.audio.speech.create(model="tts-1", voice="alloy", input="Hi.", speed=9.0)
    assert failure.value.param == "speed"
    assert failure.value.request_id
    with pytest.raises(NotFoundError) as missing:
        openai_client.audio.speech.create(model="whisper-1", voice="alloy", input="Hi.")
    assert missing.value.code == "model_not_found"
