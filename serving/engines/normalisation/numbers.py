"""Numbers as a language writes them, and in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from num2words import num2words

Gender = Literal["", "m", "f"]
"""Of what is counted; "" where nothing is: German counts "eins", but says "ein Euro" and "eine Stunde"."""

MOST_DIGITS = 15
"""Longer numbers are read digit by digit: nobody says their names."""

DASH = r"[-−]"  # noqa: RUF001 - the minus sign beside the hyphen
NEGATIVE = rf"(?:(?<![\w)\].,%°]){DASH}(?=\d))?"
END = r"(?![\d])"

NUMBER_OF = {
    "point": r"(?<![\d])(?:\d{1,3}(?:,\d{3}){1,5}(?:\.\d+)?|\d+(?:\.\d+)?)(?![\d])",
    "comma": r"(?<![\d])(?:\d{1,3}(?:[.\u00a0\u202f]\d{3}){1,5}(?:,\d+)?|\d+(?:,\d+)?)(?![\d])",
    "comma, blanks": r"(?<![\d])(?:\d{1,3}(?:[.\u00a0\u202f ]\d{3}){1,5}(?:,\d+)?|\d+(?:,\d+)?)(?![\d])",
}
"""Where decimals begin: at a point ("1,234.5"), or at a comma ("1.234,5", and "1 234,5").

The groups are bounded because patterns try a number at every digit: six are more digits than have a name.
"""

_KEEP = re.compile(r"[^\d]")


def value_of(written: str, *, comma: bool) -> Decimal | None:
    """The number that ``written`` is, None for one with too many digits to have a name."""
    whole, _, decimals = written.partition("," if comma else ".")
    digits = _KEEP.sub("", whole)
    if len(digits) > MOST_DIGITS or len(decimals) > MOST_DIGITS:
        return None
    return Decimal(f"{digits or '0'}.{decimals or '0'}")


@lru_cache(4096)
def integer(number: int, code: str) -> str:
    """``number`` >= 0 in words, without the commas that would be heard as pauses."""
    words: str = num2words(number, lang=code).replace(",", "")
    return words.replace("veintiuno mil", "veintiún mil").replace(" y uno mil", " y un mil") if code == "es" else words


@lru_cache(1024)
def ordinal(number: int, code: str) -> str:
    words: str = num2words(number, lang=code, ordinal=True).replace(",", "")
    return words


@lru_cache(1024)
def year(number: int, code: str) -> str:
    """As years are read in English and German: in pairs of digits."""
    words: str = num2words(number, lang=code, to="year").replace(",", "")
    return words


def digits(written: str, code: str) -> str:
    """Digit by digit; ``written`` may hold anything between them."""
    return " ".join(integer(int(digit), code) for digit in written if digit.isdigit())


Agree = Callable[[str, int, Gender], str]
"""(words of a number, the number, gender of what is counted) -> words."""


def agree_nothing(words: str, number: int, gender: Gender) -> str:
    return words


_PT_HEADS = re.compile(r"^.*(?:ilhão|ilhões|iliões|ilião|mil milhões)\b|^")
_PT_FEMININE = re.compile(r"\b(um|dois|\w+entos)\b")


def agree_portuguese(words: str, number: int, gender: Gender) -> str:
    """ "duas mil e duzentas", but "dois milhões": what comes before a million agrees with it."""
    if gender != "f":
        return words
    head = _PT_HEADS.match(words)
    end = head.end() if head else 0
    return words[:end] + _PT_FEMININE.sub(_pt_feminine, words[end:])


def _pt_feminine(match: re.Match[str]) -> str:
    word = match[1]
    return {"um": "uma", "dois": "duas"}.get(word, f"{word[:-2]}as")


_ES_HEADS = re.compile(r"^.*ill(?:ón|ones)\b|^")
_ES_CIENTOS = re.compile(r"(\w+ient)os\b")


def agree_spanish(words: str, number: int, gender: Gender) -> str:
    if not gender:
        return words
    head = _ES_HEADS.match(words)
    end = head.end() if head else 0
    tail = words[end:]
    if gender == "f":
        tail = _ES_CIENTOS.sub(r"\1as", tail)
        return words[:end] + re.sub(r"uno$", "una", tail)
    return words[:end] + re.sub(r"\buno$", "un", re.sub(r"veintiuno$", "veintiún", tail))


def agree_french(words: str, number: int, gender: Gender) -> str:
    return f"{words}e" if gender == "f" and words.endswith("un") else words


def agree_german(words: str, number: int, gender: Gender) -> str:
    if gender and words.endswith("eins"):
        return words[:-1] + ("e" if gender == "f" and number == 1 else "")
    return words


def agree_italian(words: str, number: int, gender: Gender) -> str:
    if number == 1 and gender:
        return "una" if gender == "f" else "un"
    return words
