"""Dates in figures, and days before or after the name of a month."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.german_dates import german_dates
from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import ordinal

_ISO = re.compile(r"(?<![\w./-])(\d{4})-(\d{2})-(\d{2})(?:(T)(?=\d\d:)|\b(?![-/.]?\d))")
_FIGURES = re.compile(r"(?<![\w./-])(\d{1,2})º?([/.-])(\d{1,2})\2(\d{4}|\d{2})(?![\w/-]|\.\d)")
_SHORT = re.compile(r"(?<![\w./,-])(0?[1-9]|[12]\d|3[01])/(0[1-9]|1[0-2])(?![\w/,-]|\.\d)")
_YEAR = r"(?:(?P<comma>,)?[ ](?P<year>[12]\d{3})(?![\d.,]\d|\d))?"


def dates(language: Language) -> Callable[[str], str]:
    names = "|".join(sorted(map(re.escape, language.month_numbers), key=len, reverse=True))
    named = _named(language, names)

    def iso(match: re.Match[str]) -> str:
        said = language.date(int(match[3]), int(match[2]), match[1])
        return match[0] if said is None else f"{said}{' ' if match[4] else ''}"

    def figures(match: re.Match[str]) -> str:
        first, second = int(match[1]), int(match[3])
        day, month = (second, first) if language.month_first and match[2] == "/" else (first, second)
        if match[2] == "-" and len(match[4]) == 2:
            return match[0]
        return language.date(day, month, match[4]) or language.date(month, day, match[4]) or match[0]

    def short(match: re.Match[str]) -> str:
        if 0 < int(match[1]) < int(match[2]) <= 10 and "0" not in {match[1][0], match[2][0]}:
            return match[0]  # 7/10 of something
        return language.date(int(match[1]), int(match[2]), None) or match[0]

    def apply(text: str) -> str:
        text = _FIGURES.sub(figures, _ISO.sub(iso, text))
        return named(text if language.notation == "point" else _SHORT.sub(short, text))

    return apply


def _named(language: Language, names: str) -> Callable[[str], str]:
    if language.code == "en":
        return _english(language)
    if language.code == "de":
        return german_dates(language, names)
    if language.code not in {"pt_BR", "fr", "it"}:
        return lambda text: text
    of = "de " if language.code == "pt_BR" else ""
    first = re.compile(rf"(?<![\w./,-])1(?=[ ]{of}(?:{names})\b)", re.IGNORECASE)
    word = ordinal(1, language.code)
    return lambda text: first.sub(word, text)


def _english(language: Language) -> Callable[[str], str]:
    months = "|".join(month for month in language.months)
    short = "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec"
    month = rf"(?P<month>{months}|(?:{short})\b\.?)"
    after = re.compile(rf"\b{month}[ ](?P<day>\d{{1,2}})(?:st|nd|rd|th)?{_YEAR}(?![\d:/]|[.,]\d|[ ]?[ap]\.?m)")
    before = re.compile(
        rf"(?P<the>\b[Tt]he[ ])?(?<![\w.,/-])(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:[ ]of)?[ ]{month}{_YEAR}(?!\w)"
    )

    def number(match: re.Match[str]) -> int:
        name = match["month"].lower().rstrip(".")
        return language.month_numbers.get(name) or language.month_numbers[name[:3]]

    def said(match: re.Match[str], *, british: bool) -> str:
        day, year = int(match["day"]), match["year"]
        if not 1 <= day <= 31:
            return match[0]
        name = language.months[number(match) - 1]
        spoken = f"the {ordinal(day, 'en')} of {name}" if british else f"{name} {ordinal(day, 'en')}"
        return f"{spoken}, {language.year_words(year)}" if year else spoken

    def apply(text: str) -> str:
        text = after.sub(lambda match: said(match, british=False), text)
        return before.sub(lambda match: said(match, british=True), text)

    return apply
