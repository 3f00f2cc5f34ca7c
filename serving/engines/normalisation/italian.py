"""Italian."""

from __future__ import annotations

import re

from serving.engines.normalisation.language import Currency, Language
from serving.engines.normalisation.numbers import agree_italian, integer, ordinal


def _time(hour: int, minute: int, second: int | None) -> str:
    said = f"ore {integer(hour, 'it')}" if hour != 1 else "ore una"
    if minute or second:
        said += f" e {integer(minute, 'it')}"
    return f"{said} e {integer(second, 'it')} secondi" if second else said


def _day_month(day: int, month: str, year: str) -> str:
    return f"{'primo' if day == 1 else integer(day, 'it')} {month}" + (f" {year}" if year else "")


def _ordinal(number: int, suffix: str) -> str:
    words = ordinal(number, "it")
    return re.sub(r"o$", "a", words) if suffix[:1] in {"ª", "a"} else words


ITALIAN = Language(
    code="it",
    locale="it",
    notation="comma",
    agree=agree_italian,
    point="virgola",
    minus="meno",
    percent="per cento",
    per_mille="per mille",
    to="a",
    conjunction="e",
    slash="barra",
    at="chiocciola",
    dot="punto",
    hyphen="trattino",
    underscore="trattino basso",
    number_sign="numero",
    currencies={
        "EUR": Currency("euro", "euro", "centesimo", "centesimi"),
        "USD": Currency("dollaro", "dollari", "centesimo", "centesimi"),
        "GBP": Currency("sterlina", "sterline", "penny", "pence", gender="f"),
        "BRL": Currency("real", "real", "centavo", "centavos"),
        "JPY": Currency("yen", "yen"),
        "INR": Currency("rupia", "rupie", gender="f"),
    },
    scales={
        "miliardi": "miliardi",
        "miliardo": "miliardo",
        "milioni": "milioni",
        "milione": "milione",
        "mila": "mila",
    },
    short_scales={"mln": ("milione", "milioni"), "mld": ("miliardo", "miliardi")},
    per="a",
    times=("volta", "volte"),
    of_scale=lambda currency: f"di {currency}",
    abbreviations={
        "sig.ra": "signora",
        "sig.na": "signorina",
        "sigg.": "signori",
        "sig.": "signor",
        "dott.ssa": "dottoressa",
        "dott.": "dottor",
        "dr.": "dottor",
        "prof.ssa": "professoressa",
        "prof.": "professor",
        "avv.": "avvocato",
        "ing.": "ingegner",
        "pag.": "pagina",
        "tel.": "telefono",
        "ecc.": "eccetera",
        "p. es.": "per esempio",
        "a.c.": "avanti Cristo",
        "d.c.": "dopo Cristo",
        "s.p.a.": "S P A",
    },
    number_abbreviations={
        "p.": "pagina",
        "pp.": "pagine",
        "pagg.": "pagine",
        "cap.": "capitolo",
        "art.": "articolo",
        "n.": "numero",
        "vol.": "volume",
        "fig.": "figura",
        "km": "chilometro",
        "Cap.": "capitolo",
        "Art.": "articolo",
        "Vol.": "volume",
        "Fig.": "figura",
    },
    final_abbreviations=frozenset({"ecc.", "a.c.", "d.c.", "s.p.a."}),
    signs={
        "²": "al quadrato",
        "³": "al cubo",
        "&": "e",
        "§": "paragrafo",
        "§§": "paragrafi",
        "±": "più o meno",
        "@": "chiocciola",
        "#": "cancelletto",
        "+": "più",
        "=": "uguale a",
        "°": "gradi",
        "\u00d7": "per",
    },
    time=_time,
    day_month=_day_month,
    ordinal=_ordinal,
    behind_degrees=frozenset(
        {"a", "e", "o", "di", "in", "al", "oggi", "domani", "ieri", "con", "ma", "per", "fino", "da", "gradi"}
    ),
    ordinal_suffixes="[ºª°]",
    feminine_units=frozenset({"h", "t", "oz", "lb", "kcal"}),
    unit_names={
        "mq": ("metro quadro", "metri quadri"),
        "dB": ("decibel", "decibel"),
        "t": ("tonnellata", "tonnellate"),
    },
    centuries=("secolo",),
    monarchs=frozenset(
        {
            "Luigi",
            "Carlo",
            "Vittorio",
            "Emanuele",
            "Paolo",
            "Pio",
            "Enrico",
            "Umberto",
            "Elisabetta",
            "Benedetto",
            "Leone",
            "Federico",
            "Alessandro",
            "Nicola",
            "Caterina",
            "Gregorio",
            "Clemente",
            "Napoleone",
            "Francesco",
            "Filippo",
            "Ferdinando",
            "Guglielmo",
            "Giorgio",
            "Edoardo",
            "Riccardo",
            "Bonifacio",
            "Urbano",
            "Innocenzo",
            "Giulio",
            "Cosimo",
        }
    ),
)
