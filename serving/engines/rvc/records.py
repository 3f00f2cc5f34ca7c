"""The records of a zip that is laid out exactly as torch.save does it, and of no other.

The format leaves it to its readers where to look for the directory, whose sizes and names to believe and what to skip,
and torch's reader (miniz) decides otherwise than Python's: what the one has checked, the other does not load. So there
is one way to read what is taken here, as every byte has its place::

    records from the first byte on, in the directory's order: local header, data, a data descriptor if announced
    the directory
    zip64's end of the directory and its locator, which torch always writes, or neither
    the end of the directory, without a comment
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

LOCAL = struct.Struct("<4s5H3L2H")
DESCRIPTOR = struct.Struct("<4s3L")
ENTRY = struct.Struct("<4s6H3L5H2L")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
END = struct.Struct("<4s4H2LH")

DESCRIBED = 0x0008
"""Flag: checksum and sizes follow the data."""

ENCRYPTED = 0x0001
FLAGS = DESCRIBED | 0x0800
"""Those of torch.save; the second says that names are UTF-8."""

STORED = 0
FOLDER = 0x10
"""Attribute of a record that miniz takes for a folder: it then hands out memory that it has not filled."""

DIRECTORY_BYTES = 4 * 1024 * 1024
CHUNK = 1024 * 1024


class NoArchive(Exception):
    """The file does not end as a zip does."""


class OddLayout(Exception):
    """The file is a zip, but not as torch.save lays it out."""


class Damaged(Exception):
    """The checksum of a record does not match."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the directory says of a record of ``size`` bytes; ``odd`` if it says what torch.save does not."""

    name: bytes
    flags: int
    method: int
    crc: int
    size: int
    header: int
    odd: bool


def read_directory(file: BinaryIO) -> tuple[list[Record], int]:
    """The records by the directory, and where it begins; raises NoArchive or OddLayout."""
    count, size, start = _read_end(file)
    file.seek(start)
    records = list(_entries(_read(file, size)))
    if len(records) != count:
        raise OddLayout(f"its directory has {len(records)} records and says {count}")
    return records, start


def locate(file: BinaryIO, records: Sequence[Record], directory: int) -> list[int]:
    """Where the data of each record begins, once every byte before ``directory`` is known to have its place.

    Raises OddLayout or Damaged.
    """
    file.seek(0)
    starts = [_pass(file, record) for record in records]
    if file.tell() != directory:
        raise OddLayout("there is something between its records and its directory")
    return starts


def _read_end(file: BinaryIO) -> tuple[int, int, int]:
    """How many records there are, and the size and start of the directory, in bytes."""
    end = file.seek(0, os.SEEK_END) - END.size
    if end < 0:
        raise NoArchive("it is no zip")
    file.seek(end)
    magic, disk, first_disk, here, count, size, start, comment = END.unpack(_read(file, END.size))
    if magic != b"PK\5\6":
        raise NoArchive("it does not end as a zip does")
    if (disk, first_disk, here, comment) != (0, 0, count, 0):
        raise OddLayout("its end tells of several disks or has a comment")
    if size > DIRECTORY_BYTES:
        raise OddLayout("its directory is too long")
    if start + size != _end_of_directory(file, end, (count, size, start)):
        raise OddLayout("its directory is not where it should be")
    return count, size, start


def _end_of_directory(file: BinaryIO, end: int, facts: tuple[int, int, int]) -> int:
    """Where the directory must end: at ``end``, or where zip64 repeats the ``facts`` before it."""
    at = end - LOCATOR.size - END64.size
    if at < 0:
        return end
    file.seek(at)
    end64, locator = _read(file, END64.size), _read(file, LOCATOR.size)
    if not locator.startswith(b"PK\6\7"):
        return end
    magic, length, _, _, *fields = END64.unpack(end64)
    count, size, start = facts
    if (magic, length, fields) != (b"PK\6\6", END64.size - 12, [0, 0, count, count, size, start]):
        raise OddLayout("its two ends differ")
    if LOCATOR.unpack(locator) != (b"PK\6\7", 0, at, 1):
        raise OddLayout("its end is not where it should be")
    return at


def _entries(directory: bytes) -> Iterator[Record]:
    at = 0
    while at < len(directory):
        if at + ENTRY.size > len(directory):
            raise OddLayout("its directory is cut short")
        fields = ENTRY.unpack_from(directory, at)
        magic, _, _, flags, method, _, _, crc, stored, size = fields[:10]
        name, extra, comment, disk, _, attributes, header = fields[10:]
        names = at + ENTRY.size
        at = names + name + extra + comment
        if magic != b"PK\1\2" or at > len(directory):
            raise OddLayout("its directory is damaged")
        odd = bool(extra or comment or disk or attributes & FOLDER) or (method == STORED and stored != size)
        yield Record(directory[names : names + name], flags, method, crc, size, header, odd)


def _pass(file: BinaryIO, record: Record) -> int:
    """Go over a record, which must begin here and be what the directory says; where its data begin."""
    if file.tell() != record.header:
        raise OddLayout("its records overlap or something is between them")
    magic, _, flags, method, _, _, *facts, name, extra = LOCAL.unpack(_read(file, LOCAL.size))
    if record.odd or (magic, _read(file, name), flags, method) != (b"PK\3\4", record.name, record.flags, STORED):
        raise OddLayout("a record is not what the directory says")
    told = [record.crc, record.size, record.size]
    if facts != told and not (flags & DESCRIBED and facts == [0, 0, 0]):
        raise OddLayout("a record is not what the directory says")
    start = file.seek(extra, os.SEEK_CUR)
    if _checksum(file, record.size) != record.crc:
        raise Damaged
    if flags & DESCRIBED and _read(file, DESCRIPTOR.size) != DESCRIPTOR.pack(b"PK\7\10", *told):
        raise OddLayout("a record does not end as the directory says")
    return start


def _checksum(file: BinaryIO, size: int) -> int:
    crc = 0
    while size > 0:
        data = _read(file, min(size, CHUNK))
        crc = zlib.crc32(data, crc)
        size -= len(data)
    return crc


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise OddLayout("it declares more than it has")
    return data
