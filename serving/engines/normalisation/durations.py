"""Durations in parts, where "m" is minutes: "3h 20m" and "2m 30s". Alone, "5 m" is a length."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from serving.engines.normalisation.language import Language
from serving.engines.normalisation.measures import unit_name
from serving.engines.normalisation.ordinals import AND

_BEGINS = r"(?<![\w.,/:$€£-])"
_ENDS = r"(?![\w/²³:]|[.,]\d)"
_HOURS = re.compile(
    rf"{_BEGINS}(?P<h>\d{{1,3}})[ ]?h[ ]?(?P<min>[0-5]?\d)[ ]?m(?:in)?(?:[ ]?(?P<s>[0-5]?\d)[ ]?s)?{_ENDS}"
)
_MINUTES = re.compile(rf"{_BEGINS}(?P<min>\d{{1,2}})m(?:in)?[ ]?(?P<s>[0-5]?\d)s{_ENDS}")


def durations(language: Language) -> Callable[[str], str]:
    def said(match: re.Match[str]) -> str:
        parts = []
        for unit, number in match.groupdict().items():
            if number is not None:
                words = language.words(int(number), "f" if unit in language.feminine_units else "m")
                parts.append(f"{words} {unit_name(language, unit, Decimal(number))}")
        *first, last = parts
        return f"{', '.join(first)} {AND[language.code]} {last}"

    return lambda text: _MINUTES.sub(said, _HOURS.sub(said, text))
