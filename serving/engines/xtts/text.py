"""From a request's text to the pieces that XTTS speaks, each as a sequence of its own."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serving.engines.normalisation import normalise
from serving.engines.text import split_text
from serving.errors import InvalidRequest

logger = logging.getLogger(__name__)

EXTRAS = {"zh": "pypinyin", "ja": "cutlet"}
"""Packages that coqui's tokenizer imports for a language only when it meets it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence, or part of one, short enough for the model, and its text tokens."""

    text: str
    tokens: tuple[int, ...]


class TextFrontEnd:
    """Splits, checks and encodes text with coqui's ``VoiceBpeTokenizer``, from any thread."""

    def __init__(self, tokenizer: Any, languages: list[str], max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._lock = threading.Lock()  # the Japanese analyser is not thread-safe
        # A fine-tune may name others, for which the front end has no rules.
        languages = [language for language in languages if language.split("-")[0] in tokenizer.char_limits]
        self.languages = tuple(language for language in languages if not _missing_package(language))
        self._known = {language.split("-")[0] for language in languages}

    def language(self, code: str) -> str:
        """The language the tokenizer knows ``code`` ("en", "en-US", "zh-CN") by; raises InvalidRequest for others."""
        base = code.lower().replace("_", "-").split("-")[0]
        if base not in self._known:
            raise InvalidRequest(
                f"language {code!r} is not one this model speaks; take one of {', '.join(self.languages)}", "language"
            )
        package = _missing_package(base)
        if package:
            raise InvalidRequest(
                f"language {code!r} needs the Python package {package}, which this server does not have", "language"
            )
        return base

    def pieces(self, text: str, language: str) -> list[Piece]:
        """``text`` in pieces of at most the language's character limit and the model's token limit.

        Raises InvalidRequest naming ``input`` for text with nothing to speak or that the front end cannot read.
        """
        limit = self._tokenizer.char_limits[language]
        pieces = [
            piece
            for sentence in join_short(split_text(text, limit), limit)
            if any(character.isalnum() for character in sentence)
            for piece in self._fit(sentence, language)
        ]
        if not pieces:
            raise InvalidRequest("input has no words to speak; send text with letters or digits", "input")
        return pieces

    def _fit(self, text: str, language: str) -> Iterator[Piece]:
        """``text`` as one piece, or in halves where it has too many tokens: long numbers become many words."""
        tokens = self._encode(text, language)
        if len(tokens) < self._max_tokens:
            yield Piece(text, tokens)
        elif len(text) < 2:
            raise InvalidRequest(f"input has a word of {len(tokens)} tokens; write it shorter", "input")
        else:
            for half in split_text(text, (len(text) + 1) // 2):
                yield from self._fit(half, language)

    def _encode(self, text: str, language: str) -> tuple[int, ...]:
        try:
            with self._lock:
                return tuple(self._tokenizer.encode(text.strip().lower(), lang=language))
        except Exception as error:  # num2words and the analysers of single languages raise anything
            logger.info("the text front end failed for %s: %r", language, error)
            raise InvalidRequest(
                f"input has text that cannot be read out in language {language} ({type(error).__name__}); "
                "write its numbers and symbols as words",
                "input",
            ) from error


def read_out(text: str, language: str) -> str:
    """A transcript as training encodes it: as the engine speaks the same text when nobody says otherwise."""
    return normalise(text, language).strip().lower()


def join_short(sentences: list[str], limit: int) -> list[str]:
    """Join sentences of a word or two to the one before: alone, they make XTTS ramble."""
    short = limit // 12
    joined: list[str] = []
    for sentence in sentences:
        fits = joined and len(joined[-1]) + 1 + len(sentence) <= limit
        if fits and min(len(joined[-1]), len(sentence)) < short:
            joined[-1] = f"{joined[-1]} {sentence}"
        else:
            joined.append(sentence)
    return joined


def _missing_package(language: str) -> str | None:
    package = EXTRAS.get(language.partition("-")[0])
    return package if package and importlib.util.find_spec(package) is None else None
