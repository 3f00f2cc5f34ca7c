"""What a job is to speak: from rows of a CSV or JSONL file, from items of a body, or from one long text."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from serving.api.job_schemas import JobItemBody
from serving.engines.text import split_text
from serving.errors import InvalidRequest, NotFound, PayloadTooLarge, fault
from serving.store.job import NewItem
from serving.store.profile import is_storable

PASSAGE_CHARS = 800
"""Longest piece of a long text that is one item: what a killed worker has to speak again, about a minute of audio."""

COLUMNS = ("text", "voice", "language", "text_normalization")
OPTIONAL = "voice, language and text_normalization"

T = TypeVar("T")


def read_rows(path: Path, most: int) -> list[JobItemBody]:
    """The rows of a JSONL file (objects) or a CSV file (a header with ``text`` and what else rows have of COLUMNS).

    Raises InvalidRequest that names the row, PayloadTooLarge for more than ``most``.
    """
    rows: list[JobItemBody] = []
    text = _decoded(path)
    file = io.StringIO(text, newline="")
    for number, values in enumerate(_json_rows(file) if text.lstrip().startswith("{") else _csv_rows(file), 1):
        if len(rows) == most:
            raise too_many(most)
        rows.append(_row(number, values))
    if not rows:
        raise InvalidRequest("file: it has no rows; give CSV with a header line, or JSONL", "file")
    return rows


def long_text(path: Path) -> str:
    """The text of a file; raises InvalidRequest that says what is wrong with it."""
    text = _decoded(path)
    if not text.strip():
        raise InvalidRequest("file: it has only blanks", "file")
    if not is_storable(text):
        line = text.count("\n", 0, text.find("\0")) + 1
        raise InvalidRequest(f"file: line {line} has a NUL character; send plain text", "file")
    return text


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidRequest("file: it is not UTF-8 but UTF-16; save it as UTF-8", "file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Where the error is counts from behind a mark at the beginning; a mark has no line break.
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise InvalidRequest(f"file: line {line} is not UTF-8 (byte 0x{byte:02x}); save it as UTF-8", "file") from None


def too_many(most: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the job has more than the {most:,} items that this server takes; split it", "items")


def passages(text: str) -> list[NewItem]:
    """A long text in pieces of whole sentences, a sentence a line. Raises InvalidRequest if there is nothing to say."""
    _check_text(text, "text")
    packed: list[NewItem] = []
    sentences: list[str] = []
    length = 0
    for sentence in split_text(text, PASSAGE_CHARS):
        if not any(map(str.isalnum, sentence)):
            continue
        if sentences and length + len(sentence) > PASSAGE_CHARS:
            packed.append(NewItem("\n".join(sentences)))
            sentences, length = [], 0
        sentences.append(sentence)
        length += len(sentence) + 1
    if sentences:
        packed.append(NewItem("\n".join(sentences)))
    if not packed:
        raise InvalidRequest("text has nothing that can be spoken", "text")
    return packed


def new_items(
    rows: Sequence[JobItemBody], longest: int, check_voice: Callable[[str], None], language: Callable[[str], str]
) -> list[NewItem]:
    """``rows`` as items; ``check_voice`` and ``language`` raise for what is not there, once for each that is new.

    Raises InvalidRequest, NotFound and PayloadTooLarge that name the item.
    """
    languages: dict[str, str] = {}
    voices: set[str] = set()
    items = []
    for number, row in enumerate(rows, 1):
        where = f"items.{number}"
        _check_text(row.text, f"{where}.text")
        if len(row.text) > longest:
            raise PayloadTooLarge(
                f"{where}.text has {len(row.text):,} characters; this server takes at most {longest:,}", f"{where}.text"
            )
        if row.voice is not None and row.voice not in voices:
            _named(where, check_voice, row.voice)
            voices.add(row.voice)
        if row.language is not None and row.language not in languages:
            languages[row.language] = _named(where, language, row.language)
        items.append(NewItem(row.text, row.voice, languages.get(row.language or ""), row.text_normalization))
    return items


def numbered(place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place of an error in a body, with items by their numbers, which begin at 1."""
    if place[:1] == ("items",) and len(place) > 1 and isinstance(place[1], int):
        return "items", place[1] + 1, *place[2:]
    return place


def _named(where: str, check: Callable[[str], T], value: str) -> T:
    try:
        return check(value)
    except (InvalidRequest, NotFound) as error:
        raise type(error)(f"{where}: {error.message}", f"{where}.{error.param}", error.code) from None


def _check_text(text: str, field: str) -> None:
    if not text.strip():
        raise InvalidRequest(f"{field} has only blanks", field)
    if not is_storable(text):
        raise InvalidRequest(f"{field} has a NUL character or half of a surrogate pair; remove it", field)


def _row(number: int, values: dict[str, Any]) -> JobItemBody:
    try:
        return JobItemBody.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        column = ".".join(map(str, first["loc"]))[:100]
        raise InvalidRequest(f"file: row {number}, {column}: {fault(first)}", "file") from None


def _json_rows(file: Any) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"file: line {number} is not JSON: {error}", "file") from None
        if not isinstance(values, dict):
            raise InvalidRequest(f"file: line {number} is no JSON object", "file")
        yield values


def _csv_rows(file: Any) -> Iterator[dict[str, Any]]:
    try:
        rows = csv.DictReader(file, strict=True)
        columns = [(name or "").strip().lower() for name in rows.fieldnames or ()]
        if "text" not in columns or not set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
            raise InvalidRequest(
                f"file: the first line names the columns: text, and {OPTIONAL} if you like; it has "
                f"{', '.join(columns)[:100]!r}",
                "file",
            )
        rows.fieldnames = columns
        for row in rows:
            if None in row or None in row.values():
                raise InvalidRequest(f"file: line {rows.line_num} does not have {len(columns)} columns", "file")
            yield {name: value for name, value in row.items() if name == "text" or value}
    except csv.Error as error:
        raise InvalidRequest(f"file: it is no CSV: {error}", "file") from None
