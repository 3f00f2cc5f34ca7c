"""A recording is decoded once, piece by piece, and everything is known of it then."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from serving.audio.pcm import Pcm, to_float32, to_int16
from serving.audio.resample import resample
from serving.audio.wav import wav_bytes
from serving.errors import InvalidRequest
from tests.factories.recordings import silence, spoken, write_wav
from training.dataset.metadata import SAMPLE_RATE
from training.dataset.voice_activity import VoiceActivity
from training.dataset.waveform import Waveform, read_waveform

TEXT = "Seven and eight and nine and ten."


def read(path: Path, activity: VoiceActivity) -> Waveform:
    with tempfile.TemporaryFile() as spool:
        return read_waveform(path, path.name, spool, activity, lambda seconds: None)


def encode(path: Path, pcm: Pcm, codec: str, rate: int = SAMPLE_RATE) -> Path:
    """``pcm`` at ``rate`` in the container that the name asks for."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(to_int16(pcm)[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def test_samples_are_those_of_the_file_at_the_rate_of_training(tmp_path: Path, activity: VoiceActivity) -> None:
    pcm = resample(spoken(TEXT), SAMPLE_RATE, 44100)
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(pcm, 44100))
    found = read(path, activity)
    expected = resample(to_float32(to_int16(pcm)), 44100, SAMPLE_RATE)
    assert found.seconds == pytest.approx(len(spoken(TEXT)) / SAMPLE_RATE, abs=0.001)
    np.testing.assert_allclose(found.samples, expected, atol=1e-4)


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.m4a", "aac")])
def test_compressed_recordings_sound_the_same(tmp_path: Path, activity: VoiceActivity, name: str, codec: str) -> None:
    found = read(encode(tmp_path / name, spoken(TEXT), codec), activity)
    plain = read(write_wav(tmp_path / "a.wav", spoken(TEXT)), activity)
    assert found.regions[0].start == pytest.approx(plain.regions[0].start, abs=0.1)
    assert found.regions[-1].end == pytest.approx(plain.regions[-1].end, abs=0.1)


def test_speech_is_found_between_silence(tmp_path: Path, activity: VoiceActivity) -> None:
    pcm = np.concatenate([silence(2), spoken(TEXT), silence(2)])
    found = read(write_wav(tmp_path / "a.wav", pcm), activity)
    assert found.regions[0].start == pytest.approx(2.4, abs=0.15)
    assert found.regions[-1].end == pytest.approx(found.seconds - 2.4, abs=0.15)
    assert not found.speaks_at(1.0)
    assert found.speaks_at(found.regions[0].start + 0.2)


def test_silence_and_noise_are_no_speech(tmp_path: Path, activity: VoiceActivity) -> None:
    noise = (np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE) * 0.05).astype(np.float32)
    assert read(write_wav(tmp_path / "noise.wav", noise), activity).regions == []
    assert read(write_wav(tmp_path / "none.wav", silence(1)), activity).regions == []


def test_cut_off_peaks_are_counted_where_they_are(tmp_path: Path, activity: VoiceActivity) -> None:
    loud = np.clip(spoken(TEXT) * 30, -1, 1)
    found = read(write_wav(tmp_path / "a.wav", np.concatenate([spoken(TEXT), loud])), activity)
    middle = len(loud) / SAMPLE_RATE
    assert found.clipped_share(0, middle - 0.1) == 0
    assert found.clipped_share(middle, 2 * middle) > 0.05
    assert found.clipped_share(middle, 2 * middle) == pytest.approx(np.mean(np.abs(loud) >= 0.999), rel=0.25)


@pytest.mark.parametrize("content", [b"", b"no audio at all", wav_bytes(spoken(TEXT), SAMPLE_RATE)[:20000]])
def test_what_cannot_be_read_is_named(tmp_path: Path, activity: VoiceActivity, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"a\.wav"):
        read(path, activity)
