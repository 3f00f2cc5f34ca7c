"""What is no audio, truncated, too long or hostile is refused, and nothing else happens."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.audio import reading
from serving.audio.encode import Encoder
from serving.audio.pcm import Pcm
from serving.audio.wav import wav_bytes, wav_header
from serving.errors import InvalidRequest, PayloadTooLarge, RequestError
from tests.audio_measure import noise, tone
from tests.serving.audio.recordings import form, read, refusal, spoken, wav_of, written


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("voice.wav", wav_bytes(tone(440, 1.0, 24000), 24000))
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"hello, this is not audio",
        b"{}" * 10_000,
        b"<html><body>404</body></html>" * 100,
        b"\0" * 100_000,
        b"RIFF",
        b"OggS",
        b"fLaC",
        b"ID3\x03\0\0\x7f\x7f\x7f\x7f",
        archive(),
        wav_header(24000, 0),
        wav_header(24000),
        wav_bytes(np.zeros(0, np.float32), 24000),
        wav_of(form(rate=0), b"\0" * 4800),
        wav_of(form(rate=1), b"\0" * 4800),
        wav_of(form(rate=3999), b"\0" * 4800),
        wav_of(form(rate=400_000), b"\0" * 4800),
        wav_of(form(rate=0xFFFFFFFF), b"\0" * 4800),
        wav_of(form(channels=0), b"\0" * 4800),
        wav_of(form(channels=7, align=14), b"\0" * 4802),
        wav_of(form(channels=255, align=510), b"\0" * 5100),
        wav_of(form(channels=0xFFFF, align=0xFFFF), b"\0" * 70_000),
        wav_of(form(bits=0, align=0), b"\0" * 4800),
        wav_of(form(bits=0xFFFF, align=0xFFFF), b"\0" * 70_000),
        wav_of(form(kind=0xABCD), b"\0" * 4800),
        wav_of(form(kind=3, bits=32, align=4), np.array([0.0, np.nan, 0.5], "<f4").tobytes()),
        wav_of(form(kind=3, bits=32, align=4), np.array([0.0, np.inf, 0.5], "<f4").tobytes()),
    ],
    ids=lambda data: f"{len(data)} bytes",  # not the bytes: a zip has the time in it, and every worker must agree
)
def test_what_is_no_usable_audio_is_an_invalid_request(data: bytes) -> None:
    assert isinstance(refusal(data), InvalidRequest)


def test_eight_planar_channels_are_refused_and_not_touched() -> None:
    pcm = np.zeros((8, 44100), np.float32)

    assert "8 channels" in refusal(written("aac", pcm, "7.1")).message


def test_a_change_of_the_sample_rate_on_the_way_is_refused() -> None:
    pieces = [written("aac", tone(440, 1.0, rate), rate=rate) for rate in (44100, 24000)]

    assert isinstance(refusal(b"".join(pieces)), InvalidRequest)


@pytest.mark.parametrize("kind", ["mp3", "wav", "flac", "opus", "aac", "m4a", "alac", "webm", "mka", "aiff", "caf"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_truncated_file_is_called_so(kind: str, share: float) -> None:
    data = spoken(kind, seconds=3.0)

    assert "truncated" in refusal(data[: int(len(data) * share) + 1]).message


@pytest.mark.parametrize("cut", [1, 50, 100])
def test_an_mp3_without_a_length_header_that_ends_within_a_frame_is_truncated(cut: int) -> None:
    encoder = Encoder("mp3")
    data = encoder.encode(noise(2.0, 24000), 24000) + encoder.finish()
    assert b"Xing" not in data
    assert b"Info" not in data

    assert "truncated" in refusal(data[:-cut]).message


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_an_mp3_cut_between_frames_is_truncated_when_its_header_counts_more(share: float) -> None:
    data = written("mp3", noise(5.0, 44100))
    assert b"Info" in data[:500] or b"Xing" in data[:500]
    step = 144 * 64000 // 44100

    frames = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xfb" and at > 500]
    cuts = [at for at in frames if at + step in frames or at + step + 1 in frames]

    assert "truncated" in refusal(data[: cuts[int(len(cuts) * share)]]).message


def long_mp3() -> bytes:
    """Two hours at 8 kbit/s: frames without a bit reservoir may simply be repeated."""
    out = io.BytesIO()
    container = av.open(out, "w", format="mp3", container_options={"write_xing": "0", "id3v2_version": "0"})
    stream = container.add_stream("libmp3lame", rate=8000, layout="mono", options={"reservoir": "0"})
    assert isinstance(stream, AudioStream)
    stream.bit_rate = 8000
    frame = av.AudioFrame.from_ndarray(tone(440, 36.0, 8000)[None], format="fltp", layout="mono")
    frame.sample_rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    container.close()
    return out.getvalue() * 200


def test_of_a_two_hour_mp3_no_more_than_the_limit_is_decoded_and_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[int] = []
    mono = reading._mono

    def counted(frame: av.AudioFrame, sample_rate: int, param: str) -> Pcm:
        decoded.append(frame.samples)
        return mono(frame, sample_rate, param)

    monkeypatch.setattr(reading, "_mono", counted)
    data = long_mp3()
    assert len(data) > 7_000_000

    tracemalloc.start()
    error = refusal(data, max_seconds=30)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert isinstance(error, PayloadTooLarge)
    assert "30 seconds" in error.message
    assert 30 < sum(decoded) / 8000 < 31
    assert most < 8 * 2**20


def test_the_limit_itself_is_allowed() -> None:
    pcm = noise(1.0, 24000)

    assert read(wav_bytes(pcm, 24000), max_seconds=1.0).seconds == 1.0
    assert isinstance(refusal(wav_bytes(pcm, 24000), max_seconds=0.999), PayloadTooLarge)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:10,\nfile://{path}\n",
        "ffconcat version 1.0\nfile '{path}'\n",
        "ffconcat version 1.0\nfile '{path.name}'\n",
        "file '{path}'\n",
        "concat:{path}|{path}",
        "<?xml version='1.0'?><MPD><Period><AdaptationSet><Representation><BaseURL>{path}</BaseURL>"
        "</Representation></AdaptationSet></Period></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        "data:audio/wav;base64,UklGRg==",
    ],
)
def test_texts_that_name_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(wav_bytes(tone(440, 1.0, 24000), 24000))

    refusal(text.format(path=tmp_path / "secret.wav").encode())


def test_ffmpeg_itself_would_read_the_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(wav_bytes(tone(440, 1.0, 24000), 24000))

    with av.open(io.BytesIO(b"ffconcat version 1.0\nfile 'secret.wav'\n"), mode="r") as container:
        assert container.format.name == "concat"
        assert next(container.decode(audio=0)).rate == 24000


BEGINNINGS = [spoken(kind, 0.3) for kind in ("mp3", "wav", "flac", "opus", "aac", "m4a", "webm", "aiff", "caf")]
FUZZ = settings(max_examples=150)


def survives(data: bytes) -> None:
    with contextlib.suppress(RequestError):
        audio = read(data)
        assert len(audio.pcm)
        assert np.isfinite(audio.pcm).all()


@FUZZ
@given(st.sampled_from([b"", b"RIFF", b"ID3", b"OggS", b"fLaC", b"\xff\xfb\x90\0", b"\x1aE\xdf\xa3"]), st.binary())
def test_random_bytes_raise_nothing_but_request_errors(magic: bytes, data: bytes) -> None:
    survives(magic + data)


@FUZZ
@given(
    st.sampled_from(BEGINNINGS),
    st.lists(st.tuples(st.one_of(st.integers(0, 200), st.integers(0, 20_000)), st.integers(0, 255)), max_size=30),
    st.integers(0, 20_000),
)
def test_damaged_files_raise_nothing_but_request_errors(data: bytes, changes: list[tuple[int, int]], end: int) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    survives(bytes(damaged))
    survives(bytes(damaged[:end]))
