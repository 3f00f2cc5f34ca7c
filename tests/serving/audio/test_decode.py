from __future__ import annotations

import struct

import av
import numpy as np
import pytest

from serving.audio.encode import FORMATS, Encoder
from serving.audio.wav import wav_bytes, wav_header
from serving.errors import InvalidRequest
from tests.audio_measure import dominant_frequency, rms, tone
from tests.serving.audio.recordings import KINDS, film, form, read, refusal, spoken, wav_of, written


def test_the_video_of_a_film_is_not_even_probed() -> None:
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as logs:
            read(film(with_sound=True))
    finally:
        av.logging.set_level(None)

    assert any("mpeg4" in message and "not on whitelist" in message for _, _, message in logs)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_tone_is_read_from_every_kind_of_file(kind: str) -> None:
    audio = read(spoken(kind))

    assert audio.sample_rate == KINDS[kind][2]
    assert audio.pcm.dtype == np.float32
    assert audio.seconds == pytest.approx(2.0, abs=0.08)
    assert dominant_frequency(audio.pcm, audio.sample_rate) == pytest.approx(440, abs=1)
    middle = audio.pcm[audio.sample_rate // 4 : -audio.sample_rate // 4]
    assert rms(middle) == pytest.approx(0.3 / 2**0.5, rel=0.06)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "pcm"])
def test_what_the_server_sends_can_be_sent_back(name: str) -> None:
    encoder = Encoder(name)

    audio = read(encoder.encode(tone(440, 2.0, 24000), 24000) + encoder.finish())

    assert audio.seconds == pytest.approx(2.0, abs=0.1)


def test_samples_of_a_wav_file_are_exact() -> None:
    pcm = np.array([0.0, 0.5, -0.5, -1.0], np.float32)

    assert np.array_equal(read(wav_bytes(pcm, 24000)).pcm, pcm)


@pytest.mark.parametrize("kind", ["wav", "flac", "aac"])
@pytest.mark.parametrize(("layout", "channels"), [("stereo", 2), ("5.1", 6)])
def test_channels_are_averaged(kind: str, layout: str, channels: int) -> None:
    pcm = np.zeros((channels, 44100), np.float32)
    pcm[:2] = tone(440, 1.0, 44100), -0.5 * tone(440, 1.0, 44100)

    audio = read(written(kind, pcm, layout, rate=44100))

    expected = 0.5 * 0.3 / channels / 2**0.5
    assert rms(audio.pcm[5000:-5000]) == pytest.approx(expected, rel=0.05)


def test_rates_above_48_khz_are_brought_down_to_it() -> None:
    audio = read(written("wav", tone(440, 1.0, 96000), rate=96000))

    assert (audio.sample_rate, audio.seconds) == (48000, 1.0)
    assert dominant_frequency(audio.pcm, 48000) == pytest.approx(440, abs=0.5)


def test_samples_above_full_scale_are_clipped() -> None:
    audio = read(written("wav-float", np.full(1000, 3.0, np.float32)))

    assert set(audio.pcm.tolist()) == {1.0}


def test_the_sound_of_a_film_is_read_and_a_film_without_sound_refused() -> None:
    assert read(film(with_sound=True)).seconds == 1.0
    assert isinstance(refusal(film(with_sound=False)), InvalidRequest)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_stream_with_an_open_size_is_whole(size: int) -> None:
    data = wav_header(24000, size) + wav_bytes(tone(440, 1.0, 24000), 24000)[44:]

    assert read(data).seconds == 1.0


def test_names_in_other_encodings_do_not_matter() -> None:
    title = b"INAM\x04\0\0\0\xe9\xff\xfe\0"
    listing = b"LIST" + struct.pack("<I", 4 + len(title)) + b"INFO" + title

    assert read(wav_of(form(), b"\0\1" * 24000, before=listing)).seconds == 1.0


def test_tags_around_an_mp3_do_not_matter() -> None:
    front, back = b"ID3\x03\0\0\0\0\x02\0" + b"\0" * 256, b"TAG" + b"x" * 125
    lyrics = b"LYRICSBEGIN" + b"la " * 100 + b"000311LYRICS200"

    assert read(front + spoken("mp3") + lyrics + back).seconds == pytest.approx(2.0, abs=0.08)


def test_an_mp3_that_starts_in_the_middle_is_read() -> None:
    assert 1.0 < read(spoken("mp3")[5000:]).seconds < 2.0
