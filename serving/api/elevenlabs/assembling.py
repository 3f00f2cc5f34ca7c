"""Text that arrives in pieces, as from a language model, cut into what is worth speaking by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from serving.engines.text import split_text

SCHEDULE = (120, 160, 250, 290)
"""Characters that the first, second, ... piece waits for; the last holds for all further ones."""

_CLAUSE_END = re.compile(r"[,;:.!?…–—-]\s+|[。！？、，；：۔।]\s*|\n")  # noqa: RUF001 - look-alikes of other scripts
_BLANK = re.compile(r"\s+")


class TextBuffer:
    """Collects text and gives it back in pieces: at the schedule's lengths, on demand, and at the end.

    A piece ends where a sentence does if there is one, else behind a clause, else behind a word, and has something to
    speak; ``most`` is its greatest length in characters. With ``by_sentence`` every sentence is a piece at once.
    """

    def __init__(self, schedule: Sequence[int] = SCHEDULE, *, by_sentence: bool = False, most: int = 4096) -> None:
        assert schedule
        self._schedule, self._by_sentence, self._most = tuple(schedule), by_sentence, most
        self._text = ""
        self._given = 0

    def __len__(self) -> int:
        return len(self._text)

    def add(self, text: str, *, trigger: bool = False) -> list[str]:
        """The pieces that are ready after ``text``; ``trigger`` asks not to wait for the schedule's length."""
        self._text += text
        pieces = []
        while piece := self._next(trigger=trigger):
            pieces.append(piece)
        return pieces

    def flush(self) -> list[str]:
        """All that is left."""
        text, self._text = self._text, ""
        return [piece for piece in self._within(text) if _speakable(piece)]

    def _next(self, *, trigger: bool) -> str:
        wanted = self._schedule[min(self._given, len(self._schedule) - 1)]
        due = len(self._text.strip()) >= wanted
        if not (due or trigger or self._by_sentence):
            return ""
        end = self._sentences_end()
        if not end and due:
            end = _last(_CLAUSE_END, self._text) or _last(_BLANK, self._text)
        if not end and len(self._text) > self._most:
            end = self._most
        piece = self._text[: min(end, self._most)]
        if not _speakable(piece):
            return ""
        self._text = self._text[len(piece) :]
        self._given += 1
        return piece.strip()

    def _sentences_end(self) -> int:
        """Where the last whole sentence ends; one that is not followed by a blank may still go on."""
        *whole, rest = split_text(self._text, len(self._text)) or [""]
        if not rest:
            return 0
        complete = self._text[-1:].isspace() and len(split_text(f"{self._text}X", len(self._text) + 1)) > len(whole) + 1
        return len(self._text) if complete else self._text.rindex(rest) if whole else 0

    def _within(self, text: str) -> list[str]:
        text = text.strip()
        return [text] if len(text) <= self._most else split_text(text, self._most)


def _last(pattern: re.Pattern[str], text: str) -> int:
    """The end of the last match; 0 if there is none."""
    return max((match.end() for match in pattern.finditer(text)), default=0)


def _speakable(text: str) -> bool:
    return any(character.isalnum() for character in text)
