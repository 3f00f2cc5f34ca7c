"""Ordinal numbers and fractions."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import ordinal

_MOST = 10**6
_FRACTION = re.compile(r"(?<![\w./,-])(?:(?P<whole>\d{1,3})[ ])?(?P<above>\d{1,3})/(?P<below>\d{1,3})(?![\w/]|[.,]\d)")
_SPECIAL = {"½": (1, 2), "¼": (1, 4), "¾": (3, 4), "⅓": (1, 3), "⅔": (2, 3), "⅛": (1, 8)}
_MIXED = re.compile(rf"(?:(?<![\w.,])(?P<whole>\d{{1,6}})[ ]?)?(?P<sign>[{''.join(_SPECIAL)}])")

_HALF = {
    "en": ("half", "halves", "quarter", "quarters"), "pt_BR": ("meio", "meios", "quarto", "quartos"),
    "pt": ("meio", "meios", "quarto", "quartos"), "es": ("medio", "medios", "cuarto", "cuartos"),
    "fr": ("demi", "demis", "quart", "quarts"), "it": ("mezzo", "mezzi", "quarto", "quarti"),
    "de": ("halb", "halbe", "Viertel", "Viertel"),
}  # fmt: skip
_THIRD = {"pt_BR": "terço", "pt": "terço", "es": "tercio", "fr": "tiers", "de": "Drittel"}
AND = {"en": "and", "pt_BR": "e", "pt": "e", "es": "y", "fr": "et", "it": "e", "de": "und"}


def ordinals(language: Language) -> Callable[[str], str]:
    suffixes = language.ordinal_suffixes
    pattern = re.compile(rf"(?<![\w.,])(\d{{1,6}})({suffixes})(?!\w)") if suffixes else None

    def nth(match: re.Match[str]) -> str:
        number = int(match[1])
        return language.ordinal(number, match[2].strip(".")) if 0 < number < _MOST else match[0]

    def over(match: re.Match[str]) -> str:
        above, below, whole = int(match["above"]), int(match["below"]), match["whole"]
        if 0 < above < below <= 10:
            said = fraction(language, above, below)
            return f"{language.words(int(whole))} {AND[language.code]} {said}" if whole else said
        said = f"{language.words(above)} {language.slash} {language.words(below)}"
        if (above, below, language.code) == (24, 7, "en"):
            said = "twenty-four seven"
        return f"{whole} {said}" if whole else said

    def mixed(match: re.Match[str]) -> str:
        said = fraction(language, *_SPECIAL[match["sign"]])
        return f"{language.words(int(match['whole']))} {AND[language.code]} {said}" if match["whole"] else said

    def apply(text: str) -> str:
        if pattern is not None:
            text = pattern.sub(nth, text)
        return _MIXED.sub(mixed, _FRACTION.sub(over, text))

    return apply


def fraction(language: Language, above: int, below: int) -> str:
    """1/3 as "um terço", 2/3 as "dois terços"."""
    one = above == 1
    if below in {2, 4}:
        name = _HALF[language.code][(0 if below == 2 else 2) + (0 if one else 1)]
    else:
        base = _THIRD.get(language.code) if below == 3 else None
        name = base or ordinal(below, language.code)
        if language.code == "de":
            name = base or f"{name.removesuffix('e').removesuffix('st')}el".replace("stel", "tel").capitalize()
        elif not one:
            name = f"{name[:-1]}i" if language.code == "it" else f"{name.rstrip('s')}s"
    return f"{language.words(above, 'm' if language.code != 'en' else '')} {name}"
