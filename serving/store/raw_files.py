"""What users bring to a dataset: names that may become paths, and archives that may not do harm."""

from __future__ import annotations

import lzma
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from serving.errors import InvalidRequest, PayloadTooLarge
from serving.store.profile import is_storable

_AUDIO = "wav mp3 flac ogg oga opus m4a aac mp4 webm mka mkv mov aif aiff au caf w64 amr".split()  # noqa: SIM905
AUDIO = frozenset(f".{name}" for name in _AUDIO)
TEXTS = frozenset({".csv", ".tsv", ".txt", ".jsonl", ".srt", ".vtt", ".lab"})
ARCHIVE = ".zip"

MOST_FILES = 100_000
NAME_BYTES = 200
DEPTH = 8
BLOCK = 1024 * 1024

ENCRYPTED = 0x1

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What reading a zip raises where it is none."""


def raw_path(name: str, field: str = "files") -> PurePosixPath | None:
    """``name`` as a path below ``raw/``; None for what archivers add and nobody means.

    A table names recordings by their file names, so these are kept, unlike all other text of a client: each component
    must be visible and printable, lead nowhere, and end in what the preparation reads. Raises InvalidRequest.
    """
    name = unicodedata.normalize("NFC", name).replace("\\", "/")
    parts = name.split("/")
    if any(part == "__MACOSX" or part in (".DS_Store", "Thumbs.db", "desktop.ini") for part in parts):
        return None
    if len(parts) > DEPTH or not all(_is_plain(part) for part in parts):
        raise InvalidRequest(
            f"{field}: the name {name[:80]!r} cannot be used; take printable names of at most {NAME_BYTES} bytes that "
            "do not begin with a dot, in folders without . and ..",
            field,
        )
    path = PurePosixPath(*parts)
    if path.suffix.lower() not in AUDIO | TEXTS:
        raise InvalidRequest(
            f"{field}: {name[:80]!r} is neither a recording ({', '.join(sorted(AUDIO))}) nor a transcript "
            f"({', '.join(sorted(TEXTS))}); leave it out",
            field,
        )
    return path


def unpack(archive: Path, directory: Path, limit: int, field: str = "files") -> int:
    """Write the files of the zip ``archive`` below ``directory``, at most ``limit`` bytes; returns how many they are.

    Sizes are counted while they are written: what an archive says of itself is not believed. Raises InvalidRequest for
    names that lead elsewhere, links, encryption and damage, PayloadTooLarge beyond the limit.
    """
    written = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            for info, path in _members(opened.infolist(), field):
                target = directory / path
                place(target, field)
                with opened.open(info) as source, target.open("xb") as file:
                    written = _copy(source, file, written, limit, field)
    except DAMAGE as error:
        raise _unreadable(error, field) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unreadable(error, field) from None  # bzip2's way to say so
    return written


def _unreadable(error: Exception, field: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: the zip file cannot be read: {str(error)[:100] or 'it is damaged'}", field)


def place(target: Path, field: str = "files") -> None:
    """Make the folders above ``target``; raises InvalidRequest where another file is in the way."""
    if target.exists():
        raise InvalidRequest(f"{field}: there are two files named {target.name!r}; give each its own name", field)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidRequest(f"{field}: {target.parent.name!r} is a file and a folder; rename one", field) from None


def _members(infos: Iterable[zipfile.ZipInfo], field: str) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    count = 0
    for info in infos:
        if info.is_dir():
            continue
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise InvalidRequest(f"{field}: {info.filename[:80]!r} in the zip is a link; put the file itself in", field)
        if info.flag_bits & ENCRYPTED:
            raise InvalidRequest(f"{field}: the zip is encrypted; send it without a password", field)
        if (path := raw_path(info.filename, field)) is None:
            continue
        count += 1
        if count > MOST_FILES:
            raise PayloadTooLarge(f"{field}: the zip has more than {MOST_FILES:,} files; send it in parts", field)
        yield info, path


def _copy(source: IO[bytes], target: IO[bytes], written: int, limit: int, field: str) -> int:
    while block := source.read(BLOCK):
        written += len(block)
        if written > limit:
            raise PayloadTooLarge(
                f"{field}: unpacked, the zip is larger than the {limit:,} bytes this server takes", field
            )
        target.write(block)
    return written


def _is_plain(part: str) -> bool:
    return (
        0 < len(part.encode(errors="replace")) <= NAME_BYTES
        and part[0] != "."
        and part == part.strip()
        and part.isprintable()
        and is_storable(part)
    )
