"""Numbers that are names: of telephones, taxpayers, places and versions. They are read digit by digit."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import digits

_CODE = (
    r"(?<![\w.,/-])(?:"
    r"(?P<phone>\+(?=(?:[ .()-]{0,2}\d){7})"
    r"(?:\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,5}(?:[ .-]\d{2,5}){0,4}[ .-]\d{2,8}|\d{7,15})"
    r"|(?:1[ -])?\(\d{2,4}\)[ ]?\d{3,5}[ .-]\d{4}"
    r"|0[3589]00[ -]\d{3}[ -]?\d{3,4}"
    r"|(?:1[.-])?\d{3}[.-]\d{3}[.-]\d{4}|\d{3}-\d{4}|9?\d{4}-\d{4}(?!\d)%s)"
    r"|(?P<taxpayer>\d{3}\.\d{3}\.\d{3}-\d{2}|\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2})"
    r"|(?P<postcode>\d{5}-\d{3,4})"
    r"|(?P<version>v?\d{1,3}(?:\.\d{1,3}){2,3})(?!,)"
    r"|(?P<long>\d{16,})"
    r")(?!\w|[./,-]\d)"
)
_SPANISH = (
    r"|(?<!\d[ ])[6-9]\d{2}(?:[ ]\d{2}){3}(?![ ]\d)"
    # Blanks group thousands too, so not where something is counted.
    r"|(?<!\d[ ])[6-9]\d{2}[ ]\d{3}[ ]\d{3}(?![ ]\d|[ \u00a0]?[€$£%]"
    r"|[ ](?:de\b|(?!antes|después|tras)[^\W\d_]{3,30}s\b|[A-Z]{3}\b))"
)
# With the zero of the area: "030 1234567", "0171/1234567".
_NATIONAL = {
    "es": _SPANISH,
    "de": r"|0\d{2,4}[ /-]\d{5,9}|0\d{2,4}[ /-]\d{2,4}(?:[ ]\d{2,4}){1,4}",
    "it": r"|0\d{1,3}[ /-]\d{5,8}|3\d{2}[ ]\d{6,7}",
}
_DATE = re.compile(r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{2})")
_DATED = re.compile(
    r"\b(?:am|vom|bis|den|dem|der|zum|seit|ab|und|dia|em|desde|até|el|día|le|du|au|il|dal|al|del|on|until)[ ]$",
    re.IGNORECASE,
)
_VERSION = re.compile(
    r"\b(?:vers\w*|release|build|firmware|IP|v\.?|\w{0,16}[A-Z]{2}\w{0,16}|Python|Linux|Windows|Android)[ ]$"
)
_REACH = 24
_GROUP = re.compile(r"\d+")
_ZEROS = re.compile(r"\.\d{3}(?:\.\d{3})+$")


def codes(language: Language) -> Callable[[str], str]:
    code = re.compile(_CODE % _NATIONAL.get(language.code, ""))

    def spell(match: re.Match[str]) -> str:
        written = match[0]
        if match["version"]:
            if language.comma and re.fullmatch(r"\d{1,3}(?:\.\d{3})+", written):
                return written  # 1.234.567 is a number here
            if _dated(language, match):
                return written
            said = f" {language.dot} ".join(language.words(int(part)) for part in written.lstrip("v").split("."))
            return f"v {said}" if written.startswith("v") else said
        if match["phone"] and re.fullmatch(r"\d{4}-\d{4}", written) and _years(written):
            return written
        said = ", ".join(digits(group, language.code) for group in _GROUP.findall(written))
        return f"{language.signs['+']} {said}" if written.startswith("+") else said

    return lambda text: code.sub(spell, text)


def _dated(language: Language, match: re.Match[str]) -> bool:
    """31.12.24 is a day where days come first, and 1.5.24 where a word says so: "am 1.5.24"."""
    written = _DATE.fullmatch(match[0])
    before = match.string[max(0, match.start() - _REACH) : match.start()]
    if written is None or language.month_first:
        return False
    if language.date(int(written["day"]), int(written["month"]), written["year"]) is None:
        return False
    if _DATED.search(before):
        return True
    return len(match[0]) == len("31.12.24") and not _VERSION.search(before)


def _years(written: str) -> bool:
    """1939-1945 is a range, not a telephone's number."""
    first, second = (int(part) for part in written.split("-"))
    return 1000 <= first < second <= 2100
