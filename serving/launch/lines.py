"""Lines out of bytes as they come, and where the last ones begin; what is held is bounded, however long a line is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

LONGEST = 64 * 1024
"""Bytes of the longest line; what is longer comes as several, as a progress bar does that ends none."""

BLOCK = 64 * 1024


class Lines:
    """Cuts bytes at line ends."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """(line, whether it ends here) of each that is whole or as long as may be."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            *parts, last = _parts(line)
            yield from ((part, False) for part in parts)
            yield last, True
        while len(self._rest) > LONGEST:
            part, self._rest = self._rest[:LONGEST], self._rest[LONGEST:]
            yield part, False

    def rest(self) -> bytes:
        """What came behind the last line end."""
        return self._rest


def _parts(line: bytes) -> list[bytes]:
    return [line[at : at + LONGEST] for at in range(0, max(len(line), 1), LONGEST)]


def seek_last(file: IO[bytes], count: int) -> None:
    """Go to where the last ``count`` lines of ``file`` begin; one that has no end yet is one of them."""
    at = file.seek(0, os.SEEK_END)
    wanted = count
    if at:
        file.seek(at - 1)
        wanted += file.read(1) == b"\n"
    while at > 0:
        begin = max(0, at - BLOCK)
        file.seek(begin)
        block = file.read(at - begin)
        ends = block.count(b"\n")
        if ends >= wanted:
            end = len(block)
            for _ in range(wanted):
                end = block.rindex(b"\n", 0, end)
            file.seek(begin + end + 1)
            return
        wanted, at = wanted - ends, begin
    file.seek(0)
