"""Percentages and quantities with their units, whose names are CLDR's."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from babel.units import format_unit

from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import NEGATIVE, Gender, value_of

UNITS = {
    "km/h": "speed-kilometer-per-hour", "mph": "speed-mile-per-hour", "m/s": "speed-meter-per-second",
    "km²": "area-square-kilometer", "km2": "area-square-kilometer", "m²": "area-square-meter",
    "m2": "area-square-meter", "cm²": "area-square-centimeter", "m³": "volume-cubic-meter", "m3": "volume-cubic-meter",
    "km": "length-kilometer", "m": "length-meter", "cm": "length-centimeter", "mm": "length-millimeter",
    "mi": "length-mile", "ft": "length-foot", "kg": "mass-kilogram", "g": "mass-gram", "mg": "mass-milligram",
    "t": "mass-tonne", "lb": "mass-pound", "lbs": "mass-pound", "oz": "mass-ounce", "l": "volume-liter",
    "L": "volume-liter", "ml": "volume-milliliter", "mL": "volume-milliliter", "cl": "volume-centiliter",
    "°C": "temperature-celsius", "ºC": "temperature-celsius", "°F": "temperature-fahrenheit",
    "ºF": "temperature-fahrenheit", "h": "duration-hour", "min": "duration-minute", "s": "duration-second",
    "ms": "duration-millisecond", "Hz": "frequency-hertz", "kHz": "frequency-kilohertz", "MHz": "frequency-megahertz",
    "GHz": "frequency-gigahertz", "KB": "digital-kilobyte", "kB": "digital-kilobyte", "MB": "digital-megabyte",
    "GB": "digital-gigabyte", "TB": "digital-terabyte", "Mbps": "", "W": "power-watt", "kW": "power-kilowatt",
    "MW": "power-megawatt", "kWh": "energy-kilowatt-hour", "V": "electric-volt", "kcal": "energy-kilocalorie",
    "TL": "", "EL": "", "tsp": "", "tbsp": "", "hr": "", "hrs": "", "dB": "", "rpm": "", "Go": "", "Mo": "", "To": "",
    "mq": "", "qm": "", "m/s²": "acceleration-meter-per-square-second", "ha": "area-hectare",
    "°": "angle-degree", "º": "angle-degree",
}  # fmt: skip
_EACH = "s|h|min|kg|g|l|L|ml|mL|m²|m2|m³|m3|cm²|ha|km"
"""What other quantities are given for: "5 mg/kg", "6 l/100 km"."""
_FEET = re.compile(r"(?<![\w.,'’])(?P<feet>\d{1,2})['’′][ ]?(?P<inches>1[01]|\d)(?:[\"”″]|''|’’)(?!\w)")  # noqa: RUF001
_FOLLOWER = re.compile(r"[ ]([^\W\d_]{1,30})")
_ATTRIBUTE = re.compile(r"\b[Aa]n?[ ]$")
_SHOWN = re.compile(r"^\s*[\d.,\s\u00a0\u202f]*\d\s*")


def measures(language: Language) -> Callable[[str], str]:
    units = [unit for unit in UNITS if UNITS[unit] or unit in language.unit_names]
    names = "|".join(re.escape(unit) for unit in sorted(units, key=len, reverse=True))
    first = rf"(?:(?P<first>{language.number})[ ]?(?P<dash>[-–−])[ ]?)?"  # noqa: RUF001
    number = rf"(?P<minus>{NEGATIVE}){first}(?P<number>{language.number})"
    each = rf"(?:/(?P<every>\d{{1,4}}[ ]?)?(?P<each>{_EACH}))?"
    quantity = re.compile(rf"(?<![\w.,]){number}[ \u00a0\u202f]?(?P<unit>{names}){each}(?![\w/²³'’]|\.\w)")  # noqa: RUF001
    percent = re.compile(rf"(?<![\w.,]){number}[ \u00a0\u202f]?(?P<unit>[%‰])")

    alone = re.compile(r"(?<![\w/])(?:[kc]?m²|m³)(?![\w/])")

    def read(match: re.Match[str], gender: Gender) -> str:
        said = language.negative(match["minus"]) + language.read(match["number"], gender)
        if match["first"] is not None:
            return f"{language.read(match['first'], gender)} {language.to} {said}"
        return said

    def measured(match: re.Match[str]) -> str:
        unit = match["unit"]
        if unit in "°º" and _nth(language, match):
            return match[0]
        value = value_of(match["number"], comma=language.comma)
        if language.code == "en" and _ATTRIBUTE.search(match.string, max(0, match.start() - 3), match.start()):
            value = Decimal(1) if match.string[match.end() :][:1] in {" ", "-"} else value  # "a 10 km run"
        said = f"{read(match, 'f' if unit in language.feminine_units else 'm')} {unit_name(language, unit, value)}"
        return f"{said} {_each(language, match)}" if match["each"] else said

    def hundredths(match: re.Match[str]) -> str:
        return f"{read(match, '')} {language.percent if match['unit'] == '%' else language.per_mille}"

    def apply(text: str) -> str:
        if re.search(r"\d", text):
            if language.code == "en":
                text = _FEET.sub(_height, text)
            text = quantity.sub(measured, percent.sub(hundredths, text))
        return alone.sub(lambda match: unit_name(language, match[0], Decimal(1)), text)

    return apply


def per_one(language: Language, follows: str) -> str:
    """Italian says "al mese", "all'ora", but "a notte"."""
    if language.code != "it":
        return f"{language.per} "
    if follows[0] in "aeiou":
        return "all'"
    return "al " if re.match(r"mese\b|\w+o\b", follows) else "a "


def _each(language: Language, match: re.Match[str]) -> str:
    """ "per kilogram", "per one hundred kilometers"."""
    unit, every = match["each"], int(match["every"] or 1)
    name = unit_name(language, unit, Decimal(every))
    if not match["every"]:
        return f"{per_one(language, name)}{name}"
    said = language.words(every, "f" if unit in language.feminine_units else "m")
    return f"{'per' if language.code == 'it' else language.per} {said} {name}"


def _height(match: re.Match[str]) -> str:
    feet, inches = match["feet"], match["inches"]
    return f"{feet} {'foot' if feet == '1' else 'feet'} {inches} {'inch' if inches == '1' else 'inches'}"


def _nth(language: Language, match: re.Match[str]) -> bool:
    """Whether the sign makes an ordinal number, which no degree below zero is: "1º", "5° andar", not "30°"."""
    if match["minus"] or match["unit"] == "º":
        return not match["minus"]
    if match["first"] or not match["number"].isdigit() or "°" not in language.ordinal_suffixes:
        return False
    follower = _FOLLOWER.match(match.string, match.end())
    if follower is None or follower[1] in language.behind_degrees:
        return False
    return follower[1] != "de" or len(match["number"]) == 1


def unit_name(language: Language, unit: str, value: Decimal | None) -> str:
    """Of so many; of many where ``value`` has no name."""
    count = Decimal(2) if value is None else value
    own = language.unit_names.get(unit)
    if own is not None:
        return own[0] if count == 1 else own[1]
    if count == count.to_integral_value():
        count = Decimal(int(count))
    return _SHOWN.sub("", format_unit(count, UNITS[unit], "long", locale=language.locale)).replace("\u00a0", " ")
