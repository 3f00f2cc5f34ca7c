"""German days and other ordinal numbers, which a full stop makes: "am 24.12.", "der 3. Oktober", "der 2. Weltkrieg"."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.articles import DE_FEMININE, DE_NEUTER
from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import ordinal

_SHORT = re.compile(
    r"(?P<before>\b(?:am|vom|dem|zum|bis|seit|den|ab|der|und|zwischen|oder)[ ])?"
    r"(?<![\w.,/-])(?P<day>0?[1-9]|[12]\d|3[01])\.(?P<month>0?[1-9]|1[0-2])\.(?![\w.]|-\d)",
    re.IGNORECASE,
)
_SPAN = re.compile(r"(?<=\d\.)(?:[ ]?\u2013[ ]?|-)(?=\d{1,2}\.(?:\d{1,2}\.(?!\d)|[ ][A-ZÄÖÜ]))")
_SECTION = re.compile(
    r"\b(?:Kapitel|Abschnitt|Absatz|Abs\.|Artikel|Art\.|Nummer|Nr\.|Punkt|Ziffer|Tabelle|Abbildung|[Vv]ers\w*)[ ]$"
)
# "der 2. Weltkrieg", "3. und 4.", and "1. FC Köln" at the beginning: elsewhere the stop may end a sentence.
_COUNTED = re.compile(
    r"(?P<before>\b(?:(?:in|mit|von|aus|bei|seit|nach|an|auf|unter|zu)[ ]der|"
    r"der|die|das|dem|den|des|am|im|zum|vom|beim|zur|jede[nrs]?|ihr|sein|mein)[ ]|^)?"
    r"(?<![\w.,/-])(?P<day>\d{1,4})\.(?=[ ][^\W\d_])",
    re.IGNORECASE | re.MULTILINE,
)
_FEMININE = re.compile(rf"(?:{DE_FEMININE})\b")
_NEUTER = re.compile(rf"(?:{DE_NEUTER})\b")


def german_dates(language: Language, names: str) -> Callable[[str], str]:
    """``names`` is a pattern of the months' names."""
    days = _named(names)

    def without_year(match: re.Match[str]) -> str:
        """ "24.12.": a section's number has no such month, or no word like "am" in front."""
        before = match.string[max(0, match.start() - 24) : match.start()]
        if not match["before"] and (len(match["month"]) < 2 or _SECTION.search(before)):
            return match[0]
        date = language.date(int(match["day"]), int(match["month"]), None)
        stop = "." if match.end() == len(match.string) or match.string[match.end()] == "\n" else ""
        return match[0] if date is None else f"{match['before'] or ''}{date}{stop}"

    return lambda text: days(_SHORT.sub(without_year, _SPAN.sub(" bis ", text)))


def _named(names: str) -> Callable[[str], str]:
    """Days before the name of a month, in figures or already in words: "dritter", but "am dritten", "der dritte"."""
    figures = re.compile(
        rf"(?P<before>\b(?:am|vom|dem|zum|bis|seit|den|im|ab|der|das|die)[ ])?(?<![\w.,/-])(?P<day>\d{{1,2}})\.[ ]?"
        rf"(?=(?:{names})\b)",
        re.IGNORECASE,
    )
    words = re.compile(
        rf"(?P<before>\b(?:am|vom|dem|zum|bis|seit|den|ab|zwischen|der|das|die)[ ])(?P<day>\w+te)r(?=[ ](?:{names})\b)",
        re.IGNORECASE,
    )
    second = re.compile(
        rf"(?<=ten )(?P<before>(?:(?:{names})[ ])?(?:und|oder|bis)[ ])(?P<day>\w+te)r(?=[ ](?:{names})\b)",
        re.IGNORECASE,
    )

    def day(match: re.Match[str]) -> str:
        before = match["before"] or ""
        return f"{before}{ordinal(int(match['day']), 'de')}{_ending(before) if before else 'r'} "

    def weak(match: re.Match[str]) -> str:
        return f"{match['before']}{match['day']}{_ending(match['before'])}"

    def apply(text: str) -> str:
        text = _COUNTED.sub(_nth, words.sub(weak, figures.sub(day, text)))
        return second.sub(r"\g<before>\g<day>n", text)

    return apply


def _ending(before: str) -> str:
    return "" if before.strip().lower() in {"der", "das", "die"} else "n"


def _nth(match: re.Match[str]) -> str:
    before, follower = match["before"], match.string[match.end() + 1]
    if before is None and not follower.islower():
        return match[0]
    if before == "":
        noun = match.string[match.end() : match.end() + 40].strip()
        ending = "" if _FEMININE.match(noun) else "s" if _NEUTER.match(noun) else "r"
        return f"{ordinal(int(match['day']), 'de')}{ending}"
    word = (before or "").strip().lower()
    ending = "n" if " " in word or word in {"dem", "den", "des", "am", "im", "zum", "vom", "beim", "zur"} else ""
    return f"{before or ''}{ordinal(int(match['day']), 'de')}{ending}"
