"""Decades and numbers in the plural: "the mid-1990s", "two 747s", and in German "die 1990er Jahre"."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language

# Behind a hyphen they follow a word ("mid-", "1960s-") or a number too long to begin a span of seconds ("1960-").
_BEGINS = r"(?:(?<![\w.,:/\u2013-])|(?<=[^\W\d_][-\u2013])|(?<=\d\d\d[-\u2013]))"
_DECADE = re.compile(rf"{_BEGINS}['’]?(?P<number>(?:1\d|20)?\d0)s\b")  # noqa: RUF001
_PLURAL = re.compile(rf"{_BEGINS}(?P<number>\d{{1,6}})s\b")
_GERMAN = re.compile(rf"{_BEGINS}['’]?(?P<number>(?:1\d|20)?\d0)er(?P<dative>n?)\b")  # noqa: RUF001

_LASTS = re.compile(
    r"\b(?:takes?|took|taking|waits?|waited|sleeps?|timeout|delay|pause|every|within|lasts?|lasted)[ ]"
    r"(?:(?:for|of|about|only|under|around)[ ])?$",
    re.IGNORECASE,
)
_MANY = re.compile(
    r"\b(?:the|these|those|two|three|four|five|six|ten|my|his|her|their|our|all|some|many|few|several|both|no)[ ]$",
    re.IGNORECASE,
)
_NAME = re.compile(r"\b(?!(?:In|For|After|About|Only|At|By|Under|Over|Some|And|Or)\b)\w{0,20}[A-Z]\w{0,20}[ ]$")
_REACH = 42


def decades(language: Language) -> Callable[[str], str]:
    """Only English and German write them so. What can be seconds as well ("5s", "15s") is left to the units."""
    if language.code == "de":
        return lambda text: _GERMAN.sub(lambda match: _german(language, match), text)
    if language.code != "en":
        return lambda text: text

    def decade(match: re.Match[str]) -> str:
        number = match["number"]
        return f"{number} s" if len(number) < 4 and _lasts(match) else _many(language.year_words(number))

    def plural(match: re.Match[str]) -> str:
        number, before = match["number"], match.string[max(0, match.start() - _REACH) : match.start()]
        if _lasts(match):
            return f"{number} s"
        if len(number) > 2 or before.endswith(("-", "\u2013")) or _MANY.search(before):
            return _many(language.words(int(number)))
        if not _NAME.search(before):
            return match[0]
        return f"{language.words(int(number))} s" if len(number) == 1 else _many(language.words(int(number)))

    return lambda text: _PLURAL.sub(plural, _DECADE.sub(decade, text))


def _lasts(match: re.Match[str]) -> bool:
    """ "wait 30s": what is in front says that they are seconds."""
    return _LASTS.search(match.string[max(0, match.start() - _REACH) : match.start()]) is not None


def _many(words: str) -> str:
    if words.endswith("y"):
        return f"{words[:-1]}ies"
    return f"{words}es" if words.endswith("x") else f"{words}s"


def _german(language: Language, match: re.Match[str]) -> str:
    number = match["number"]
    words = "null" if number == "00" else language.year_words(number)
    return f"{words}er{match['dative']}"
