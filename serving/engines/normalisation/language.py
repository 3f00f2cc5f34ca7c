"""What a language says in place of digits and signs: the tables that its own file fills."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Literal

from babel.dates import get_month_names

from serving.engines.normalisation.numbers import DASH, NUMBER_OF, Agree, Gender, digits, integer, value_of


@dataclass(frozen=True)
class Currency:
    """Names of one, of many, and of their hundredths; none of the latter for yen."""

    one: str
    many: str
    cent: str = ""
    cents: str = ""
    gender: Gender = "m"
    cent_gender: Gender = "m"


@dataclass(frozen=True)
class Language:
    """One language in one region. ``code`` is num2words', ``locale`` CLDR's.

    ``decimals`` are read as one number where there are two at most ("três vírgula quatorze") or digit by digit.
    ``signs`` are words for characters that stand between or before words. ``behind_degrees`` are words before which
    "30°" is a temperature, where others make it an ordinal number. ``uncounted`` is a pattern of words that nobody
    counts, ``feminine_articles`` of words behind which a number is feminine ("às 2"), and ``numbered`` of those whose
    number is a name ("linha 2") or that are articles of one thing ("o 2"). ``number_abbreviations``
    are some before a number only ("p. 5"), spelled as they are. ``short_scales`` are abbreviations of
    millions in the singular and the plural, and ``ratio`` stands between the numbers of "3:1", where ``to`` does
    not. ``per`` is the slash of "R$ 5/kg", and ``times`` are those of "1x" and "12x".
    """

    code: str
    locale: str
    notation: Literal["point", "comma", "comma, blanks"]
    agree: Agree
    point: str
    minus: str
    percent: str
    per_mille: str
    to: str
    conjunction: str
    slash: str
    at: str
    dot: str
    hyphen: str
    underscore: str
    number_sign: str
    currencies: Mapping[str, Currency]
    scales: Mapping[str, str]
    of_scale: Callable[[str], str]
    abbreviations: Mapping[str, str]
    signs: Mapping[str, str]
    time: Callable[[int, int, int | None], str]
    day_month: Callable[[int, str, str], str]
    ordinal: Callable[[int, str], str]
    ordinal_suffixes: str
    scale_gender: Gender = "m"
    feminine_units: frozenset[str] = frozenset()
    pair_decimals: bool = True
    month_first: bool = False
    dollar: str = "USD"
    unit_names: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    centuries: tuple[str, ...] = ()
    monarchs: frozenset[str] = frozenset()
    final_abbreviations: frozenset[str] = frozenset()
    time_suffix: str = ""
    year: Callable[[int], str] | None = None
    year_before: str = ""
    behind_degrees: frozenset[str] = frozenset()
    feminine_nouns: re.Pattern[str] | None = None
    uncounted: str = ""
    number_abbreviations: Mapping[str, str] = field(default_factory=dict)
    short_scales: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    ratio: str = ""
    per: str = "por"
    times: tuple[str, str] = ("vez", "vezes")
    feminine_articles: str = ""
    numbered: str = ""

    @property
    def comma(self) -> bool:
        return self.notation != "point"

    @property
    def number(self) -> str:
        """The pattern of a number without its sign."""
        return NUMBER_OF[self.notation]

    @cached_property
    def months(self) -> tuple[str, ...]:
        names = get_month_names("wide", locale=self.locale)
        return tuple(names[month] for month in range(1, 13))

    @cached_property
    def month_numbers(self) -> dict[str, int]:
        """Months by their names and short names in lower case, without the full stop."""
        found = {}
        for month, name in get_month_names("abbreviated", locale=self.locale).items():
            found[name.lower().rstrip(".")] = month
        for month, name in enumerate(self.months, 1):
            found[name.lower()] = month
            found.setdefault(name.lower()[:3], month)
        return found

    def words(self, number: int, gender: Gender = "") -> str:
        return self.agree(integer(number, self.code), number, gender)

    def read(self, written: str, gender: Gender = "") -> str:
        """Words of a number as written, without its sign."""
        value = value_of(written, comma=self.comma)
        if value is None:
            return digits(written, self.code)
        whole, _, decimals = written.partition("," if self.comma else ".")
        significant = re.sub(r"\D", "", whole)
        if len(significant) > 1 and significant[0] == "0":
            said = digits(significant, self.code)
        else:
            said = self.words(int(value), gender if not decimals else "")
        return f"{said} {self.point} {self.read_decimals(decimals)}" if decimals else said

    def read_decimals(self, decimals: str) -> str:
        if not self.pair_decimals or len(decimals) > 2:
            return digits(decimals, self.code)
        zeros = len(decimals) - len(decimals.lstrip("0"))
        rest = [self.words(int(decimals))] if decimals.lstrip("0") else []
        return " ".join([self.words(0)] * zeros + rest)

    def negative(self, sign: str | None) -> str:
        return f"{self.minus} " if sign and re.search(DASH, sign) else ""

    def year_words(self, written: str) -> str:
        number = int(written)
        return self.year(number) if self.year and 1000 <= number <= 2099 else self.words(number)

    def date(self, day: int, month: int, year: str | None) -> str | None:
        """A date in words; None where there is no such day."""
        try:
            date(int(year) if year and int(year) > 0 else 2000, month, day)
        except ValueError:
            return None
        return self.day_month(day, self.months[month - 1], "" if year is None else self.year_words(full_year(year)))


def full_year(written: str) -> str:
    """ "26" is 2026, and "85" is 1985."""
    return written if len(written) > 2 else f"{'20' if int(written) < 50 else '19'}{written}"
