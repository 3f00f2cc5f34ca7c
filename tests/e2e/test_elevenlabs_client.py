"""The official ``elevenlabs`` client, unmodified, against the real server."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from elevenlabs import VoiceSettings
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError

from serving.audio.pcm import Pcm, to_float32
from serving.audio.wav import wav_bytes
from tests.audio_measure import decode_any, duration_of, is_silent
from tests.e2e.servers import Server
from tests.e2e.tls import make_certificate, tls_in_front_of
from tests.intelligible import SENTENCES, heard

pytestmark = [
    pytest.mark.xdist_group("espeak_server"),
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:ConnectionClosed.(code|reason) is deprecated:DeprecationWarning"),  # its own
]


@pytest.fixture
def eleven(espeak_server: Server) -> Iterator[ElevenLabs]:
    with httpx.Client(timeout=60) as http:
        yield ElevenLabs(base_url=f"{espeak_server.url}/elevenlabs", api_key="unused", httpx_client=http)


@pytest.fixture
def secure(espeak_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ElevenLabs]:
    """Its live client knows nothing but TLS."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    port = urlsplit(espeak_server.url).port
    assert port
    with tls_in_front_of(port, certificate) as front, httpx.Client(timeout=60) as http:
        yield ElevenLabs(base_url=f"https://127.0.0.1:{front}/elevenlabs", api_key="unused", httpx_client=http)


def samples(pcm: bytes) -> Pcm:
    return to_float32(np.frombuffer(pcm, np.int16))


def test_speech_is_understood(eleven: ElevenLabs) -> None:
    answer = b"".join(
        eleven.text_to_speech.convert(
            "f1", text=f"{SENTENCES[0].capitalize()}.", model_id="eleven_multilingual_v2", output_format="pcm_24000"
        )
    )
    assert heard(samples(answer), 24000) == SENTENCES[0]


def test_the_default_format_is_mp3_at_44100_hz(eleven: ElevenLabs) -> None:
    pcm, rate = decode_any(b"".join(eleven.text_to_speech.convert("f1", text="Hello from kubevoice.")))
    assert rate == 44100
    assert not is_silent(pcm)


def test_a_long_text_streams_before_it_is_made(eleven: ElevenLabs) -> None:
    # Not a benchmark: a server that collects the audio first is at 100 % each time, a busy machine once in a while.
    assert any(share_of_the_time_before_the_first_audio(eleven) < 0.5 for _ in range(5))


def share_of_the_time_before_the_first_audio(client: ElevenLabs) -> float:
    text = " ".join(f"This is sentence number {index}, of which there are many." for index in range(50))
    began = time.perf_counter()
    stream = client.text_to_speech.stream("f1", text=text, output_format="pcm_16000")
    next(iter(stream))
    first = time.perf_counter() - began
    for _ in stream:
        pass
    return first / (time.perf_counter() - began)


def test_speed_and_settings_are_heeded(eleven: ElevenLabs) -> None:
    def seconds(speed: float) -> float:
        settings = VoiceSettings(stability=0.5, similarity_boost=0.75, speed=speed)
        audio = eleven.text_to_speech.convert(
            "f1", text="One two three four five six.", voice_settings=settings, output_format="pcm_8000"
        )
        return len(b"".join(audio)) / 2 / 8000

    assert seconds(1.25) == pytest.approx(seconds(1.0) / 1.25, rel=0.1)


def test_words_are_spoken_while_they_are_written(secure: ElevenLabs, eleven: ElevenLabs) -> None:
    written = []

    def words() -> Iterator[str]:
        for sentence in [*SENTENCES[:3], *SENTENCES[:3]]:
            written.append(sentence)
            yield f"{sentence.capitalize()}. "
            time.sleep(1.0)

    live = secure.text_to_speech.convert_realtime("f1", text=words(), output_format="pcm_24000")
    first = next(iter(live))
    before = len(written)
    audio = first + b"".join(live)
    assert before < len(written) == 6  # audio came while there were words to come
    whole = eleven.text_to_speech.convert("f1", text=". ".join(written), output_format="pcm_24000")
    assert len(audio) == pytest.approx(len(b"".join(whole)), rel=0.2)  # pauses between pieces
    assert heard(samples(audio)[: len(audio) // 12], 24000) == SENTENCES[0]


def test_an_unknown_voice_is_the_clients_own_error(eleven: ElevenLabs, secure: ElevenLabs) -> None:
    with pytest.raises(ApiError) as refused:
        b"".join(eleven.text_to_speech.convert("nobody", text="Hello."))
    assert refused.value.status_code == 404
    assert refused.value.body["detail"]["status"] == "voice_not_found"
    with pytest.raises(ApiError) as closed:
        b"".join(secure.text_to_speech.convert_realtime("nobody", text=iter(["Hello."])))
    assert "voice_not_found" in str(closed.value.body)  # the message, or the reason if the socket was closed first


def test_voices_are_cloned_found_and_deleted(eleven: ElevenLabs, tmp_path: Path) -> None:
    audio = b"".join(eleven.text_to_speech.convert("f1", text="A recording of my voice.", output_format="pcm_24000"))
    recording = io.BytesIO(wav_bytes(samples(audio), 24000))
    added = eleven.voices.ivc.create(name="Eleven", files=[recording], description="From a test.")
    try:
        assert eleven.voices.get(added.voice_id).name == "Eleven"
        assert added.voice_id in {voice.voice_id for voice in eleven.voices.get_all().voices}
        assert [voice.voice_id for voice in eleven.voices.search(search="eleven").voices] == [added.voice_id]
        spoken = b"".join(eleven.text_to_speech.convert(added.voice_id, text="Hello."))
        assert duration_of(spoken) > 0.3
    finally:
        eleven.voices.delete(added.voice_id)
    with pytest.raises(ApiError):
        eleven.voices.get(added.voice_id)


def test_the_models_are_listed(eleven: ElevenLabs) -> None:
    (model,) = eleven.models.list()
    assert model.can_do_text_to_speech
    assert {"en", "de", "pt"} <= {language.language_id for language in model.languages or []}
