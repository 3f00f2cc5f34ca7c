"""French."""

from __future__ import annotations

from serving.engines.normalisation import nouns
from serving.engines.normalisation.language import Currency, Language
from serving.engines.normalisation.numbers import agree_french, integer, ordinal


def _time(hour: int, minute: int, second: int | None) -> str:
    said = f"{agree_french(integer(hour, 'fr'), hour, 'f')} heure{'s' if hour > 1 else ''}"
    if minute or second:
        said += f" {agree_french(integer(minute, 'fr'), minute, 'f')}"
    if second:
        said += f" et {agree_french(integer(second, 'fr'), second, 'f')} seconde{'s' if second > 1 else ''}"
    return said


def _day_month(day: int, month: str, year: str) -> str:
    said = "premier" if day == 1 else integer(day, "fr")
    return f"{said} {month}" + (f" {year}" if year else "")


def _ordinal(number: int, suffix: str) -> str:
    if number == 1:
        return "première" if "re" in suffix else "premier"
    return ordinal(number, "fr")


def _of(currency: str) -> str:
    return f"d'{currency}" if currency[0] in "aeiou" else f"de {currency}"


FRENCH = Language(
    code="fr",
    locale="fr",
    notation="comma, blanks",
    agree=agree_french,
    point="virgule",
    minus="moins",
    percent="pour cent",
    per_mille="pour mille",
    to="à",
    conjunction="et",
    slash="barre oblique",
    at="arobase",
    dot="point",
    hyphen="tiret",
    underscore="tiret bas",
    number_sign="numéro",
    currencies={
        "EUR": Currency("euro", "euros", "centime", "centimes"),
        "USD": Currency("dollar", "dollars", "cent", "cents"),
        "GBP": Currency("livre", "livres", "penny", "pence", gender="f"),
        "BRL": Currency("réal", "réaux", "centavo", "centavos"),
        "JPY": Currency("yen", "yens"),
        "INR": Currency("roupie", "roupies", gender="f"),
        "CHF": Currency("franc suisse", "francs suisses", "centime", "centimes"),
    },
    scales={
        "milliards": "milliards",
        "milliard": "milliard",
        "millions": "millions",
        "million": "million",
        "mille": "mille",
        "k": "mille",
    },
    short_scales={
        "M": ("million", "millions"),
        "Md": ("milliard", "milliards"),
        "Mds": ("milliard", "milliards"),
    },
    per="par",
    times=("fois", "fois"),
    of_scale=_of,
    abbreviations={
        "m.": "monsieur",
        "mm.": "messieurs",
        "mme": "madame",
        "mme.": "madame",
        "mlle.": "mademoiselle",
        "mmes": "mesdames",
        "mlle": "mademoiselle",
        "dr.": "docteur",
        "dr": "docteur",
        "pr.": "professeur",
        "av.": "avenue",
        "av. j.-c.": "avant Jésus-Christ",
        "ap. j.-c.": "après Jésus-Christ",
        "apr. j.-c.": "après Jésus-Christ",
        "bd.": "boulevard",
        "tél.": "téléphone",
        "p. ex.": "par exemple",
        "etc.": "et cetera",
        "st.": "saint",
        "ste.": "sainte",
        "cie.": "compagnie",
        "env.": "environ",
    },
    number_abbreviations={
        "p.": "page",
        "pp.": "pages",
        "chap.": "chapitre",
        "art.": "article",
        "vol.": "volume",
        "fig.": "figure",
        "km": "kilomètre",
        "Chap.": "chapitre",
        "Art.": "article",
        "Vol.": "volume",
        "Fig.": "figure",
    },
    final_abbreviations=frozenset({"etc.", "cie.", "av. j.-c.", "ap. j.-c.", "apr. j.-c."}),
    signs={
        "²": "au carré",
        "³": "au cube",
        "&": "et",
        "§": "paragraphe",
        "§§": "paragraphes",
        "±": "plus ou moins",
        "@": "arobase",
        "#": "dièse",
        "+": "plus",
        "=": "égale",
        "°": "degrés",
        "\u00d7": "fois",
    },
    time=_time,
    day_month=_day_month,
    ordinal=_ordinal,
    ordinal_suffixes=r"(?:ers?|res?|ère|ème|e|es|º|ª)\b",
    feminine_units=frozenset({"h", "min", "s", "ms", "t", "oz", "lb", "kcal"}),
    unit_names={
        "Go": ("gigaoctet", "gigaoctets"),
        "Mo": ("mégaoctet", "mégaoctets"),
        "To": ("téraoctet", "téraoctets"),
        "dB": ("décibel", "décibels"),
    },
    centuries=("siècle", "siècles"),
    monarchs=frozenset(
        {
            "Louis",
            "Henri",
            "Charles",
            "François",
            "Napoléon",
            "Philippe",
            "Pie",
            "Paul",
            "Benoît",
            "Élisabeth",
            "Jean",
            "Léon",
            "Grégoire",
            "Clément",
            "Frédéric",
            "Guillaume",
            "Georges",
            "Édouard",
            "Richard",
            "Nicolas",
            "Alexandre",
            "Catherine",
            "Léopold",
            "Albert",
            "Ramsès",
            "Robert",
        }
    ),
    time_suffix=r"h(?:eures?)?",
    year_before="en|depuis|vers|année|années",
    feminine_nouns=nouns.FRENCH,
)
