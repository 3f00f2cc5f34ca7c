"""Amounts in another language's notation: "$12.50" in a Spanish text, "€3,50" in an English one, and ".5 kg"."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language
from serving.engines.normalisation.measures import UNITS
from serving.engines.normalisation.money import CODES, SIGNS

# "12.30 h" is a time of the day.
_NO_CENTS = re.compile(r"(?<=\d),[-\u2013](?=[ ]?(?:€|Euro|EUR)|$|\s)")
_UNITS = "|".join(re.escape(unit) for unit in sorted(UNITS.keys() - {"h", "min", "s"}, key=len, reverse=True))
_SIGNS = "|".join([*(re.escape(sign) for sign in sorted(SIGNS, key=len, reverse=True)), *CODES])
_BARE = re.compile(rf"(?:(?<=[\s($€£¥-])|^)(?=\.\d{{1,15}}(?:[ ]?(?:{_UNITS}|%)(?!\w)|(?![\w%]|[.,]\d)))", re.MULTILINE)


def notation(language: Language) -> Callable[[str], str]:
    """Rewrites what can only be another notation, so a sign, a code or a unit is beside it: "1.234 €" stays."""
    decimal, group = (r"\.", ",") if language.comma else (",", r"\.")
    swap = str.maketrans(".,", ",.")
    scales = "|".join(re.escape(each) for each in sorted(language.scales, key=len, reverse=True))
    least = 0 if language.comma else 1
    foreign = (
        rf"(?:\d{{1,3}}(?:{group}\d{{3}}){{1,5}}{decimal}\d{{1,2}}|\d{{{least},15}}{decimal}\d{{1,2}}"
        rf"|\d{{1,3}}(?:{group}\d{{3}}){{2,5}})(?!\d|[.,]\d)"
    )
    amount = re.compile(
        rf"(?P<sign>(?<![\w$])(?:{_SIGNS})[ \u00a0]?[-−]?)?(?<![\d.,])"  # noqa: RUF001
        rf"(?P<amount>{foreign}(?:[ ]?[-\u2013][ ]?(?:{foreign}|\d{{1,15}}(?![\d.,])))?)"
        rf"(?P<unit>(?:[ \u00a0]?(?:{scales})(?!\w))?[ \u00a0\u202f]?(?:{_SIGNS}|{_UNITS}|[%‰])(?!\w))?"
    )

    def own(match: re.Match[str]) -> str:
        if not match["sign"] and not match["unit"]:
            return match[0]
        written = re.sub(r"(?<![\d.,])(?=,)", "0", match["amount"].translate(swap))  # ".5" has no zero to lose
        return f"{match['sign'] or ''}{written}{match['unit'] or ''}"

    def apply(text: str) -> str:
        text = _NO_CENTS.sub("", text)
        if "." not in text and "," not in text:
            return text
        text = amount.sub(own, text)
        return text if language.comma else _BARE.sub("0", text)

    return apply
