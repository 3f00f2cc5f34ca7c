"""Archives that lie about what they hold, whatever they are compressed with."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest

from serving.errors import InvalidRequest
from serving.store.raw_files import unpack

CONTENT = random.Random(0).randbytes(3000)
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
NAMES = ("stored", "deflate", "bzip2", "lzma")


def archive(compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as opened:
        opened.writestr("a.wav", CONTENT)
    return file.getvalue()


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=NAMES)
def test_a_zip_is_unpacked_however_it_is_compressed(tmp_path: Path, compression: int) -> None:
    (tmp_path / "a.zip").write_bytes(archive(compression))
    assert unpack(tmp_path / "a.zip", tmp_path / "raw", 10_000) == len(CONTENT)
    assert (tmp_path / "raw" / "a.wav").read_bytes() == CONTENT


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=NAMES)
def test_damage_of_the_data_is_told_as_such(tmp_path: Path, compression: int) -> None:
    whole = archive(compression)
    for at in range(60, 2000, 40):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        (tmp_path / "a.zip").write_bytes(damaged)
        with pytest.raises(InvalidRequest, match="the zip file cannot be read"):
            unpack(tmp_path / "a.zip", tmp_path / f"raw-{at}", 10_000)
