"""Fractions of things: "1/2 xícara" is "meia xícara", "2½ horas" are "duas horas e meia"."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from serving.engines.normalisation.articles import DE_FEMININE, DE_MASCULINE, DE_NEUTER
from serving.engines.normalisation.language import Language
from serving.engines.normalisation.measures import UNITS, unit_name
from serving.engines.normalisation.numbers import Gender

_HALF = {"pt_BR": ("meio", "meia"), "pt": ("meio", "meia"), "es": ("medio", "media"), "it": ("mezzo", "mezza")}
_AND_HALF = {
    "pt_BR": ("e meio", "e meia"), "pt": ("e meio", "e meia"), "es": ("y medio", "y media"),
    "it": ("e mezzo", "e mezza"), "fr": ("et demi", "et demie"),
}  # fmt: skip
_OF = {"pt_BR": "de ", "pt": "de ", "es": "de ", "fr": "de ", "it": "di ", "de": ""}
_PLURAL: dict[str, tuple[str, ...]] = {"pt_BR": ("s",), "pt": ("s",), "es": ("s",), "it": ("e", "i")}
_FRACTION = r"(?<![\w.,/-])(?:(?P<whole>\d{1,3})[ ]?(?=½|(?<=[ ])\d/))?(?P<above>\d{1,2}/\d{1,2}(?![\d/])|½)"
_NO_NOUN = (
    r"(?:d[aeio]s?|du|des|de[il]|della|e[mn]?|em|n[ao]s?|ou?|que|por|para|con|com|per|au?|sur|su|est?|et|y|und|von|der|die|das|"
    r"se|si|foi|fue|más|mais|più|plus)\b"
)


def halves(language: Language) -> Callable[[str], str]:
    """A unit or a noun has to follow; what is left is read by ``ordinals``."""
    units = "|".join(
        re.escape(unit)
        for unit in sorted(UNITS, key=len, reverse=True)
        if (UNITS[unit] or unit in language.unit_names) and unit not in "°º"
    )
    thing = re.compile(
        rf"{_FRACTION}[ \u00a0]?(?:(?P<unit>{units})(?![\w/²³'’]|\.\w)"  # noqa: RUF001
        rf"|(?<=[ ])(?!{_NO_NOUN})(?P<noun>[^\W\d_]{{2,30}})\b)"
    )

    def gender(match: re.Match[str]) -> Gender:
        if match["unit"]:
            return "f" if match["unit"] in language.feminine_units else "m"
        if language.feminine_nouns is not None:
            return "f" if language.feminine_nouns.fullmatch(match["noun"]) else "m"
        return "f" if match["noun"].endswith(("a", "e")) and language.code == "it" else "m"

    def said(match: re.Match[str]) -> str:
        name = match["noun"] or unit_name(language, match["unit"], Decimal(match["whole"] or 1))
        half = match["above"] in {"1/2", "½"}
        if half and language.code == "de":
            return _german(language, match, name)
        if half and language.code in _AND_HALF:
            sort = gender(match)
            return _and_half(language, match["whole"], name, sort) if match["whole"] else _half(language, name, sort)
        return match[0] if not match["unit"] or match["whole"] else _of_unit(language, match["above"], name, half=half)

    return lambda text: thing.sub(said, text) if "/" in text or "½" in text else text


def _half(language: Language, name: str, gender: Gender) -> str:
    if language.code == "fr":
        return f"{language.words(1, gender)} demi-{name}"
    return f"{_HALF[language.code][gender == 'f']} {name}"


def _and_half(language: Language, whole: str, name: str, gender: Gender) -> str:
    ending = _AND_HALF[language.code][gender == "f"]
    if whole == "1" and name.endswith(_PLURAL.get(language.code, ("!",))):
        return f"{language.words(1, gender)} {ending} {name}"
    if whole == "1" and language.code == "it":
        return f"1 {name} {ending}"  # becomes "un'ora"
    return f"{language.words(int(whole), gender)} {name} {ending}"


def _of_unit(language: Language, fraction: str, name: str, *, half: bool) -> str:
    """The fraction stays in figures for ``ordinals``."""
    if language.code == "en":
        article = "an" if name.startswith(("ounce", "hour", "acre", "inch")) else "a"
        return f"{'half' if half else f'{fraction} of'} {article} {name}"
    return f"{fraction} {_OF[language.code]}{name}"


def _german(language: Language, match: re.Match[str], name: str) -> str:
    if match["whole"]:
        return f"{language.words(int(match['whole']), 'm')}einhalb {name}"
    for pattern, words in ((DE_FEMININE, "eine halbe"), (DE_MASCULINE, "ein halber"), (DE_NEUTER, "ein halbes")):
        if re.fullmatch(pattern, name):
            return f"{words} {name}"
    return match[0] if match["noun"] else f"ein halb {name}"
