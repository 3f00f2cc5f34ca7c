"""Text that arrives in pieces, as from a language model, cut into what is worth speaking by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

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
        head = self._text[: self._most]
        full = len(self._text) > self._most
        for end in _ends(head, anywhere=due or full, full=full):
            if _speakable(head[:end]):
                self._text = self._text[end:]
                self._given += 1
                return head[:end].strip()
        if not full:
            return ""
        self._text = self._text[self._most :]  # nothing that could be spoken
        return self._next(trigger=trigger)

    def _within(self, text: str) -> list[str]:
        text = text.strip()
        return [text] if len(text) <= self._most else split_text(text, self._most)


def _ends(text: str, *, anywhere: bool, full: bool) -> Iterator[int]:
    """Where a piece may end, best first; ``full``: ``text`` goes on, and is as long as a piece can be."""
    yield _sentences_end(text)
    if anywhere:
        yield _last(_CLAUSE_END, text)
        yield _last(_BLANK, text)
    if full:
        yield len(text)


def _sentences_end(text: str) -> int:
    """Where the last whole sentence ends; one that is not followed by a blank may still go on."""
    *whole, rest = split_text(text, len(text)) or [""]
    if not rest:
        return 0
    complete = text[-1:].isspace() and len(split_text(f"{text}X", len(text) + 1)) > len(whole) + 1
    return len(text) if complete else text.rindex(rest) if whole else 0


def _last(pattern: re.Pattern[str], text: str) -> int:
    """The end of the last match; 0 if there is none."""
    return max((match.end() for match in pattern.finditer(text)), default=0)


def _speakable(text: str) -> bool:
    return any(character.isalnum() for character in text)
