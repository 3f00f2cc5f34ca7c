from __future__ import annotations

import numpy as np
import pytest

from serving.audio.pcm import Audio, to_float32, to_int16


def test_int16_is_rounded_and_clipped_and_never_wraps() -> None:
    pcm = np.array([0.0, 1.0, -1.0, 1.5, -7.0, np.inf, -np.inf, 1.6 / 32768, -0.4 / 32768], np.float32)

    assert to_int16(pcm).tolist() == [0, 32767, -32768, 32767, -32768, 32767, -32768, 2, 0]


def test_every_int16_survives_the_way_through_float() -> None:
    samples = np.arange(-32768, 32768).astype(np.int16)

    assert np.array_equal(to_int16(to_float32(samples)), samples)


@pytest.mark.parametrize(
    ("kind", "low", "middle"), [("u1", 0, 128), ("i2", -(2**15), 0), ("i4", -(2**31), 0), ("i8", -(2**63), 0)]
)
def test_full_scale_of_every_integer_width_is_one(kind: str, low: int, middle: int) -> None:
    assert to_float32(np.array([low, middle], kind)).tolist() == [-1.0, 0.0]


def test_an_audio_knows_its_seconds() -> None:
    assert Audio(np.zeros(12000, np.float32), 24000).seconds == 0.5
