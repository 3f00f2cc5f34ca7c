from __future__ import annotations

import contextlib
import io
import threading
import wave
from collections.abc import Iterable

import av
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.audio.encode import FORMATS, OUTPUT_RATE, Encoder
from serving.audio.pcm import Pcm, to_float32
from serving.errors import EngineError
from tests.audio_measure import decode_any, dominant_frequency, noise, rms, tone

ALL = pytest.mark.parametrize("name", list(FORMATS))
# Codec frames before and after the audio: an mp3 starts with the encoder's delay, an aac with one frame.
PADDING_S = {"mp3": 0.1, "aac": 0.1, "opus": 0.0, "flac": 0.0, "wav": 0.0, "pcm": 0.0}


def encoded(name: str, chunks: Iterable[Pcm], rate: int = OUTPUT_RATE) -> bytes:
    encoder = Encoder(name)
    return b"".join([encoder.encode(chunk, rate) for chunk in chunks]) + encoder.finish()


def decoded(name: str, data: bytes) -> tuple[Pcm, int]:
    if name == "pcm":
        return to_float32(np.frombuffer(data, "<i2")), OUTPUT_RATE
    return decode_any(data)


def test_media_types_are_those_of_the_openai_api() -> None:
    assert {name: each.media_type for name, each in FORMATS.items()} == {
        "mp3": "audio/mpeg",
        "opus": "audio/ogg;codecs=opus",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "wav": "audio/wav",
        "pcm": "audio/pcm",
    }


@ALL
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 32000, 40000, 44100, 48000])
def test_a_stream_has_the_rate_that_it_was_made_for(name: str, rate: int) -> None:
    output = FORMATS[name].nearest_rate(rate)
    assert output == rate or (output > rate and rate not in FORMATS[name].rates)
    encoder = Encoder(name, output)
    data = encoder.encode(tone(440, 2.0, rate), rate) + encoder.finish()
    if name == "pcm":
        pcm, found = to_float32(np.frombuffer(data, "<i2")), output
    else:
        pcm, found = decode_any(data)
    assert found == (48000 if name == "opus" else output)
    if name in ("wav", "pcm", "flac"):
        assert len(pcm) == 2 * output
    middle = pcm[found // 2 : -found // 2]
    assert dominant_frequency(middle, found) == pytest.approx(440, abs=2)
    assert rms(middle) == pytest.approx(0.3 / 2**0.5, rel=0.08)


@pytest.mark.parametrize(
    ("name", "asked", "taken"),
    [
        ("opus", 40000, 48000),
        ("opus", 44100, 48000),
        ("mp3", 40000, 44100),
        ("mp3", 96000, 48000),
        ("wav", 40000, 40000),
    ],
)
def test_a_format_that_does_not_know_a_rate_takes_the_next_higher(name: str, asked: int, taken: int) -> None:
    assert FORMATS[name].nearest_rate(asked) == taken


@ALL
@pytest.mark.parametrize("rate", [24000, 22050, 48000])
def test_a_tone_keeps_duration_pitch_and_level(name: str, rate: int) -> None:
    data = encoded(name, np.array_split(tone(440, 3.0, rate), 30), rate)

    pcm, decoded_rate = decoded(name, data)

    assert decoded_rate == (48000 if name == "opus" else 24000)
    assert 3.0 - 0.001 <= len(pcm) / decoded_rate <= 3.0 + PADDING_S[name] + 0.001
    middle = pcm[decoded_rate // 2 : -decoded_rate // 2]
    assert dominant_frequency(middle, decoded_rate) == pytest.approx(440, abs=1)
    # LAME turns everything below 320 kbit/s down by half a decibel, against clipping.
    assert rms(middle) == pytest.approx((0.95 if name == "mp3" else 1.0) * 0.3 / 2**0.5, rel=0.01)


@ALL
def test_the_container_says_what_it_holds(name: str) -> None:
    data = encoded(name, [tone(440, 0.5, 24000)])

    if name == "pcm":
        assert len(data) == 24000
        return
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        codec = {"mp3": "mp3float", "wav": "pcm_s16le"}.get(name, name)
        assert (stream.codec_context.name, stream.channels) == (codec, 1)
        assert container.format.name == ("ogg" if name == "opus" else name)
    if name == "opus":
        head = data.index(b"OpusHead")
        assert int.from_bytes(data[head + 12 : head + 16], "little") == 24000


@ALL
def test_what_has_left_is_a_playable_beginning_of_all_but_the_last_moment(name: str) -> None:
    encoder, audio, data = Encoder(name), tone(440, 2.0, 24000), b""
    first_at, longest, last_at = 0.0, 0.0, 0.0
    for start in range(0, len(audio), 240):
        now = (start + 240) / 24000
        piece = encoder.encode(audio[start : start + 240], 24000)
        if piece and start:
            first_at = first_at or now
            longest, last_at = max(longest, now - last_at), now
        data += piece

    pcm, rate = decoded(name, data)
    assert first_at <= 0.1 + 0.04 * (name == "aac")
    assert longest <= 0.1 + 0.04 * (name == "aac")
    assert len(pcm) / rate >= 2.0 - 0.15
    encoder.close()


@pytest.mark.parametrize("name", ["mp3", "opus", "aac"])
def test_an_engine_at_another_rate_waits_fifty_milliseconds_more_at_most(name: str) -> None:
    encoder, chunk = Encoder(name), noise(0.01, 22050)[:220]
    pieces = [encoder.encode(chunk, 22050) for _ in range(100)]

    waits = np.diff([0] + [number for number, piece in enumerate(pieces) if piece])
    assert waits.max() * 220 / 22050 <= 0.2
    encoder.close()


@settings(max_examples=40)
@given(st.sampled_from(list(FORMATS)), st.sampled_from([24000, 22050]), st.lists(st.integers(0, 9000), max_size=8))
def test_chunks_of_any_size_give_the_same_bytes(name: str, rate: int, sizes: list[int]) -> None:
    pcm = noise(0.7, rate)

    assert encoded(name, np.split(pcm, np.cumsum(sizes)), rate) == encoded(name, [pcm], rate)


@pytest.mark.parametrize("name", ["pcm", "wav", "flac"])
def test_lossless_formats_keep_every_sample(name: str) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 10_000).astype(np.int16)

    pcm, _ = decoded(name, encoded(name, [to_float32(samples)]))

    assert np.array_equal(pcm * 32768, samples)


@ALL
def test_too_loud_audio_is_clipped_and_never_wraps(name: str) -> None:
    data = encoded(name, [np.full(12000, 1.9, np.float32)])

    pcm, rate = decoded(name, data)
    steady = pcm[rate // 5 : rate // 5 + 1000]
    assert steady.min() > (0.0 if name == "opus" else 0.9)  # opus filters constant levels out, from above


@ALL
def test_a_stream_without_audio_is_finished_without_error(name: str) -> None:
    silent = Encoder(name)

    assert len(silent.finish()) < 200  # headers only, without room for later tags
    assert isinstance(encoded(name, [np.zeros(0, np.float32)]), bytes)


@ALL
def test_a_very_short_stream_is_a_whole_file(name: str) -> None:
    pcm, rate = decoded(name, encoded(name, [tone(440, 0.005, 24000)]))

    assert 0.004 <= len(pcm) / rate <= 0.15


def test_a_streamed_wav_has_open_sizes_and_is_read_by_the_standard_library() -> None:
    data = encoded("wav", [tone(440, 1.0, 24000)])

    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"
    with wave.open(io.BytesIO(data)) as file:
        assert len(file.readframes(1_000_000)) == 48000


@ALL
def test_raw_samples_at_their_own_rate_and_a_second_of_mp3_are_encoded_without_a_thread(name: str) -> None:
    encoder, second = Encoder(name), tone(440, 1.0, 24000)
    assert encoder.is_light(second, 24000) is (name in ("pcm", "wav", "mp3"))
    assert encoder.is_light(np.tile(second, 2), 24000) is (name in ("pcm", "wav"))
    assert encoder.is_light(tone(440, 1.0, 22050), 22050) is (name == "mp3")
    encoder.close()


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("bit_rate", [32_000, 64_000, 192_000])
def test_mp3_keeps_its_sample_rate_whatever_its_bit_rate(rate: int, bit_rate: int) -> None:
    encoder = Encoder("mp3", rate, bit_rate)
    data = encoder.encode(tone(440, 2.0, rate), rate) + encoder.finish()

    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        assert stream.rate == rate
        highest = {8000: 64_000, 22050: 160_000}.get(rate, bit_rate)  # of MPEG 2.5 and 2
        assert stream.codec_context.bit_rate == min(bit_rate, highest)


@ALL
def test_samples_that_are_no_numbers_are_an_engine_error(name: str) -> None:
    encoder = Encoder(name)

    with pytest.raises(EngineError):
        encoder.encode(np.array([0.0, np.nan], np.float32), 24000)
    encoder.close()


@ALL
def test_close_may_come_at_any_time_and_twice(name: str) -> None:
    unused, used, finished = Encoder(name), Encoder(name), Encoder(name)
    used.encode(noise(0.5, 22050), 22050)
    finished.finish()

    for encoder in (unused, used, finished):
        encoder.close()
        encoder.close()
        with pytest.raises(AssertionError):
            encoder.encode(noise(0.1, 24000), 24000)


def test_close_waits_for_an_encode_in_another_thread() -> None:
    for _ in range(20):
        encoder, started = Encoder("aac"), threading.Event()

        def work(encoder: Encoder = encoder, started: threading.Event = started) -> None:
            started.set()
            with contextlib.suppress(AssertionError):  # closed before it began
                encoder.encode(noise(1.0, 24000), 24000)

        thread = threading.Thread(target=work)
        thread.start()
        started.wait()
        encoder.close()
        thread.join()


@ALL
def test_closed_encoders_leave_no_memory_behind(name: str) -> None:
    def use(times: int) -> None:
        for _ in range(times):
            encoder = Encoder(name)
            encoder.encode(np.zeros(2400, np.float32), 24000)
            encoder.close()

    use(30)
    before = psutil.Process().memory_info().rss
    use(400)

    assert psutil.Process().memory_info().rss - before < 16 * 2**20  # each one that stays takes 60 kB or more


def grows_by(name: str, seconds: int) -> int:
    encoder, second = Encoder(name), np.zeros(24000, np.float32)
    for _ in range(10):
        encoder.encode(second, 24000)
    before = psutil.Process().memory_info().rss
    for _ in range(seconds):
        encoder.encode(second, 24000)
    growth = psutil.Process().memory_info().rss - before
    encoder.close()
    return growth


@ALL
def test_ten_minutes_are_not_held_in_memory(name: str) -> None:
    assert grows_by(name, 600) < 16 * 2**20  # the samples alone are 58 MB


@pytest.mark.slow
@ALL
def test_an_hour_is_not_held_in_memory(name: str) -> None:
    assert grows_by(name, 3600) < 16 * 2**20
