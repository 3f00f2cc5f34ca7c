"""German."""

from __future__ import annotations

from serving.engines.normalisation.language import Currency, Language
from serving.engines.normalisation.numbers import agree_german, integer, ordinal, year


def _time(hour: int, minute: int, second: int | None) -> str:
    said = f"{agree_german(integer(hour, 'de'), hour, 'm')} Uhr"
    if minute or second:
        said += f" {integer(minute, 'de')}"
    if second:
        said += f" und {agree_german(integer(second, 'de'), second, 'f')} Sekunde{'n' if second > 1 else ''}"
    return said


def _day_month(day: int, month: str, spoken_year: str) -> str:
    return f"{ordinal(day, 'de')}r {month}" + (f" {spoken_year}" if spoken_year else "")


def _ordinal(number: int, suffix: str) -> str:
    return ordinal(number, "de")


def _year(number: int) -> str:
    return year(number, "de") if number < 2000 else integer(number, "de")


GERMAN = Language(
    code="de",
    locale="de",
    notation="comma",
    agree=agree_german,
    point="Komma",
    minus="minus",
    percent="Prozent",
    per_mille="Promille",
    to="bis",
    conjunction="und",
    slash="Schrägstrich",
    at="ät",
    dot="Punkt",
    hyphen="Bindestrich",
    underscore="Unterstrich",
    number_sign="Nummer",
    pair_decimals=False,
    currencies={
        "EUR": Currency("Euro", "Euro", "Cent", "Cent"),
        "USD": Currency("Dollar", "Dollar", "Cent", "Cent"),
        "GBP": Currency("Pfund", "Pfund", "Penny", "Pence"),
        "BRL": Currency("Real", "Real", "Centavo", "Centavos"),
        "JPY": Currency("Yen", "Yen"),
        "INR": Currency("Rupie", "Rupien", gender="f"),
        "CHF": Currency("Franken", "Franken", "Rappen", "Rappen"),
    },
    scales={
        "Billionen": "Billionen",
        "Billion": "Billion",
        "Milliarden": "Milliarden",
        "Milliarde": "Milliarde",
        "Millionen": "Millionen",
        "Million": "Million",
        "Tausend": "tausend",
    },
    short_scales={
        "Mio": ("Million", "Millionen"),
        "Mrd": ("Milliarde", "Milliarden"),
        "Tsd": ("tausend", "tausend"),
    },
    ratio="zu",
    per="pro",
    times=("mal", "mal"),
    of_scale=lambda currency: currency,
    scale_gender="f",
    abbreviations={
        "dr.": "Doktor",
        "prof.": "Professor",
        "hr.": "Herr",
        "fr.": "Frau",
        "z. b.": "zum Beispiel",
        "z.b.": "zum Beispiel",
        "d. h.": "das heißt",
        "d.h.": "das heißt",
        "u. a.": "unter anderem",
        "u.a.": "unter anderem",
        "usw.": "und so weiter",
        "v. chr.": "vor Christus",
        "n. chr.": "nach Christus",
        "jh.": "Jahrhundert",
        "zzgl.": "zuzüglich",
        "bzw.": "beziehungsweise",
        "ca.": "circa",
        "evtl.": "eventuell",
        "ggf.": "gegebenenfalls",
        "str.": "Straße",
        "tel.": "Telefon",
        "st.": "Sankt",
        "nr.": "Nummer",
        "etc.": "et cetera",
        "vgl.": "vergleiche",
        "inkl.": "inklusive",
        "abs.": "Absatz",
    },
    number_abbreviations={
        "S.": "Seite",
        "Bd.": "Band",
        "Abb.": "Abbildung",
        "Kap.": "Kapitel",
        "Art.": "Artikel",
    },
    final_abbreviations=frozenset({"usw.", "etc.", "str.", "v. chr.", "n. chr.", "jh."}),
    signs={
        "²": "hoch zwei",
        "³": "hoch drei",
        "&": "und",
        "@": "ät",
        "#": "Raute",
        "+": "plus",
        "=": "gleich",
        "°": "Grad",
        "\u00d7": "mal",
        "§": "Paragraph",
        "§§": "Paragraphen",
        "±": "plus minus",
    },
    time=_time,
    day_month=_day_month,
    ordinal=_ordinal,
    ordinal_suffixes="",
    feminine_units=frozenset({"h", "min", "s", "ms", "t", "oz", "mi", "kWh", "kcal"}),
    unit_names={
        "TL": ("Teelöffel", "Teelöffel"),
        "EL": ("Esslöffel", "Esslöffel"),
        "qm": ("Quadratmeter", "Quadratmeter"),
        "dB": ("Dezibel", "Dezibel"),
    },
    centuries=(),
    time_suffix=r"(?:[ ]?Uhr|[ ]?h)",
    year=_year,
    year_before="Jahr|Jahre|seit|von|bis|ab|vor|nach|um|anno|Frühjahr|Frühling|Sommer|Herbst|Winter|Anfang|Mitte|Ende|"
    "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember",
)
