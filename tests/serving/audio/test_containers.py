from __future__ import annotations

import pytest

from serving.audio.containers import mp3_declares_length, mp3_frame_size, ogg_is_torn, wav_is_torn
from serving.audio.encode import Encoder
from serving.audio.wav import wav_bytes, wav_header
from tests.audio_measure import noise


# Sizes by ISO 11172-3: 144 * bit rate / sample rate (72 below 32 kHz), plus the padding byte.
@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("fffb9000", 417),  # MPEG 1, 128 kbit/s at 44.1 kHz
        ("fffb9200", 418),  # the same, padded
        ("fffbe400", 960),  # 320 kbit/s at 48 kHz
        ("fff384c0", 192),  # MPEG 2, 64 kbit/s at 24 kHz
        ("ffe318c0", 72),  # MPEG 2.5, 8 kbit/s at 8 kHz
        ("fffb0000", 0),  # free format
        ("fffbf000", 0),  # no such bit rate
        ("fffb9c00", 0),  # no such sample rate
        ("ffeb9000", 0),  # no such version
        ("fffd9000", 0),  # layer II
        ("54414700", 0),  # "TAG"
        ("fffb", 0),
    ],
)
def test_an_mp3_header_gives_the_size_of_its_frame(header: str, size: int) -> None:
    assert mp3_frame_size(bytes.fromhex(header)) == size


def test_a_length_header_is_found_behind_tags_and_only_in_the_first_frame() -> None:
    frame = bytes.fromhex("fffb9000") + b"\0" * 32
    tag = b"ID3\x03\0\0\0\0\x02\0" + b"\xff" * 256

    assert mp3_declares_length(tag + frame + b"Xing" + b"\0" * 100)
    assert mp3_declares_length(frame + b"Info" + b"\0" * 100)
    assert not mp3_declares_length(frame + b"\0" * 400 + frame + b"Info")
    assert not mp3_declares_length(b"ID3\x03\0\0\x7f\x7f\x7f\x7f")
    assert not mp3_declares_length(b"")


def test_a_wav_file_is_torn_when_its_data_is_short_and_its_size_not_open() -> None:
    data = wav_bytes(noise(0.1, 24000), 24000)

    assert not wav_is_torn(data)
    assert not wav_is_torn(data + b"LIST\4\0\0\0abcd")
    assert wav_is_torn(data[:-1])
    assert not wav_is_torn(wav_header(24000) + data[44:])


def test_an_ogg_file_is_torn_when_its_last_page_is_incomplete() -> None:
    encoder = Encoder("opus")
    data = encoder.encode(noise(1.0, 24000), 24000) + encoder.finish()
    last_page = data.rindex(b"OggS")

    assert not ogg_is_torn(data)
    assert not ogg_is_torn(data[:last_page])
    assert all(ogg_is_torn(data[:end]) for end in range(last_page + 4, len(data)))
    assert ogg_is_torn(b"")
