"""``metadata.csv``: the clips of a dataset, as the preparation leaves them and as trainers take them.

One line a clip, fields parted by ``|`` under a header; ``audio_file``, ``text`` and ``speaker_name`` are the columns of
coqui's "coqui" format, so that its own recipes read the file too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.errors import InvalidRequest
from serving.files import write_atomic

METADATA = "metadata.csv"
CLIPS = "clips"
SAMPLE_RATE = 22050
"""Of the clips, Hz: mono, 16 bit."""

COLUMNS = ("audio_file", "text", "speaker_name", "language", "split", "seconds")

Split = Literal["train", "val"]


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip. ``id`` is its file's stem and unique in the dataset; ``path`` is absolute; ``seconds`` its length."""

    id: str
    path: Path
    text: str
    speaker: str
    language: str
    split: Split
    seconds: float


def write_metadata(dataset: Path, clips: Sequence[Clip]) -> None:
    """Write ``metadata.csv`` below ``dataset``, all of it or nothing; raises StorageError."""
    write_atomic(dataset / METADATA, metadata_bytes(dataset, clips))


def metadata_bytes(dataset: Path, clips: Sequence[Clip]) -> bytes:
    """The content of ``metadata.csv``; the clips lie below ``dataset``."""
    lines = ["|".join(COLUMNS)]
    for clip in clips:
        assert not set("|\r\n") & set(clip.text + clip.speaker), "the preparation leaves none"
        file = clip.path.relative_to(dataset).as_posix()
        lines.append("|".join((file, clip.text, clip.speaker, clip.language, clip.split, f"{clip.seconds:.3f}")))
    return "\n".join([*lines, ""]).encode()


def read_metadata(dataset: Path) -> list[Clip]:
    """The clips of ``dataset``, in the file's order.

    Raises InvalidRequest (``dataset``) that names the file and line when it is missing, broken or names a missing clip.
    """
    path = dataset / METADATA
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, str(error)) from error
    header, *rows = (line.split("|") for line in text.removesuffix("\n").split("\n"))
    if tuple(header) != COLUMNS:
        raise _unusable(path, f"its first line is not {'|'.join(COLUMNS)}")
    clips = [_clip(dataset, path, number, row) for number, row in enumerate(rows, 2)]
    if len({clip.id for clip in clips}) < len(clips):
        raise _unusable(path, "two clips have the same file name")
    return clips


def _clip(dataset: Path, path: Path, number: int, row: list[str]) -> Clip:
    if len(row) != len(COLUMNS):
        raise _unusable(path, f"line {number} has {len(row)} fields, expected {len(COLUMNS)}")
    file, text, speaker, language, split, seconds = row
    audio = dataset / file
    if not audio.resolve().is_relative_to(dataset.resolve()) or not audio.is_file():
        raise _unusable(path, f"line {number} names {file!r}, which is no file of the dataset")
    if split not in ("train", "val"):
        raise _unusable(path, f"line {number} has the split {split!r}, expected train or val")
    try:
        length = float(seconds)
    except ValueError:
        raise _unusable(path, f"line {number} has {seconds!r} seconds") from None
    return Clip(audio.stem, audio, text, speaker, language, "train" if split == "train" else "val", length)


def _unusable(path: Path, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{path} cannot be used: {reason}; prepare the dataset again", param="dataset")
