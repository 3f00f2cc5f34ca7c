"""Sound that says when it was made, after the rounding of 16-bit pcm."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.stamps import BYTES, age_s, stamped
from serving.audio.encode import Encoder


def test_the_age_of_sound_survives_its_encoding_as_pcm() -> None:
    data = Encoder("pcm").encode(stamped(np.full(100, 0.5, np.float32)), 24000)
    time.sleep(0.05)
    assert 0.05 <= age_s(data) < 5.0
    assert age_s(data[:BYTES]) >= 0.05


def test_what_follows_the_stamp_is_the_sound() -> None:
    sound = np.linspace(-0.5, 0.5, 100, dtype=np.float32)
    assert np.array_equal(stamped(sound)[2:], sound[2:])
    assert len(stamped(sound)) == len(sound)


def test_the_clock_may_come_round(monkeypatch: pytest.MonkeyPatch) -> None:
    round_s = (1 << 28) / 10_000
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: round_s - 0.5)
    data = Encoder("pcm").encode(stamped(np.zeros(4, np.float32)), 24000)
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: round_s + 0.25)
    assert age_s(data) == pytest.approx(0.75, abs=0.001)
