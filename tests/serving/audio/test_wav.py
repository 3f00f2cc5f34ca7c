from __future__ import annotations

import io
import pickle
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from serving.audio.wav import read_wav, riff_chunks, wav_bytes, wav_header
from serving.errors import EngineError
from tests.audio_measure import noise


def wav_file(form: bytes, data: bytes, data_size: int | None = None, before: bytes = b"") -> bytes:
    size = len(data) if data_size is None else data_size
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_the_standard_library_reads_what_is_written() -> None:
    pcm = np.array([0.0, 0.5, -0.5, 2.0, -2.0], np.float32)

    with wave.open(io.BytesIO(wav_bytes(pcm, 22050))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (1, 2, 22050, 5)
        assert np.frombuffer(file.readframes(5), "<i2").tolist() == [0, 16384, -16384, 32767, -32768]


def test_a_written_file_is_read_back_from_the_volume(tmp_path: Path) -> None:
    pcm = noise(0.5, 24000)
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm, 24000))

    audio = read_wav(tmp_path / "a.wav")

    assert audio.sample_rate == 24000
    assert np.max(np.abs(audio.pcm - pcm)) <= 0.5 / 32768


def test_float_samples_and_foreign_chunks_are_read_and_channels_averaged(tmp_path: Path) -> None:
    stereo = np.array([[0.25, 0.75], [-1.0, 0.0]], "<f4")
    listing = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    (tmp_path / "a.wav").write_bytes(
        wav_file(struct.pack("<HHIIHH", 3, 2, 16000, 128000, 8, 32), stereo.tobytes(), before=listing)
    )

    assert read_wav(tmp_path / "a.wav").pcm.tolist() == [0.5, -0.5]


PCM16 = struct.pack("<HHIIHH", 1, 1, 24000, 48000, 2, 16)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a wav file at all, but long enough to look at",
        wav_file(PCM16, b"\0" * 100, data_size=101),
        wav_file(PCM16, b"\0" * 101),
        wav_file(PCM16[:8], b"\0" * 100),
        wav_file(struct.pack("<HHIIHH", 1, 0, 24000, 48000, 2, 16), b"\0" * 100),
        wav_file(struct.pack("<HHIIHH", 1, 1, 0, 48000, 2, 16), b"\0" * 100),
        wav_file(struct.pack("<HHIIHH", 1, 3, 24000, 48000, 2, 16), b"\0" * 100),
        wav_file(struct.pack("<HHIIHH", 6, 1, 8000, 8000, 1, 8), b"\0" * 100),
        wav_header(24000),
    ],
)
def test_a_torn_or_foreign_file_is_an_error_that_names_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "torn.wav").write_bytes(data)

    with pytest.raises(EngineError, match=r"torn\.wav") as caught:
        read_wav(tmp_path / "torn.wav")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"gone\.wav"):
        read_wav(tmp_path / "gone.wav")


def test_chunks_of_what_is_no_wav_file_are_none() -> None:
    assert list(riff_chunks(b"RIFF\0\0\0\0AVI ")) == []
