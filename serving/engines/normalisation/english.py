"""English: American, and British by its tag."""

from __future__ import annotations

from dataclasses import replace

from serving.engines.normalisation.language import Currency, Language
from serving.engines.normalisation.numbers import agree_nothing, integer, ordinal, year


def _time(hour: int, minute: int, second: int | None) -> str:
    hours = integer(hour, "en")
    if minute == 0 and not second:
        return f"{hours} o'clock" if 1 <= hour <= 12 else f"{hours} hundred"
    minutes = f"oh {integer(minute, 'en')}" if 0 < minute < 10 else integer(minute, "en")
    return f"{hours} {minutes}" + (f" and {_seconds(second)}" if second is not None else "")


def _seconds(second: int) -> str:
    return f"{integer(second, 'en')} second{'s' if second != 1 else ''}"


def _year(number: int) -> str:
    return year(number, "en").replace(" and ", " ") if 2000 <= number <= 2009 else year(number, "en")


def _american(day: int, month: str, spoken_year: str) -> str:
    return f"{month} {ordinal(day, 'en')}" + (f", {spoken_year}" if spoken_year else "")


def _british(day: int, month: str, spoken_year: str) -> str:
    return f"the {ordinal(day, 'en')} of {month}" + (f", {spoken_year}" if spoken_year else "")


def _ordinal(number: int, suffix: str) -> str:
    return ordinal(number, "en")


AMERICAN = Language(
    code="en",
    locale="en_US",
    notation="point",
    agree=agree_nothing,
    point="point",
    minus="minus",
    percent="percent",
    per_mille="per mille",
    to="to",
    conjunction="and",
    slash="slash",
    at="at",
    dot="dot",
    hyphen="hyphen",
    underscore="underscore",
    number_sign="number",
    pair_decimals=False,
    month_first=True,
    currencies={
        "USD": Currency("dollar", "dollars", "cent", "cents"),
        "EUR": Currency("euro", "euros", "cent", "cents"),
        "GBP": Currency("pound", "pounds", "penny", "pence"),
        "BRL": Currency("real", "reais", "centavo", "centavos"),
        "JPY": Currency("yen", "yen"),
        "INR": Currency("rupee", "rupees", "paisa", "paise"),
    },
    scales={
        "trillion": "trillion",
        "billion": "billion",
        "million": "million",
        "thousand": "thousand",
        "k": "thousand",
        "K": "thousand",
        "M": "million",
        "m": "million",
        "B": "billion",
    },
    short_scales={"bn": ("billion", "billion"), "tn": ("trillion", "trillion")},
    per="per",
    times=("time", "times"),
    of_scale=lambda currency: currency,
    abbreviations={
        "dr.": "doctor",
        "mr.": "mister",
        "mrs.": "missus",
        "ms.": "miz",
        "prof.": "professor",
        "jr.": "junior",
        "sr.": "senior",
        "rev.": "reverend",
        "gen.": "general",
        "col.": "colonel",
        "capt.": "captain",
        "lt.": "lieutenant",
        "sgt.": "sergeant",
        "hon.": "honorable",
        "gov.": "governor",
        "sen.": "senator",
        "st.": "saint",
        "ave.": "avenue",
        "blvd.": "boulevard",
        "dept.": "department",
        "approx.": "approximately",
        "vs.": "versus",
        "etc.": "et cetera",
        "e.g.": "for example",
        "i.e.": "that is",
        "inc.": "incorporated",
        "ltd.": "limited",
        "corp.": "corporation",
        "co.": "company",
        "est.": "established",
        "mt.": "mount",
    },
    number_abbreviations={
        "p.": "page",
        "pp.": "pages",
        "vol.": "volume",
        "ch.": "chapter",
        "fig.": "figure",
        "Vol.": "volume",
        "Ch.": "chapter",
        "Fig.": "figure",
    },
    final_abbreviations=frozenset({"etc.", "inc.", "ltd.", "corp.", "co.", "jr.", "sr.", "ave.", "blvd.", "st."}),
    signs={
        "²": "squared",
        "³": "cubed",
        "§": "section",
        "§§": "sections",
        "±": "plus or minus",
        "&": "and",
        "@": "at",
        "#": "hash",
        "+": "plus",
        "=": "equals",
        "°": "degrees",
        "\u00d7": "times",
        "÷": "divided by",
    },
    time=_time,
    day_month=_american,
    ordinal=_ordinal,
    ordinal_suffixes="st|nd|rd|th",
    year=_year,
    year_before="in|since|until|till|by|from|before|after|during|of|year|around|circa|to|and",
    unit_names={
        "tsp": ("teaspoon", "teaspoons"),
        "tbsp": ("tablespoon", "tablespoons"),
        "hr": ("hour", "hours"),
        "hrs": ("hour", "hours"),
        "dB": ("decibel", "decibels"),
        "rpm": ("revolution per minute", "revolutions per minute"),
        "mph": ("mile per hour", "miles per hour"),
        "lbs": ("pound", "pounds"),
        "Mbps": ("megabit per second", "megabits per second"),
    },
    monarchs=frozenset(
        {
            "King",
            "Queen",
            "Pope",
            "Emperor",
            "Henry",
            "Louis",
            "Charles",
            "George",
            "Elizabeth",
            "Edward",
            "William",
            "James",
            "Richard",
            "Paul",
            "Philip",
            "Napoleon",
            "Pius",
            "Benedict",
            "Francis",
            "Peter",
            "Catherine",
            "Leo",
            "Gregory",
            "Alexander",
            "Nicholas",
            "John",
            "Frederick",
            "Ferdinand",
            "Innocent",
            "Clement",
            "Urban",
            "Ramesses",
            "Leopold",
            "Robert",
            "Alfonso",
            "Wilhelm",
            "Christian",
            "Constantine",
        }
    ),
)

BRITISH = replace(AMERICAN, locale="en_GB", month_first=False, day_month=_british)
