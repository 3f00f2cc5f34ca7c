"""Files of an attacker: none is run, none is taken, and none leaves anything behind."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.engines.rvc.container import RECORDS
from serving.engines.rvc.upload import read_upload
from serving.errors import InvalidRequest
from tests.serving.engines.rvc.hostile import refused, repacked, written

pytestmark = pytest.mark.usefixtures("_nothing_happens")


def test_deflated_records_are_refused_unread(sound: bytes, tmp_path: Path) -> None:
    bomb = repacked(sound, lambda r: {**r, "voice/data/0": bytes(300_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 5_000_000
    assert "compressed" in refused(written(bomb, tmp_path))


def test_records_that_overlap_or_declare_more_than_there_is_are_refused(sound: bytes, tmp_path: Path) -> None:
    """The directory's entries all point to one record, or state a size of gigabytes."""
    entry = sound.index(b"PK\x01\x02")
    for size in (2**31, len(sound) + 1):
        lie = bytearray(sound)
        lie[entry + 20 : entry + 28] = struct.pack("<II", size, size)
        refused(written(bytes(lie), tmp_path))
    first = sound[entry + 42 : entry + 46]
    lie = bytearray(sound)
    while (entry := lie.find(b"PK\x01\x02", entry + 1)) > 0:
        lie[entry + 42 : entry + 46] = first
    refused(written(bytes(lie), tmp_path))


@pytest.mark.parametrize(
    "name",
    ["../../../tmp/kubevoice-rvc-canary", "/tmp/kubevoice-rvc-canary", "voice/../../x", "C:\\x", "voice\\..\\x", "a:b"],
)
def test_records_outside_their_folder_are_refused_and_never_written(name: str, sound: bytes, tmp_path: Path) -> None:
    path = written(repacked(sound, lambda records: {**records, name: b"x"}), tmp_path)
    assert "outside its folder" in refused(path)


def test_an_archive_of_voices_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "voice.pth", "w") as archive:
        archive.writestr("my voice/voice.pth", b"x")
        archive.writestr("my voice/added_IVF256_Flat.index", b"x")
    assert "unpack it" in refused(tmp_path / "voice.pth")


def test_archives_of_something_else_are_refused(sound: bytes, tmp_path: Path) -> None:
    def many(records: dict[str, bytes]) -> dict[str, bytes]:
        return records | {f"voice/extra/{at}": b"" for at in range(RECORDS)}

    changes: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
        "no checkpoint": lambda records: {"a.txt": b"x"},
        "TorchScript": lambda records: records | {"voice/constants.pkl": b"\x80\x02]."},
        "too many records": many,
        "far too long": lambda records: records | {"voice/data.pkl": bytes(5_000_000)},
        "damaged": lambda records: records | {"voice/data.pkl": b"\x80\x02\xff"},
    }
    for reason, change in changes.items():
        assert reason in refused(written(repacked(sound, change), tmp_path))
    assert "no checkpoint" in refused(written(repacked(sound, lambda records: {}), tmp_path))


def test_records_that_are_not_there_are_noticed(sound: bytes, tmp_path: Path) -> None:
    for missing in ("voice/data/3", "voice/version"):
        data = repacked(sound, lambda records, gone=missing: {k: v for k, v in records.items() if k != gone})  # type: ignore[misc]
        refused(written(data, tmp_path))


def test_a_flipped_bit_is_noticed(sound: bytes, tmp_path: Path) -> None:
    chance = random.Random(0)
    data = bytearray(sound)
    at = sound.index(b"voice/data/7") + 200
    data[at] ^= 1 << chance.randrange(8)
    assert "damaged" in refused(written(bytes(data), tmp_path))


def test_half_a_file_is_refused_wherever_it_ends(sound: bytes, tmp_path: Path) -> None:
    ends = [0, 1, 3, 4, 30, 64, 1000, *range(5000, len(sound), len(sound) // 40), *range(len(sound) - 60, len(sound))]
    for end in ends:
        assert re.search(r"cut short|not one that torch.save wrote|damaged", refused(written(sound[:end], tmp_path)))


def test_random_bytes_are_refused(sound: bytes, tmp_path: Path) -> None:
    chance = random.Random(0)
    for size in (1, 100, 10_000, 1_000_000):
        refused(written(chance.randbytes(size), tmp_path))
        refused(written(b"PK\x03\x04" + chance.randbytes(size), tmp_path))


def test_a_damaged_file_is_refused_or_is_a_voice(sound: bytes, tmp_path: Path) -> None:
    """Bytes changed anywhere: the reader raises its own error or takes a voice that is whole, nothing else."""
    chance = random.Random(1)
    refusals = 0
    for _ in range(60):
        data = bytearray(sound)
        for _ in range(chance.choice([1, 3, 30])):
            data[chance.choice([chance.randrange(len(data)), chance.randrange(30_000)])] = chance.randrange(256)
        try:
            voice = read_upload(written(bytes(data), tmp_path))
        except InvalidRequest:
            refusals += 1
        else:
            assert all(tensor.isfinite().all() for tensor in voice.weights.values())
    assert refusals > 50


def test_checksums_are_torch_s_own(sound: bytes) -> None:
    """What the reader relies on: files of torch.save have right ones."""
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        assert all(zlib.crc32(archive.read(info)) == info.CRC for info in archive.infolist())
