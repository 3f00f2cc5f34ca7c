"""Sentences of a text, for all languages the engines speak, by punctuation alone."""
# ruff: noqa: RUF001  the punctuation of seventeen languages has look-alikes

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_SPACED = ".!?…‼⁇⁈⁉"  # end a sentence when a blank follows
_TIGHT = "。！？．｡؟؛।॥۔"  # end a sentence in any case
_CLOSERS = "\"'”’»›)\\]}」』）】》〉"
_END = re.compile(
    rf"(?<![{_SPACED}])(?P<spaced>[{_SPACED}]+)(?P<closers>[{_CLOSERS}]*(?:[ \u00a0\u202f]»(?=\s|$))?)(?=\s|$)"
    rf"|[{_TIGHT}]+[{_SPACED}{_CLOSERS}]*"
    r"|\n+"
)
_CLAUSE = re.compile(rf"[{_SPACED},;:–—-][{_CLOSERS}]*(?=\s)|[{_TIGHT}、，；：،]+[{_CLOSERS}]*")
_NOT_BLANK = re.compile(r"\S")
_LAST_WORD = re.compile(r"\S*$")
_WORD_CHARS = 24

_ABBREVIATION = re.compile(
    r"(?:[^\W\d_]\.)*[^\W\d_]"  # e.g, J, U.S
    r"|\d{1,2}"  # 3. May
    # Titles and words that what they announce always follows.
    r"|mr|mrs|ms|dr|prof|st|sr|sra|jr|rev|gen|col|vs|fig|no|vol|approx|dept|inc|ltd|co|corp"
    r"|nr|hr|fr|bzw|ca|ggf|evtl|vgl|abb|str|tel|geb|bd|mme|mlle|mgr|art"
    r"|ud|uds|srta|dña|pág|núm|sig|dott|avv|ing|pag|dra|exmo|exma|av"
    r"|np|ul|tzw|ks|godz|inż|dhr|mevr|drs|bijv|mej|např|tj|tzv|mudr|judr"
    r"|örn|bkz|doç|tic|ifj|özv|ún|ул|им|др|проф|см|стр|рис",
    re.IGNORECASE,
)


def split_text(text: str, max_chars: int) -> list[str]:
    """The sentences of ``text``, stripped, none longer than ``max_chars`` (at least 1) characters.

    A sentence ends at a newline or at its script's punctuation, together with closing quotes; "3.14", "e.g.", "Dr. No"
    and "J. Smith" do not end one. A longer sentence is cut behind clause punctuation, else at a blank, else anywhere.
    No character but whitespace is lost; the time is linear in the length of ``text``.
    """
    return [piece for sentence in _sentences(text) for piece in _cut(sentence, max_chars)]


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for match in _END.finditer(text):
        if match["spaced"] is None or _ends_sentence(text, match):
            yield text[start : match.end()].strip()
            start = match.end()
    yield text[start:].strip()


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    follower = _NOT_BLANK.search(text, match.end())
    if follower is None:
        return True
    goes_on = follower[0].islower()
    if match["spaced"] in {"!", "?"}:
        # “Really?” he asked goes on; so does « Vraiment ! » dit-il.
        return not (goes_on and match["closers"])
    if match["spaced"] != ".":
        return not goes_on
    return not goes_on and bool(match["closers"] or not _abbreviates(text, match.start()))


def _abbreviates(text: str, stop: int) -> bool:
    """Whether the full stop at ``stop`` abbreviates the word before it."""
    word = "".join(_LAST_WORD.findall(text[max(0, stop - _WORD_CHARS) : stop]))
    return _ABBREVIATION.fullmatch(word.lstrip("([{\"'“‘«„")) is not None


def _cut(sentence: str, max_chars: int) -> Iterator[str]:
    start, length = 0, len(sentence)
    while length - start > max_chars:
        end = start + _cut_length(sentence[start : start + max_chars + 1], max_chars)
        yield sentence[start:end].rstrip()
        start = end
        while start < length and sentence[start].isspace():
            start += 1
    if start < length:
        yield sentence[start:]


def _cut_length(window: str, max_chars: int) -> int:
    """Where to cut ``window``, one character longer than a piece may be: 1..``max_chars``."""
    half = max_chars // 2
    clauses = [match.end() for match in _CLAUSE.finditer(window, half) if match.end() <= max_chars]
    if clauses:
        return clauses[-1]
    blank = max((index for index, character in enumerate(window) if character.isspace()), default=0)
    if blank:
        return blank
    cut = max_chars
    while cut > half + 1 and _joins(window[cut]):
        cut -= 1
    return cut


def _joins(character: str) -> bool:
    """Whether ``character`` belongs to the one before it: a mark, a variation selector or a joiner."""
    return unicodedata.category(character) in {"Mn", "Mc", "Me", "Cf"}
