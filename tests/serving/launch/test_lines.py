"""Lines out of bytes, however they come."""

from __future__ import annotations

import io

import pytest

from serving.launch.lines import BLOCK, LONGEST, Lines, seek_last

TEXT = b"one\n\nthree\nfour"


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_lines_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    lines = Lines()
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    assert [line for piece in pieces for line in lines.feed(piece)] == [(b"one", True), (b"", True), (b"three", True)]
    assert lines.rest() == b"four"


@pytest.mark.parametrize("length", [LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST])
@pytest.mark.parametrize("size", [1000, LONGEST, 10 * LONGEST])
def test_a_long_line_comes_in_parts_and_only_the_last_ends_it(length: int, size: int) -> None:
    lines, text = Lines(), b"x" * length + b"\ny\n"
    found = [line for at in range(0, len(text), size) for line in lines.feed(text[at : at + size])]
    assert b"".join(part for part, _ in found) == b"x" * length + b"y"
    assert max(len(part) for part, _ in found) <= LONGEST
    assert [part for part, ends in found if ends][-1] == b"y"
    assert sum(ends for _, ends in found) == 2
    assert all(part for part, _ in found)


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("lines", [0, 1, 5, 40_000])
@pytest.mark.parametrize("count", [1, 2, 20_000, 10**6])
def test_the_last_lines_begin_where_they_begin(lines: int, count: int, end: bytes) -> None:
    text = b"\n".join(b"%d" % number for number in range(lines)) + (end if lines else b"")
    file = io.BytesIO(text)
    seek_last(file, count)
    assert file.read() == b"".join(text.splitlines(keepends=True)[-count:])


def test_lines_longer_than_a_block_are_found() -> None:
    file = io.BytesIO(b"a\n" + b"b" * (3 * BLOCK) + b"\n" + b"c" * BLOCK + b"\n")
    seek_last(file, 2)
    assert file.read().startswith(b"bb")
