"""What numbers and signs are left: ranges, years, negative and counted numbers."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.counting import counting
from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import NEGATIVE

_JOINED = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_DIMENSIONS = re.compile(r"(?<=\d)[ ]?[x×][ ]?(?=\d)")  # noqa: RUF001
_TIMES = re.compile(r"(?<![\w.,])(\d{1,4})[xX](?![\w×]|[ ]?\d)")  # noqa: RUF001
_SLASH = re.compile(r"(?<=\d)[ ]?/[ ]?(?=\d)")
_RANGE = re.compile(
    r"(?<![\w.,/-])(?P<first>\d{1,15}(?:[.,]\d{1,15})?)(?:-|[ ]?\u2013[ ]?)(?P<last>\d{1,15}(?:[.,]\d{1,15})?)"
    r"(?![\w/-]|[.,]\d)"
)


def plain(language: Language) -> Callable[[str], str]:
    number = re.compile(rf"(?P<minus>{NEGATIVE})(?P<number>{language.number})")
    read = counting(language)
    year = _years(language)
    other = "." if language.comma else ","
    foreign = re.compile(rf"(?<![\d.,])(\d{{1,15}})\{other}(\d{{1,15}})(?![\d]|[.,]\d)")

    def counted(match: re.Match[str]) -> str:
        return language.negative(match["minus"]) + read(match)

    def decimal(match: re.Match[str]) -> str:
        """ "3.14" in Portuguese, or "12,5" in English: what is no group of thousands can only be decimals."""
        point = language.dot if language.comma else language.point
        if len(match[2]) == 3 and len(match[1]) <= 3:
            return match[0]
        return f"{language.words(int(match[1]))} {point} {language.read_decimals(match[2])}"

    def repeated(match: re.Match[str]) -> str:
        return f"{match[1]} {language.times[match[1] != '1']}"

    signs = _signs(language)

    def apply(text: str) -> str:
        if re.search(r"\d", text):
            text = _TIMES.sub(repeated, text)
            text = _SLASH.sub(f" {language.slash} ", text)
            text = _RANGE.sub(rf"\g<first> {language.to} \g<last>", text)
            text = _DIMENSIONS.sub(f" {language.signs['×']} ", text)  # noqa: RUF001
            text = number.sub(counted, year(foreign.sub(decimal, _JOINED.sub(" ", text))))
        return signs(text)

    return apply


def _years(language: Language) -> Callable[[str], str]:
    if language.year is None:
        return lambda text: text
    # German nouns have a capital: "1500 Menschen" are counted, and "Zimmer 1408" is none of both.
    modern = re.compile(
        r"(?<![\w.,$€£-])(?:19|20)\d\d(?![\w%]|[.,]\d)"
        if language.code == "en"
        else r"(?<![\w.,$€£-])(?<!Nummer )(?<!Zimmer )(?<!Seite )(?<!Code )(?<!PIN )1[1-9]\d\d"
        r"(?![\w%]|[.,]\d|[ ][A-ZÄÖÜ])"
    )
    led = re.compile(rf"\b(?P<before>{language.year_before})[ ](?P<year>1\d{{3}})(?![\w%]|[.,]\d)", re.IGNORECASE)

    def apply(text: str) -> str:
        text = modern.sub(lambda match: language.year_words(match[0]), text)
        return led.sub(lambda match: f"{match['before']} {language.year_words(match['year'])}", text)

    return apply


def _signs(language: Language) -> Callable[[str], str]:
    table = {
        **language.signs,
        "%": language.percent,
        "€": _many(language, "EUR"),
        "£": _many(language, "GBP"),
        "$": _many(language, "USD"),
    }
    names = "|".join(re.escape(sign) for sign in sorted(table, key=len, reverse=True))
    pattern = re.compile(rf"[ ]?({names})(?=(.?))")

    def said(match: re.Match[str]) -> str:
        gap = "" if not match[2] or match[2].isspace() or match[2] in ".,;:!?)" else " "
        blank = " " if match.start() and match.string[match.start() - 1] not in "\n (" else ""
        return f"{blank}{table[match[1]]}{gap}"

    return lambda text: pattern.sub(said, text)


def _many(language: Language, code: str) -> str:
    return language.currencies[code].many
