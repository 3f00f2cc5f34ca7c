"""Pronunciation dictionaries: words and phrases, and what is said in their place."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

logger = logging.getLogger(__name__)

MOST_OF_VOICE, MOST_OF_REQUEST = 1000, 100
"""Entries of a voice's dictionary, and of one request's."""

LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*")
"""A language, with or without a region."""

COMPILED = 256
"""Dictionaries that a process keeps compiled."""


class Pronunciation(BaseModel):
    """``word`` is said as ``spoken``: plain text, since no engine here takes phonemes.

    ``language`` limits it to texts of that language; a region ("pt-BR") limits it to that region.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    word: Annotated[str, Field(min_length=1, max_length=100, description="A word or phrase, as texts write it")]
    spoken: Annotated[str, Field(min_length=1, max_length=200, description="What is said in its place, as plain text")]
    language: Annotated[str, Field(min_length=2, max_length=16)] | None = Field(
        None, description="Only in texts of this language; default: in all"
    )
    case_sensitive: bool = Field(False, description="Only where letters have the same case")

    @field_validator("language")
    @classmethod
    def _is_a_code(cls, language: str | None) -> str | None:
        """Whether the model speaks it is not asked: dictionaries outlive models."""
        if language is not None and not LANGUAGE.fullmatch(language):
            raise ValueError("it is no code of a language; write pt, or pt-BR for a region")
        return language

    @field_validator("word", "spoken")
    @classmethod
    def _has_something_to_say(cls, text: str) -> str:
        if not any(map(str.isalnum, text)):
            raise ValueError("it has no letters or digits")
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
            raise ValueError("it has control characters or half of a surrogate pair")
        return unicodedata.normalize("NFC", " ".join(text.split()))


Pronunciations = tuple[Pronunciation, ...]
FILE = TypeAdapter(Annotated[Pronunciations, Field(max_length=MOST_OF_VOICE)])
"""The JSON of a dictionary's file."""


def pronounce(text: str, language: str, entries: Pronunciations, file: Path | None = None) -> str:
    """``text`` with what ``entries`` and the dictionary in ``file`` say, of which the former win.

    Whole words only, the longest first, and nothing that was replaced is replaced again; the rest stays as it is.
    """
    voice = () if file is None else read_file(file)
    if not entries and not voice:
        return text
    dictionary = _compiled(entries, voice, language.lower().replace("_", "-"))
    return dictionary.apply(text) if dictionary.pattern else text


class Dictionary:
    """Entries compiled into one pattern."""

    def __init__(self, entries: Sequence[Pronunciation]) -> None:
        """Of two entries with one word the first counts; of equal spelling, the one that heeds case goes before."""
        self._exact = {each.word: each.spoken for each in reversed(entries) if each.case_sensitive}
        self._folded = {_fold(each.word): each.spoken for each in reversed(entries) if not each.case_sensitive}
        forms = {(_form(each.word, exact=each.case_sensitive), len(each.word)) for each in entries}
        # Longest first, exact ones before others of their length: where several begin at one place, the first counts.
        self.pattern = _pattern([form for form, _ in sorted(forms, key=_order)]) if forms else None

    def apply(self, text: str) -> str:
        assert self.pattern is not None
        composed = unicodedata.normalize("NFC", text)
        spoken = self.pattern.sub(self._spoken, composed)
        return text if spoken == composed else spoken

    def _spoken(self, match: re.Match[str]) -> str:
        written = re.sub(r"\s+", " ", match[0])
        return self._exact.get(written) or self._folded.get(_fold(written)) or match[0]


def _form(word: str, *, exact: bool) -> str:
    form = r"\s+".join(map(re.escape, word.split()))
    return f"(?-i:{form})" if exact else form


def _order(form: tuple[str, int]) -> tuple[int, bool, str]:
    pattern, length = form
    return -length, not pattern.startswith("(?-i:"), pattern


def _pattern(forms: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(forms)})(?![\w\u0300-\u036f])", re.IGNORECASE)


def _fold(word: str) -> str:
    """Casefolded as ``re.IGNORECASE`` compares: "İ" and "ß" stay themselves."""
    return unicodedata.normalize("NFC", word.lower())


@lru_cache(COMPILED)
def _compiled(entries: Pronunciations, voice: Pronunciations, language: str) -> Dictionary:
    base = language.partition("-")[0]
    fitting = [each for each in (*entries, *voice) if each.language is None or _fits(each.language, language, base)]
    return Dictionary(fitting)


def _fits(wanted: str, language: str, base: str) -> bool:
    """ "pt" fits "pt-PT", and "pt-BR" fits "pt", of which nobody said where."""
    wanted = wanted.lower().replace("_", "-")
    return wanted in {language, base} or (language == base and wanted.partition("-")[0] == base)


def read_file(file: Path) -> Pronunciations:
    """A voice's dictionary; none where it has none or it cannot be read, which the log says: speech goes on."""
    try:
        stat = file.stat()
    except OSError:
        return ()
    return _read(file, stat.st_mtime_ns, stat.st_ino)


@lru_cache(COMPILED)
def _read(file: Path, changed_ns: int, inode: int) -> Pronunciations:
    try:
        return FILE.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        logger.warning("cannot use %s, nothing of it is said: %s", file, error)
        return ()
