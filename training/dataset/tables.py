"""Lists of recordings and their texts: LJSpeech, coqui's CSV, other CSV, JSONL. The content decides which it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from serving.errors import InvalidRequest
from training.dataset.metadata import Split
from training.dataset.plain import read_text

TABLES = frozenset({".csv", ".tsv", ".txt", ".jsonl", ".ndjson"})

FILE = ("audio_file", "audio_filepath", "audio", "file", "file_name", "filename", "path", "wav")
TEXT = ("text", "transcript", "transcription", "sentence")
SPEAKER = ("speaker_name", "speaker", "speaker_id")
LANGUAGE = ("language", "lang", "locale")
SPLIT = ("split", "subset")
SPLITS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "test"), "val"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line: ``file`` as it is written there."""

    file: str
    text: str
    speaker: str | None = None
    language: str | None = None
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """``format`` is ljspeech, coqui, csv or jsonl."""

    format: str
    rows: tuple[Row, ...]


def read_rows(path: Path) -> Table | None:
    """The rows of the file at ``path``; None where it is something else, a readme for instance.

    Raises InvalidRequest naming the line for a file that starts as a list of recordings and goes on otherwise.
    """
    text = read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.lstrip().startswith("{"):
        return Table("jsonl", tuple(_json_rows(path, text)))
    if "|" in first:
        return _piped(path, text, first)
    return _delimited(path, text, first)


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in _lines(text):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise _bad(path, number, f"is not JSON ({error})") from None
        if not isinstance(value, dict):
            raise _bad(path, number, "is not a JSON object")
        fields = {key.lower(): str(item) for key, item in value.items() if isinstance(item, str | int | float)}
        yield _row(path, number, fields)


def _piped(path: Path, text: str, first: str) -> Table | None:
    """Nothing is quoted in these files; quotation marks belong to the text."""
    header = [name.strip().lower() for name in first.split("|")]
    if header[0] in FILE and set(header) & set(TEXT):
        lines = list(_lines(text))[1:]
        rows = [_row(path, number, _fields(path, number, header, line.split("|"))) for number, line in lines]
        return Table("coqui", tuple(rows))
    if path.suffix.lower() == ".txt" and any(line.count("|") not in (1, 2) for _, line in _lines(text)):
        return None  # words about the recordings
    return Table("ljspeech", tuple(_ljspeech_row(path, number, line) for number, line in _lines(text)))


def _ljspeech_row(path: Path, number: int, line: str) -> Row:
    """``id|text`` or ``id|text|normalised``, of which the last counts, as in coqui's reader."""
    fields = line.split("|")
    if len(fields) not in (2, 3) or not fields[0].strip():
        raise _bad(path, number, f"has {len(fields)} fields; expected id|text or id|text|normalised")
    return Row(fields[0].strip(), fields[-1] or fields[1])


def _delimited(path: Path, text: str, first: str) -> Table | None:
    delimiter = max(",;\t", key=first.count)
    lines = [(number, line) for number, line in _csv_lines(path, text, delimiter) if any(line)]
    if not lines or len(lines[0][1]) < 2:
        return None
    header = [name.strip().lower() for name in lines[0][1]]
    named = bool(set(header) & set(FILE) and set(header) & set(TEXT))
    if not named and (
        len(header) != 2 or not PurePosixPath(header[0]).suffix or any(len(one) != 2 for _, one in lines)
    ):
        return None
    for number, line in lines:
        if any("\n" in field or "\r" in field for field in line):
            raise _bad(path, number, 'has a field that goes on in the next line; close its quotation mark or write ""')
    if named:
        rows = [_row(path, number, _fields(path, number, header, line)) for number, line in lines[1:]]
    else:
        rows = [Row(line[0], line[1]) for _, line in lines]
    return Table("csv", tuple(rows))


def _csv_lines(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their first line. Between tabs nothing is quoted, as in Common Voice's files."""
    lines = io.StringIO(text)
    if delimiter == "\t":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    number = 1
    try:
        for line in reader:
            yield number, line
            number = reader.line_num + 1
    except csv.Error as error:
        raise _bad(path, number, f"is not CSV ({error})") from None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered, without empty ones; only line feeds end a line, since texts may hold Unicode's other separators."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r")


def _fields(path: Path, number: int, header: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    if len(values) != len(header):
        raise _bad(path, number, f"has {len(values)} fields; the first line names {len(header)}")
    return dict(zip(header, values, strict=True))


def _row(path: Path, number: int, fields: Mapping[str, str]) -> Row:
    def first(names: Sequence[str]) -> str | None:
        return next((value for name in names if (value := fields.get(name, "").strip())), None)

    file, split = first(FILE), first(SPLIT)
    if file is None:
        raise _bad(path, number, f"names no file; expected one of {', '.join(FILE)}")
    if split is not None and split.lower() not in SPLITS:
        raise _bad(path, number, f"has the split {split!r}; expected train or val")
    assigned = SPLITS[split.lower()] if split else None
    return Row(file, first(TEXT) or "", first(SPEAKER), first(LANGUAGE), assigned)


def _bad(path: Path, number: int, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{path}: line {number} {reason}", "raw")
