"""Gives converted speech the loudness of what was said, as a stream."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.audio.pcm import Pcm

STEP_S = 0.5
"""Seconds between two measurements, each over twice as long: the frames of RVC's ``change_rms``."""

FLOOR = 1e-6


class LoudnessMix:
    """Multiplies the output by (input's loudness / output's loudness) ** (1 - rate): ``rms_mix_rate``.

    With 1 the output keeps its own loudness and nothing is held back; with 0 it takes the input's. Loudness is the root
    mean square over a second, measured every half second of the absolute time and interpolated linearly between, so it
    does not depend on how the signals come. Needs up to a second of what follows.
    """

    def __init__(self, rate: float, input_rate: int, output_rate: int) -> None:
        assert 0 <= rate <= 1
        self._power = 1 - rate
        self._input = _Envelope(input_rate)
        self._output = _Envelope(output_rate)
        self._step = round(STEP_S * output_rate)
        self._held: Pcm = np.zeros(0, np.float32)
        self._given = 0

    def push(self, said: Pcm, converted: Pcm) -> Pcm:
        """The output that is ready after more of what was ``said`` and of what became of it, ``converted``."""
        if self._power == 0:
            return converted
        self._input.push(said)
        self._output.push(converted)
        self._held = np.concatenate([self._held, converted])
        known = min(self._input.points, self._output.points)
        return self._give(max(0, (known - 1) * self._step - self._given))

    def finish(self) -> Pcm:
        """The rest."""
        if self._power == 0:
            return self._held
        self._input.finish()
        self._output.finish()
        return self._give(len(self._held))

    def _give(self, samples: int) -> Pcm:
        ready, self._held = self._held[:samples], self._held[samples:]
        if not len(ready):
            return ready
        place = (self._given + np.arange(len(ready))) / self._step
        gain = self._input.at(place) / np.maximum(self._output.at(place), FLOOR)
        self._given += len(ready)
        result: Pcm = (ready * gain**self._power).astype(np.float32)
        return result


class _Envelope:
    """The root mean square of a signal around every half second."""

    def __init__(self, rate: int) -> None:
        self._step = round(STEP_S * rate)
        self._kept: Pcm = np.zeros(self._step, np.float32)  # what comes before the signal is silence
        self._points: list[float] = []

    @property
    def points(self) -> int:
        return len(self._points)

    def push(self, pcm: Pcm) -> None:
        self._kept = np.concatenate([self._kept, pcm])
        while len(self._kept) >= 2 * self._step:
            self._points.append(float(np.sqrt(np.mean(self._kept[: 2 * self._step].astype(np.float64) ** 2))))
            self._kept = self._kept[self._step :]

    def finish(self) -> None:
        """Measure to the end; behind it is silence."""
        self.push(np.zeros(2 * self._step, np.float32))

    def at(self, place: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The loudness at ``place``, in steps from the start."""
        return np.asarray(np.interp(place, np.arange(len(self._points)), self._points))
