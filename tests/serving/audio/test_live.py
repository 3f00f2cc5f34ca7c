"""Audio that is decoded while it arrives: every format that can be, and what is said of those that cannot."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from serving.audio.decode import check_file
from serving.audio.live import file_pieces, in_thread, index_comes_last, live_pieces
from serving.audio.pcm import Pcm, to_int16
from serving.audio.pipe import BytePipe
from serving.audio.wav import wav_bytes
from serving.errors import InvalidRequest, PayloadTooLarge
from tests.audio_measure import dominant_frequency, tone

RATE = 24000
SECONDS = 8.0


def muxed(container: str, codec: str, pcm: Pcm, rate: int = RATE, bits: int = 0, **options: str) -> bytes:
    sink = io.BytesIO()
    with av.open(sink, mode="w", format=container, container_options=options) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout="mono")
        if bits:
            stream.bit_rate = bits
        frame = av.AudioFrame.from_ndarray(pcm[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        to_codec = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=rate)
        for each in (*to_codec.resample(frame), None):
            file.mux(stream.encode(each))
    return sink.getvalue()


SOUND = tone(440, SECONDS, RATE)
OPUS = muxed("ogg", "libopus", tone(440, SECONDS, 48000), 48000)
STREAMABLE = {
    "wav": wav_bytes(SOUND, RATE),
    "wav of unknown size": wav_bytes(SOUND, RATE)[:40] + b"\xff" * 4 + wav_bytes(SOUND, RATE)[44:],
    "mp3": muxed("mp3", "libmp3lame", SOUND),
    "opus": OPUS,
    "flac": muxed("flac", "flac", SOUND),
    "aac": muxed("adts", "aac", SOUND),
    "webm": muxed("webm", "libopus", tone(440, SECONDS, 48000), 48000),
    "fragmented mp4": muxed("mp4", "aac", SOUND, movflags="frag_keyframe+empty_moov+default_base_moof"),
    "aiff": muxed("aiff", "pcm_s16be", SOUND),
    "au": muxed("au", "pcm_s16be", SOUND),
    "mp3 with a picture": b"ID3\x04\x00\x00\x00\x04\x00\x00"
    + bytes(4 << 14)
    + muxed("mp3", "libmp3lame", SOUND, bits=128_000),
}


async def pieces_of(
    data: bytes, content_type: str = "audio/*", *, block: int = 1000, max_seconds: float = 60.0
) -> tuple[Pcm, int, int]:
    """The audio of ``data``, its rate, and how many bytes had been handed over at the first piece of it."""
    pipe = BytePipe(4096)
    sent = first = 0

    async def send() -> None:
        nonlocal sent
        for start in range(0, len(data), block):
            await pipe.write(data[start : start + block])
            sent += block
        pipe.finish()

    sending = asyncio.create_task(send())
    heard = []
    async for piece in in_thread(live_pieces(pipe, content_type, max_seconds=max_seconds, param="file"), pipe):
        first = first or sent
        heard.append(piece)
    await sending
    return np.concatenate([piece.pcm for piece in heard]), heard[0].sample_rate, first


@pytest.mark.parametrize("name", STREAMABLE)
async def test_a_format_is_heard_before_it_has_ended(name: str) -> None:
    data = STREAMABLE[name]
    pcm, rate, first = await pieces_of(data)
    assert rate == (48000 if name in ("opus", "webm") else RATE)
    assert len(pcm) / rate == pytest.approx(SECONDS, abs=0.1)
    assert dominant_frequency(pcm[rate : 2 * rate], rate) == pytest.approx(440, abs=1)
    assert first < len(data) * 0.8


@pytest.mark.parametrize("name", ["wav", "aiff", "au"])
async def test_not_a_sample_is_lost(name: str) -> None:
    pcm, _, _ = await pieces_of(STREAMABLE[name], block=777)
    assert np.array_equal(to_int16(pcm), to_int16(SOUND))


@pytest.mark.parametrize("block", [1, 333, 100_000])
async def test_raw_samples_come_in_any_pieces(block: int) -> None:
    sound = SOUND[:4800]
    pcm, rate, _ = await pieces_of(to_int16(sound).tobytes(), "Audio/PCM; rate=16000", block=block)
    assert rate == 16000
    assert np.array_equal(to_int16(pcm), to_int16(sound))


async def test_raw_samples_are_24_khz_mono_unless_they_say_otherwise() -> None:
    _, rate, _ = await pieces_of(bytes(4800), "audio/pcm")
    assert rate == 24000
    stereo = np.stack([to_int16(SOUND), np.zeros(len(SOUND), np.int16)], axis=1)
    pcm, _, _ = await pieces_of(stereo.tobytes(), "audio/pcm;channels=2;rate=48000")
    assert np.allclose(pcm, SOUND / 2, atol=1e-4)


@pytest.mark.parametrize(
    "content_type", ["audio/pcm; rate=0", "audio/pcm; rate=x", "audio/pcm; rate=96000", "audio/pcm;channels=9"]
)
async def test_raw_samples_of_an_impossible_kind_are_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="audio/pcm; rate=24000") as caught:
        await pieces_of(bytes(100), content_type)
    assert caught.value.param == "Content-Type"


MP4 = muxed("mp4", "aac", SOUND)
NOT_STREAMABLE = [
    (MP4, "index comes after its audio"),
    (muxed("wv", "wavpack", SOUND), "while it arrives"),
    (b"hello, this is not audio" * 1000, "while it arrives"),
    (b"", "while it arrives"),
    (b"\x00", "while it arrives"),
    (STREAMABLE["wav"][:44], "no audio in it"),
    (STREAMABLE["flac"][: len(STREAMABLE["flac"]) // 2], "truncated"),
    (STREAMABLE["mp3"][:20_123], "truncated"),
]


@pytest.mark.parametrize(
    ("data", "words"), NOT_STREAMABLE, ids=["mp4", "wv", "text", "empty", "byte", "header", "flac", "mp3"]
)
async def test_what_cannot_be_heard_before_its_end_is_refused_with_the_way_to_send_it(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        await pieces_of(data)
    assert caught.value.param == "file"


@pytest.mark.parametrize("content_type", ["audio/*", "audio/pcm"])
async def test_an_endless_recording_ends_at_the_limit(content_type: str) -> None:
    with pytest.raises(PayloadTooLarge, match="3 seconds"):
        await pieces_of(STREAMABLE["wav"], content_type, max_seconds=3)


def test_an_mp4_tells_where_its_index_is() -> None:
    assert index_comes_last(MP4)
    assert not index_comes_last(STREAMABLE["fragmented mp4"])
    assert not index_comes_last(STREAMABLE["wav"])
    assert not index_comes_last(MP4[:20])
    assert not index_comes_last(b"\0\0\0\x01ftyp" + bytes(100))


async def test_a_failure_of_who_sends_is_raised_as_it_is() -> None:
    class Gone(Exception):
        pass

    for content_type in ("audio/*", "audio/pcm"):
        pipe = BytePipe()
        await pipe.write(STREAMABLE["mp3"][:20_000])
        pipe.finish(Gone())
        with pytest.raises(Gone):
            async for _ in in_thread(live_pieces(pipe, content_type, max_seconds=60, param="file"), pipe):
                pass


async def test_leaving_wakes_the_reader_and_whoever_writes() -> None:
    pipe = BytePipe(10)
    pieces = in_thread(live_pieces(pipe, "audio/pcm", max_seconds=60, param="file"), pipe)
    await pipe.write(b"ab")
    writing = asyncio.create_task(pipe.write(bytes(100)))
    assert len((await anext(pieces)).pcm)
    waiting = asyncio.create_task(_drain(pieces))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5):
        await writing
        await pipe.write(b"dropped")
    assert pipe.read() == b""


async def _drain(pieces: AsyncIterator[object]) -> None:
    async for _ in pieces:
        pass


async def test_a_slow_reader_holds_the_writer_back() -> None:
    pipe = BytePipe(1000)
    async with asyncio.timeout(5):
        await pipe.write(bytes(900))
        writing = asyncio.create_task(pipe.write(bytes(900)))
        await asyncio.sleep(0.02)
        assert not writing.done()
        assert len(await asyncio.to_thread(pipe.read, 1200)) == 1200
        await writing


async def test_a_file_is_read_piece_by_piece_and_its_length_is_known_before(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(STREAMABLE["wav"])
    assert check_file(path, max_seconds=10, param="file") == pytest.approx(SECONDS)
    pieces = [piece async for piece in in_thread(file_pieces(path, max_seconds=10, param="file"))]
    assert len(pieces) > 20
    assert np.array_equal(to_int16(np.concatenate([piece.pcm for piece in pieces])), to_int16(SOUND))


@pytest.mark.parametrize(
    "data",
    [b"", b"text", STREAMABLE["wav"][:1000], MP4[:5000], OPUS[: len(OPUS) // 2]],
    ids=["empty", "text", "wav", "mp4", "opus"],
)
def test_a_file_that_is_not_whole_is_refused_before(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(InvalidRequest) as caught:
        check_file(path, max_seconds=10, param="file")
    assert caught.value.param == "file"
