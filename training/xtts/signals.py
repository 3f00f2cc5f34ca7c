"""Being told to stop: SIGTERM and SIGINT set a flag that the trainer looks at where it can save."""

from __future__ import annotations

import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Raised where the flag is seen outside a step: nothing is lost by leaving at once."""


class StopFlag:
    """True once a signal came. As PID 1 a process gets no signal that it has no handler for, so install it early."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        """Take the signals of this process; a second SIGINT interrupts at once, for who sits at the terminal."""
        for number in SIGNALS:
            signal.signal(number, self._set)

    def _set(self, number: int, _frame: FrameType | None) -> None:
        if self.is_set and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_set = True

    def check(self) -> None:
        """Raise Stopped if a signal came."""
        if self.is_set:
            raise Stopped
