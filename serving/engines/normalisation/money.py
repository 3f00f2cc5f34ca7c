"""Amounts of money, with the sign or the code of the currency before or after them."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from babel.numbers import get_currency_name

from serving.engines.normalisation.language import Currency, Language
from serving.engines.normalisation.measures import UNITS, per_one, unit_name
from serving.engines.normalisation.numbers import NEGATIVE, value_of

SIGNS = {
    "R$": "BRL", "US$": "USD", "U$": "USD", "C$": "CAD", "CA$": "CAD", "A$": "AUD", "AU$": "AUD", "MX$": "MXN",
    "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "$": "",
}  # fmt: skip
_ATTRIBUTE = re.compile(r"\b[Aa]n?[ ]$")
CODES = ("USD", "EUR", "GBP", "BRL", "JPY", "INR", "CHF", "CAD", "AUD", "MXN", "ARS", "CNY", "SEK", "NOK", "DKK", "PLN")


def money(language: Language) -> Callable[[str], str]:
    sign = "|".join([*(re.escape(each) for each in sorted(SIGNS, key=len, reverse=True)), *CODES])
    scales = "|".join(re.escape(each) for each in sorted(language.scales, key=len, reverse=True))
    first = rf"(?:(?P<first>{language.number})[ ]?[-\u2013][ ]?)?"
    span = re.compile(rf"(?<=\d)[ ]?[-\u2013][ ]?(?=(?:{sign})[ ]?\d)")
    amount = rf"{first}(?P<number>{language.number})(?![.,]\d)(?:[ \u00a0]?(?P<scale>{scales})(?!\w))?"
    units = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True) if UNITS[unit])
    per = rf"(?P<per>/(?:(?P<unit>{units})(?!\w)|(?=[^\W\d_])))?"
    before = re.compile(
        rf"(?P<minus>{NEGATIVE.replace(chr(92) + 'd', f'(?:{sign})')})(?<![\w$])(?P<sign>{sign})[ \u00a0\u202f]?"
        rf"(?P<inner>[-−]?){amount}{per}"  # noqa: RUF001
    )
    after = re.compile(rf"(?P<minus>{NEGATIVE})(?<![.,]){amount}[ \u00a0\u202f]?(?P<sign>{sign})(?![\w$]){per}")

    def said(match: re.Match[str]) -> str:
        groups = match.groupdict()
        minus = language.negative(groups["minus"]) or language.negative(groups.get("inner"))
        if match["first"]:
            minus += f"{language.read(match['first'], 'm')} {language.to} "
        code = SIGNS.get(match["sign"], match["sign"]) or language.dollar
        currency = _currency(language, code)
        if language.code == "en" and _ATTRIBUTE.search(match.string, max(0, match.start() - 3), match.start()):
            currency = Currency(currency.one, currency.one, currency.cent, currency.cent)  # "a $5 bill"
        amount = minus + _spoken(language, currency, match["number"], match["scale"])
        if not match["per"]:
            return amount
        unit = unit_name(language, match["unit"], Decimal(1)) if match["unit"] else ""
        return f"{amount} {per_one(language, unit or match.string[match.end() : match.end() + 20])}{unit}"

    there = re.compile(sign)

    def apply(text: str) -> str:
        if there.search(text) is None:
            return text
        text = span.sub(f" {language.to} ", text)
        return after.sub(said, before.sub(said, text))

    return apply


def _currency(language: Language, code: str) -> Currency:
    """From the language's own table, or its name in CLDR."""
    known = language.currencies.get(code)
    return known or Currency(
        get_currency_name(code, count=1, locale=language.locale),
        get_currency_name(code, count=2, locale=language.locale),
    )


def _spoken(language: Language, currency: Currency, written: str, scale: str | None) -> str:
    if scale:
        thousand = language.scales[scale] in {"mil", "mille", "mila", "thousand", "tausend"}
        said = f"{language.read(written, 'm' if thousand else language.scale_gender)} {language.scales[scale]}"
        return f"{said} {currency.many}" if thousand else f"{said} {language.of_scale(currency.many)}"
    value = value_of(written, comma=language.comma)
    decimals = written.partition("," if language.comma else ".")[2]
    if value is None or (decimals.strip("0") and (len(decimals) > 2 or not currency.cent)):
        return f"{language.read(written)} {currency.many}"
    whole, cents = int(value), int(decimals.ljust(2, "0")[:2] or 0)
    parts = []
    if whole or not cents:
        many = currency.one if whole == 1 else currency.many
        big = whole >= 10**6 and whole % 10**6 == 0
        parts.append(f"{language.words(whole, currency.gender)} {language.of_scale(many) if big else many}")
    if cents:
        name = currency.cent if cents == 1 else currency.cents
        parts.append(f"{language.words(cents, currency.cent_gender)} {name}")
    return f" {language.conjunction} ".join(parts)
