"""Zips that two readers may read in two ways: what is checked must be what torch loads."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch.utils.serialization import config

from serving.engines.rvc.container import check_container
from serving.engines.rvc.records import locate, read_directory
from serving.engines.rvc.upload import read_upload
from serving.errors import InvalidRequest
from tests.factories.rvc import content_of
from tests.serving.engines.rvc.hostile import refused, written
from tests.serving.engines.rvc.zips import (
    END,
    END64,
    LOCAL,
    LOCATOR,
    contents,
    ending,
    entries,
    header,
    moved,
    packed,
    parts,
    put,
)

PICKLE = "voice/data.pkl"
EVIL = b"\x80\x02c__builtin__\nbytearray\nK\x03\x85R."
"""Three bytes here, as many as an attacker likes."""


def two_archives(sound: bytes, evil: bytes) -> bytes:
    """Python takes the directory that lies before the end, torch the one that the end names."""
    (body, directory, count), (first, other, _) = parts(sound), parts(evil)
    assert (len(first), len(other)) == (len(body), len(directory))
    return first + other + body + directory + ending(count, len(other), len(first), zip64=False)


def two_ends_of_zip64(sound: bytes, evil: bytes) -> bytes:
    """Python takes the end that lies before its locator, torch the one that the locator names."""
    (body, directory, count), (first, other, _) = parts(sound), parts(evil)
    before = first + other + ending(count, len(other), len(first))[:END64]
    end = ending(count, len(directory), len(before) + len(body))
    end = put(end, END64 + 8, "Q", len(first) + len(other))
    return before + body + moved(directory, len(before)) + end


def another_case(sound: bytes, evil: bytes) -> bytes:
    """Python looks for names with regard to case, torch without."""
    return packed({"voice/DATA.PKL": EVIL} | contents(sound))


def a_name_cut_by_python(sound: bytes, evil: bytes) -> bytes:
    """Python ends a name at a NUL."""
    records = contents(sound)
    return packed({PICKLE + "\0": records.pop(PICKLE), "voice/DATA.PKL": EVIL} | records)


@pytest.mark.parametrize("craft", [two_archives, two_ends_of_zip64, another_case, a_name_cut_by_python])
def test_a_zip_that_is_another_one_for_torch_is_refused(
    craft: Callable[[bytes, bytes], bytes], sound: bytes, tmp_path: Path
) -> None:
    records = contents(sound)
    evil = EVIL.ljust(len(records[PICKLE]), b"\0")
    path = written(craft(sound, packed(records | {PICKLE: evil})), tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read(PICKLE) == records[PICKLE]
    assert torch.load(path, weights_only=True, mmap=True) == bytearray(3)
    refused(path)


def gap(sound: bytes, at: int) -> bytes:
    """Seven bytes at ``at``, of which everything else knows."""
    body, directory, count = parts(sound)
    shifted = moved(directory, 7, since=at)
    return body[:at] + bytes(7) + body[at:] + shifted + ending(count, len(shifted), len(body) + 7)


def longer(sound: bytes, *, extra: bytes = b"", comment: bytes = b"") -> bytes:
    """The directory's first entry with an extra field and a comment."""
    body, directory, count = parts(sound)
    name = struct.unpack("<H", directory[28:30])[0]
    directory = put(directory, 30, "2H", len(extra), len(comment))
    directory = directory[: 46 + name] + extra + comment + directory[46 + name :]
    return body + directory + ending(count, len(directory), len(body))


def backwards(sound: bytes) -> bytes:
    body, directory, count = parts(sound)
    starts = [entry - len(body) for entry in entries(sound)]
    directory = b"".join(directory[a:b] for a, b in reversed(list(zip(starts, [*starts[1:], None], strict=True))))
    return body + directory + ending(count, len(directory), len(body))


def overlapping(sound: bytes) -> bytes:
    _, second, third, *_ = entries(sound)
    return put(sound, third + 42, "L", header(sound, second))


def unknown_unicode_path() -> bytes:
    """What Pythons since 3.13 take for the name."""
    return struct.pack("<2HBL", 0x7075, 5 + 14, 1, 0) + b"voice/data.pkl"


def end(sound: bytes) -> int:
    return len(sound) - END


ODD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "bytes before the first record": (lambda s: gap(s, 0), "between them"),
    "bytes between two records": (lambda s: gap(s, header(s, entries(s)[1])), "between them"),
    "bytes before the directory": (lambda s: gap(s, len(parts(s)[0])), "its records and its directory"),
    "bytes after the directory": (lambda s: parts(s)[0] + parts(s)[1] + bytes(7) + s[-END:], "not where it should be"),
    "bytes after zip64's end": (lambda s: s[: -END - LOCATOR] + bytes(7) + s[-END - LOCATOR :], "two ends differ"),
    "bytes before everything": (lambda s: bytes(7) + s, "not where it should be"),
    "bytes after everything": (lambda s: s + bytes(7), "cut short or damaged"),
    "a comment": (lambda s: s[:-2] + b"\7\0comment", "cut short or damaged"),
    "a comment that is another end": (lambda s: s[:-2] + struct.pack("<H", END) + s[-END:], "not where it should be"),
    "a comment that is not there": (lambda s: put(s, end(s) + 20, "H", 7), "a comment"),
    "another disk": (lambda s: put(s, end(s) + 4, "2H", 1, 1), "several disks"),
    "fewer records than entries": (lambda s: put(s, end(s) + 8, "2H", 5, 5), "two ends differ"),
    "fewer records, without zip64": (
        lambda s: parts(s)[0] + parts(s)[1] + ending(5, len(parts(s)[1]), len(parts(s)[0]), zip64=False),
        "and says 5",
    ),
    "zip64 with another directory": (lambda s: put(s, end(s) - LOCATOR - 8, "Q", 0), "two ends differ"),
    "zip64 with more to it": (lambda s: put(s, end(s) - LOCATOR - END64 + 4, "Q", 45), "two ends differ"),
    "zip64 somewhere else": (lambda s: put(s, end(s) - LOCATOR + 8, "Q", 0), "not where it should be"),
    "zip64 of several disks": (lambda s: put(s, end(s) - 4, "L", 2), "not where it should be"),
    "records in another order": (backwards, "between them"),
    "records that overlap": (overlapping, "records overlap"),
    "an extra field": (lambda s: longer(s, extra=unknown_unicode_path()), "not what the directory says"),
    "a record's comment": (lambda s: longer(s, comment=b"comment"), "not what the directory says"),
    "a record on another disk": (lambda s: put(s, entries(s)[0] + 34, "H", 1), "not what the directory says"),
    "a record that is a folder": (lambda s: put(s, entries(s)[0] + 38, "L", 0x10), "not what the directory says"),
    "a directory that cannot be": (lambda s: put(s, entries(s)[1] + 28, "H", 60_000), "directory is damaged"),
    "two sizes": (lambda s: put(s, entries(s)[0] + 20, "L", 1), "not what the directory says"),
    "the size of its neighbours": (lambda s: put(s, entries(s)[0] + 20, "2L", 99_999, 99_999), "checksum"),
    "more than there is": (lambda s: put(s, entries(s)[-1] + 20, "2L", 2**31, 2**31), "more than it has"),
    "a local header of another name": (lambda s: put(s, LOCAL, "5s", b"other"), "not what the directory says"),
    "a local header of another size": (lambda s: put(s, 18, "2L", 1, 1), "not what the directory says"),
    "a local header of another method": (lambda s: put(s, 8, "H", 8), "not what the directory says"),
    "a local header of other flags": (lambda s: put(s, 6, "H", 0x0800), "not what the directory says"),
    "a local header that is none": (lambda s: put(s, 0, "4s", b"PK\1\2"), "not one that|not what the directory says"),
    "a longer padding": (lambda s: put(s, 28, "H", 100), "checksum"),
    "a descriptor of another size": (
        lambda s: put(s, header(s, entries(s)[1]) - 4, "L", 1),
        "does not end as the directory says",
    ),
    "patched data": (lambda s: put(s, entries(s)[0] + 8, "H", 0x0828), "unknown flags"),
    "encrypted data": (lambda s: put(s, entries(s)[0] + 8, "H", 0x0809), "encrypted"),
    "a record in another folder": (lambda s: packed(contents(s) | {"other/x": b"x"}), "outside its folder"),
    "a folder for a record": (lambda s: packed(contents(s) | {"voice/x/": b"x"}), "outside its folder"),
    "two of one name": (lambda s: packed(contents(s) | {"voice/BYTEORDER": b"little"}), "two of one name"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_layout_that_torch_save_does_not_write_is_refused(name: str, sound: bytes, tmp_path: Path) -> None:
    change, reason = ODD[name]
    assert re.search(reason, refused(written(change(sound), tmp_path)))


def test_a_directory_of_millions_of_records_is_refused_unread(tmp_path: Path) -> None:
    count = 200_000
    directory = struct.pack("<4s42x", b"PK\1\2") * count
    path = written(directory + ending(60_000, len(directory), 0, zip64=False), tmp_path)
    assert "directory is too long" in refused(path)


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def test_what_torch_saves_into_memory_under_any_name_and_again_is_taken(tmp_path: Path) -> None:
    content = content_of()
    content["weight"]["enc_q.nothing"] = torch.zeros(0)
    for name in ("voice.pth", "my voice (1).final.pth", "st\u00ed\u0148.pth", "\u58f0.pth"):
        torch.save(content, tmp_path / name)
        read_upload(tmp_path / name)
    again = torch.load(tmp_path / name, weights_only=True)
    read_upload(written(saved(again), tmp_path))


def test_what_other_versions_of_torch_save_is_taken(tmp_path: Path) -> None:
    """1.6 to 2.0 wrote the pickle, the tensors and the version; then came the rest, and an alignment of one's own."""
    new = saved(content_of())
    records = contents(new)
    assert packed(records) == new
    added = {
        "archive/byteorder",
        "archive/.data/serialization_id",
        "archive/.format_version",
        "archive/.storage_alignment",
    }
    assert added < set(records)
    for there in ((), ("archive/byteorder",), ("archive/byteorder", "archive/.data/serialization_id")):
        old = {name: data for name, data in records.items() if name not in added.difference(there)}
        read_upload(written(packed(old), tmp_path))
    read_upload(written(saved(content_of(), _disable_byteorder_record=True), tmp_path))
    for alignment in (1, 4096):
        with patch.object(config.save, "storage_alignment", alignment):
            read_upload(written(saved(content_of()), tmp_path))


def test_whatever_is_taken_is_what_torch_reads(tmp_path: Path) -> None:
    """Bytes changed in headers, directory and ends: torch finds the very records that were checked, where they were."""
    data = saved({"weight": {"a": torch.zeros(3), "b": torch.ones(2)}})
    directory = len(parts(data)[0])
    places = [*range(directory, len(data))]
    for entry in entries(data):
        at = header(data, entry)
        places += range(at, at + LOCAL + 20)
    chance = random.Random(3)
    taken = 0
    for _ in range(4000):
        changed = bytearray(data)
        for _ in range(chance.choice([1, 1, 2])):
            changed[chance.choice(places)] = chance.choice([0, 1, 4, 8, 16, 32, 255, chance.randrange(256)])
        path = written(bytes(changed), tmp_path)
        try:
            check_container(path, len(data))
        except InvalidRequest:
            continue
        taken += 1
        with path.open("rb") as file:
            records, end = read_directory(file)
            starts = locate(file, records, end)
        reader = torch._C.PyTorchFileReader(str(path))
        assert len(reader.get_all_records()) == len(records)
        for record, start in zip(records, starts, strict=True):
            name = record.name.decode().partition("/")[2]
            assert reader.get_record_offset(name) == start
            assert reader.get_record(name) == changed[start : start + record.size]
    assert 100 < taken < 3000
