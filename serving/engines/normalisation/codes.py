"""Numbers that are names: of telephones, taxpayers, places and versions. They are read digit by digit."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import digits

_CODE = re.compile(
    r"(?<![\w.,/-])(?:"
    r"(?P<phone>\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,5}(?:[ .-]\d{2,5}){1,4}"
    r"|\(\d{2,4}\)[ ]?\d{3,5}[ .-]\d{4}"
    r"|0[3589]00[ -]\d{3}[ -]?\d{3,4}"
    r"|\d{3}[.-]\d{3}[.-]\d{4}|\d{3}-\d{4}|9?\d{4}-\d{4}(?!\d))"
    r"|(?P<taxpayer>\d{3}\.\d{3}\.\d{3}-\d{2}|\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2})"
    r"|(?P<postcode>\d{5}-\d{3,4})"
    r"|(?P<version>v?\d{1,3}(?:\.\d{1,3}){2,3})(?!,)"
    r"|(?P<long>\d{16,})"
    r")(?!\w|[./,-]\d)"
)
_GROUP = re.compile(r"\d+")
_ZEROS = re.compile(r"\.\d{3}(?:\.\d{3})+$")


def codes(language: Language) -> Callable[[str], str]:
    def spell(match: re.Match[str]) -> str:
        written = match[0]
        if match["version"]:
            if language.comma and re.fullmatch(r"\d{1,3}(?:\.\d{3})+", written):
                return written  # 1.234.567 is a number here
            said = f" {language.dot} ".join(language.words(int(part)) for part in written.lstrip("v").split("."))
            return f"v {said}" if written.startswith("v") else said
        if match["phone"] and re.fullmatch(r"\d{4}-\d{4}", written) and _years(written):
            return written
        said = ", ".join(digits(group, language.code) for group in _GROUP.findall(written))
        return f"{language.signs['+']} {said}" if written.startswith("+") else said

    return lambda text: _CODE.sub(spell, text)


def _years(written: str) -> bool:
    """1939-1945 is a range, not a telephone's number."""
    first, second = (int(part) for part in written.split("-"))
    return 1000 <= first < second <= 2100
