"""Zips made byte by byte: as torch.save writes them, and as it does not."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

LOCAL, DESCRIBED, ENTRY, END64, LOCATOR, END = 30, 16, 46, 56, 20, 22
ALIGNMENT = 64


def contents(data: bytes) -> dict[str, bytes]:
    """The records of a sound archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(records: Mapping[str, bytes]) -> bytes:
    """``records`` as torch.save writes them, of any version since 1.6 (these differ in which records there are)."""
    body, directory = b"", b""
    for text, content in records.items():
        name, flags, crc, size = text.encode(), 0x0808 if content else 0x0800, zlib.crc32(content), len(content)
        padding = -(len(body) + LOCAL + len(name) + 4) % ALIGNMENT
        extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 0, 0, flags, 0, 0, 0, crc, size, size, len(name), 0, 0, 0, 0, 0, len(body)
        )
        directory += name
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 0, flags, 0, 0, 0, 0, 0, 0, len(name), len(extra)) + name + extra
        body += content + (struct.pack("<4s3L", b"PK\7\10", crc, size, size) if content else b"")
    return body + directory + ending(len(records), len(directory), len(body))


def ending(count: int, size: int, start: int, *, zip64: bool = True) -> bytes:
    """What follows a directory of ``count`` records and ``size`` bytes that begins at ``start``."""
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, start, 0)
    if not zip64:
        return end
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", END64 - 12, 798, 45, 0, 0, count, count, size, start)
    return end64 + struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1) + end


def parts(data: bytes) -> tuple[bytes, bytes, int]:
    """The records of a sound archive, its directory, and how many there are."""
    count, size, start = struct.unpack("<H2L", data[-12:-2])
    return data[:start], data[start : start + size], count


def entries(data: bytes) -> list[int]:
    """Where each entry of the directory begins."""
    body, _, count = parts(data)
    found = [len(body)]
    for _ in range(count - 1):
        lengths = struct.unpack("<3H", data[found[-1] + 28 : found[-1] + 34])
        found.append(found[-1] + ENTRY + sum(lengths))
    return found


def header(data: bytes, entry: int) -> int:
    """Where the record of the directory's ``entry`` begins."""
    return int(struct.unpack("<L", data[entry + 42 : entry + 46])[0])


def put(data: bytes, at: int, form: str, *values: int | bytes) -> bytes:
    """``data`` with ``values`` in the place of what is there."""
    new = struct.pack("<" + form, *values)
    return data[:at] + new + data[at + len(new) :]


def moved(directory: bytes, by: int, since: int = 0) -> bytes:
    """The directory when its records lie ``by`` bytes further back, from the byte ``since`` on."""
    at = 0
    while at < len(directory):
        where = struct.unpack("<L", directory[at + 42 : at + 46])[0]
        directory = put(directory, at + 42, "L", where + by) if where >= since else directory
        at += ENTRY + sum(struct.unpack("<3H", directory[at + 28 : at + 34]))
    return directory
