"""What a user brought: recordings with what is said in them, whatever the format."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import InvalidRequest
from serving.store.dataset_files import RAW
from training.dataset.metadata import Split
from training.dataset.plain import read_text
from training.dataset.subtitles import Cue, read_cues
from training.dataset.tables import TABLES, Row, read_rows

_NAMES = "wav mp3 flac ogg oga opus m4a aac mp4 webm mka mkv mov aif aiff au caf w64 amr".split()  # noqa: SIM905
AUDIO = frozenset(f".{name}" for name in _NAMES)
SUBTITLES = (".srt", ".vtt")
TRANSCRIPTS = (".txt", ".lab")
FOLDERS = ("", "wavs", "audio", "clips")
"""Where a table's files may lie, beside the table."""

LOOKED_FOR = (
    "metadata.csv as LJSpeech has it (id|text or id|text|normalised), "
    "a CSV file whose first line names its columns (audio_file|text|speaker_name, or file,text), "
    "a JSONL file with audio and text, and files named like a recording that end in .srt, .vtt or .txt"
)


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is said in a recording, or between ``start`` and ``end`` (seconds) of it; None says nothing of its own."""

    text: str
    speaker: str | None = None
    language: str | None = None
    split: Split | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of audio. ``name`` is its path below raw/, ``path`` None where a table names a file that is not there.

    Without ``utterances`` nothing says what is spoken in it. ``repeats`` counts further rows that named it.
    """

    name: str
    path: Path | None
    utterances: tuple[Utterance, ...] = ()
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """All of them, sorted by name. ``formats`` counts recordings by where their text came from."""

    recordings: tuple[Recording, ...]
    formats: dict[str, int] = field(default_factory=dict)


def find_sources(raw: Path, *, transcribe: bool) -> Sources:
    """The recordings below ``raw`` and their texts.

    Raises InvalidRequest when there is no audio, when a file of texts is broken (naming its line), and, unless they
    are to be transcribed, when there is no text at all.
    """
    files = _files(raw)
    audio = {path for path in files if path.suffix.lower() in AUDIO}
    if not audio:
        raise InvalidRequest(f"{RAW}/ has no audio; put wav, mp3, flac, ogg, opus or m4a files there", "raw")
    words = _Names(raw, (path for path in files if path.suffix.lower() in (*SUBTITLES, *TRANSCRIPTS)))
    rows = _rows(raw, files, audio, words)
    formats: Counter[str] = Counter()
    recordings = [_recording(raw, path, rows, words, formats) for path in sorted(audio)]
    recordings += _missing({one.name for one in recordings}, rows, formats)
    if not formats and not transcribe:
        raise InvalidRequest(
            f"{RAW}/ has recordings ({len(audio)}) and no transcripts; looked for {LOOKED_FOR}. Add one, or let "
            "the recordings be transcribed (transcribe)",
            "raw",
        )
    return Sources(tuple(sorted(recordings, key=lambda one: one.name)), dict(sorted(formats.items())))


def _files(raw: Path) -> list[Path]:
    """Every visible file below ``raw`` that really lies there: a link out of the dataset is no part of it."""
    if not raw.is_dir():
        raise InvalidRequest(f"there is no folder {raw}; put the recordings and their texts there", "raw")
    root, found = raw.resolve(), []
    for folder, folders, names in os.walk(raw):
        folders[:] = sorted(name for name in folders if name[0] != "." and name != "__MACOSX")
        paths = (Path(folder) / name for name in sorted(names) if name[0] != ".")
        found += [path for path in paths if path.is_file() and path.resolve().is_relative_to(root)]
    for path in found:
        _require_utf8(path.relative_to(raw).as_posix())
    return found


def _require_utf8(name: str) -> None:
    """Other names, from an old zip for instance, could not be written to the report."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode(errors="backslashreplace")
        raise InvalidRequest(f"{RAW}/{shown} has a name that is not UTF-8; rename it", "raw") from None


class _Names:
    """Files by their names below ``raw``, whatever the case of the ending and Unicode's form (a Mac decomposes)."""

    def __init__(self, raw: Path, paths: Iterable[Path]) -> None:
        self._exact = {path.relative_to(raw).as_posix(): path for path in paths}
        self._alike = {_plain(name): path for name, path in self._exact.items()}

    def find(self, name: str) -> Path | None:
        return self._exact.get(name) or self._alike.get(_plain(name))


def _plain(name: str) -> str:
    stem, ending = posixpath.splitext(name)
    return unicodedata.normalize("NFC", stem + ending.lower())


@dataclass(frozen=True, slots=True)
class _Named:
    """A row of a table in ``format``."""

    format: str
    row: Row


def _rows(raw: Path, files: Sequence[Path], audio: set[Path], words: _Names) -> dict[str, list[_Named]]:
    """By the name of the recording that they mean; that of one which is not there is beside the table."""
    named: dict[str, list[_Named]] = {}
    names = _Names(raw, audio)
    transcripts = {_beside(raw, path, suffix, words) for path in audio for suffix in TRANSCRIPTS}
    for path in files:
        table = None if path.suffix.lower() not in TABLES or path in transcripts else read_rows(path)
        folder = path.parent.relative_to(raw)
        for row in table.rows if table else ():
            found = _find(folder.as_posix(), row.file, names)
            name = found.relative_to(raw) if found else folder / row.file
            named.setdefault(name.as_posix(), []).append(_Named(table.format if table else "", row))
    return named


def _find(folder: str, file: str, names: _Names) -> Path | None:
    """The recording a table in ``folder`` means by ``file``: with or without folder and ending, or another machine's.

    Only names that were found below raw/ are looked at, so that no name leads out of it, and only beside the table:
    one of another folder may be another speaker's.
    """
    file = file.replace("\\", "/").strip().strip("/")
    for name in (file, file.rpartition("/")[2]) if file else ():
        for place in FOLDERS:
            candidate = posixpath.normpath(posixpath.join(folder, place, name))
            for ending in ("", *sorted(AUDIO)):
                if (found := names.find(candidate + ending)) is not None:
                    return found
    return None


def _recording(raw: Path, path: Path, rows: dict[str, list[_Named]], words: _Names, formats: Counter[str]) -> Recording:
    """Subtitles know the times, so they go before a table, and a table before a text file."""
    name = path.relative_to(raw).as_posix()
    named = rows.get(name, [])
    for suffix in SUBTITLES:
        if (beside := _beside(raw, path, suffix, words)) is not None:
            formats[suffix[1:]] += 1
            cues = read_cues(beside)
            first = named[0].row if named else Row(name, "")
            return Recording(name, path, tuple(_spoken(cue, first) for cue in cues))
    if named:
        formats[named[0].format] += 1
        return Recording(name, path, (_said(named[0].row),), len(named) - 1)
    for suffix in TRANSCRIPTS:
        if (beside := _beside(raw, path, suffix, words)) is not None:
            formats["text"] += 1
            return Recording(name, path, (Utterance(read_text(beside)),))
    return Recording(name, path)


def _beside(raw: Path, path: Path, suffix: str, words: _Names) -> Path | None:
    """``a.srt`` or ``a.wav.srt`` for ``a.wav``."""
    name = path.relative_to(raw).as_posix()
    return words.find(name.removesuffix(path.suffix) + suffix) or words.find(name + suffix)


def _missing(there: set[str], rows: dict[str, list[_Named]], formats: Counter[str]) -> list[Recording]:
    """The rows whose files are not ``there``."""
    missing = []
    for name, named in rows.items():
        if name not in there:
            formats[named[0].format] += 1
            missing.append(Recording(name, None, (_said(named[0].row),), len(named) - 1))
    return missing


def _said(row: Row) -> Utterance:
    return Utterance(row.text, row.speaker, row.language, row.split)


def _spoken(cue: Cue, row: Row) -> Utterance:
    return Utterance(cue.text, row.speaker, row.language, row.split, cue.start, cue.end)
