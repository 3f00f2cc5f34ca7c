"""Abbreviated millions and billions: "3 Mio. Menschen", "2 mln di euro", "R$ 1 mi"."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import value_of

_SINGULAR_BELOW_TWO = frozenset({"pt_BR", "pt", "fr"})


def scales(language: Language) -> Callable[[str], str]:
    """Puts the names in full behind their numbers, which other passes read."""
    table = language.short_scales
    if not table:
        return lambda text: text
    names = "|".join(re.escape(name) for name in sorted(table, key=len, reverse=True))
    # "M" is a million only before the sign of a currency.
    short = re.compile(
        rf"(?P<number>{language.number})[ \u00a0\u202f]?(?P<name>{names})(?![\w/²]|(?<=M)(?![ ]?[€$£]))(?P<stop>\.?)"
    )

    def full(match: re.Match[str]) -> str:
        one, many = table[match["name"]]
        value = value_of(match["number"], comma=language.comma)
        single = value is not None and (value == 1 or (value < 2 and language.code in _SINGULAR_BELOW_TWO))
        rest = match.string[match.end() :][:1]
        stop = match["stop"] if language.code != "de" or rest in {"", "\n"} else ""
        return f"{match['number']} {one if single else many}{stop}"

    return lambda text: short.sub(full, text)
