"""What is accepted as a reference recording."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from serving.audio.wav import wav_bytes
from serving.errors import InvalidRequest, PayloadTooLarge
from serving.settings_groups import LimitSettings
from serving.voices import prepare_voice

RATE = 22050


def recording(seconds: float, level: float = 0.5) -> bytes:
    time = np.arange(int(seconds * RATE)) / RATE
    return wav_bytes((level * np.sin(2 * np.pi * 220 * time)).astype(np.float32), RATE)


def prepare(data: bytes, limits: LimitSettings, param: str) -> tuple[bytes, float]:
    voice = prepare_voice([data], limits, [param])
    return voice.references[0], voice.seconds


def test_a_recording_becomes_a_mono_wav_of_its_own_rate_and_length() -> None:
    stereo = io.BytesIO()
    with wave.open(stereo, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.full(2 * 2 * RATE, 8000, dtype=np.int16).tobytes())

    wav, seconds = prepare(stereo.getvalue(), LimitSettings(), "file")

    assert seconds == pytest.approx(2.0, abs=0.01)
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        assert file.getnframes() == pytest.approx(2 * RATE, abs=100)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    assert np.median(samples) == pytest.approx(8000, abs=2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "file"),
        (b"PK\x03\x04 a zip, not a voice", "file"),
        (recording(0.5), "at least 1 s"),
        (recording(2.0, level=0.0), "silent"),
        (recording(2.0, level=0.0005), "silent"),
    ],
)
def test_a_file_without_a_usable_voice_is_refused_by_its_field(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        prepare(data, LimitSettings(), "file")
    assert caught.value.param == "file"


def test_a_recording_longer_than_the_limit_is_too_large() -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        prepare(recording(3.0), LimitSettings(reference_max_s=2.0), "file")
    assert caught.value.param == "file"


def test_more_recordings_than_an_export_takes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 25 recordings, not 26"):
        prepare_voice([recording(1.0)] * 26, LimitSettings(), [f"{index}.wav" for index in range(26)])


def test_more_bytes_than_the_limit_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(PayloadTooLarge, match="at most 1024") as caught:
        prepare(b"not audio at all" * 1000, LimitSettings(upload_bytes=1024), "audio_sample")
    assert caught.value.param == "audio_sample"


def test_a_quiet_but_audible_voice_is_accepted() -> None:
    assert prepare(recording(1.5, level=0.01), LimitSettings(), "file")[1] == pytest.approx(1.5, abs=0.01)
