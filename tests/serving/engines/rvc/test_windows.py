"""Windows of a recording: all of it, once, the same however it comes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.audio.pcm import Pcm
from serving.engines.rvc.windows import CONTEXT, GROWTH_S, HOP, RATE, SEARCH, WHOLE_S, Window, WindowCutter


def noise(samples: int, seed: int = 0) -> Pcm:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


def windows_of(pcm: Pcm, *sizes: int) -> list[Window]:
    """Those of ``pcm``, which comes in pieces of ``sizes`` and then the rest."""
    cutter = WindowCutter()
    found, start = [], 0
    for size in (*sizes, len(pcm)):
        found += cutter.push(pcm[start : start + size])
        start += size
    return found + cutter.finish()


@given(st.integers(1, 8 * RATE), st.lists(st.integers(0, RATE), max_size=6))
def test_every_frame_is_in_one_window_however_the_recording_comes(samples: int, sizes: list[int]) -> None:
    pcm = noise(samples)
    windows = windows_of(pcm, *sizes)
    assert [window.first for window in windows] == [0, *(window.last for window in windows[:-1])]
    assert windows[-1].last == -(-samples // HOP)
    assert sum(window.length for window in windows) == samples
    for window, whole in zip(windows, windows_of(pcm), strict=True):
        assert (window.index, window.first, window.last) == (whole.index, whole.first, whole.last)
        assert np.array_equal(window.pcm, whole.pcm)


def test_a_window_holds_its_samples_with_a_second_on_each_side() -> None:
    pcm = noise(8 * RATE)
    padded = np.pad(pcm, CONTEXT * HOP, mode="reflect")
    for window in windows_of(pcm):
        assert np.array_equal(window.pcm, padded[window.first * HOP : (window.last + 2 * CONTEXT) * HOP])


def test_the_first_window_comes_with_its_context_and_the_others_grow() -> None:
    cutter = WindowCutter()
    needed = int(GROWTH_S[0] * RATE) + CONTEXT * HOP
    assert cutter.push(noise(needed - 1)) == []
    assert len(cutter.push(noise(1))) == 1
    lengths = [window.frames * HOP / RATE for window in windows_of(noise(70 * RATE))]
    assert all(planned - SEARCH * HOP / RATE <= got <= planned for planned, got in zip(GROWTH_S, lengths, strict=False))
    assert max(lengths) <= GROWTH_S[-1]


@pytest.mark.parametrize("frame", [65, 80, 99])
def test_a_window_ends_where_it_is_quiet(frame: int) -> None:
    pcm = noise(4 * RATE)
    pcm[frame * HOP - 800 : frame * HOP + 800] *= 0.01
    assert windows_of(pcm)[0].last == frame


def test_memory_does_not_grow_with_the_recording() -> None:
    cutter = WindowCutter()
    for second in range(120):
        cutter.push(noise(RATE, second))
    assert len(cutter._kept) < (GROWTH_S[-1] + 2 * CONTEXT * HOP / RATE + 2) * RATE


def test_for_a_result_that_is_waited_for_windows_are_long_from_the_start() -> None:
    cutter = WindowCutter(WHOLE_S)
    ten = noise(10 * RATE)
    windows = cutter.push(ten) + cutter.finish()
    assert [window.frames for window in windows] == [1000]
    assert np.array_equal(windows[0].pcm, np.pad(ten, CONTEXT * HOP, mode="reflect"))
    cutter = WindowCutter(WHOLE_S)
    windows = cutter.push(noise(40 * RATE)) + cutter.finish()
    assert [window.last for window in windows[:-1]] == [window.first for window in windows[1:]]
    assert len(windows) == 3
    assert sum(window.length for window in windows) == 40 * RATE
