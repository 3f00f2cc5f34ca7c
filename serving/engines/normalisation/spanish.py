"""Spanish."""

from __future__ import annotations

import re

from serving.engines.normalisation import nouns
from serving.engines.normalisation.language import Currency, Language
from serving.engines.normalisation.numbers import Gender, agree_spanish, integer, ordinal


def _time(hour: int, minute: int, second: int | None) -> str:
    said = _count(hour, "hora", "horas", "f")
    if minute or second:
        said += f" y {_count(minute, 'minuto', 'minutos', 'm')}"
    return f"{said} y {_count(second, 'segundo', 'segundos', 'm')}" if second else said


def _count(number: int, one: str, many: str, gender: Gender) -> str:
    return f"{agree_spanish(integer(number, 'es'), number, gender)} {one if number == 1 else many}"


def _day_month(day: int, month: str, year: str) -> str:
    return f"{integer(day, 'es')} de {month}" + (f" de {year}" if year else "")


def _ordinal(number: int, suffix: str) -> str:
    words = ordinal(number, "es")
    if "er" in suffix:
        return re.sub(r"(primer|tercer)o$", r"\1", words)
    return re.sub(r"o\b", "a", words) if suffix.strip(".")[:1] in {"ª", "a"} else words


SPANISH = Language(
    code="es",
    locale="es",
    notation="comma, blanks",
    agree=agree_spanish,
    point="coma",
    minus="menos",
    percent="por ciento",
    per_mille="por mil",
    to="a",
    conjunction="con",
    slash="barra",
    at="arroba",
    dot="punto",
    hyphen="guion",
    underscore="guion bajo",
    number_sign="número",
    currencies={
        "EUR": Currency("euro", "euros", "céntimo", "céntimos"),
        "USD": Currency("dólar", "dólares", "centavo", "centavos"),
        "GBP": Currency("libra", "libras", "penique", "peniques", gender="f"),
        "BRL": Currency("real", "reales", "centavo", "centavos"),
        "JPY": Currency("yen", "yenes"),
        "INR": Currency("rupia", "rupias", gender="f"),
    },
    scales={"billones": "billones", "billón": "billón", "millones": "millones", "millón": "millón", "mil": "mil"},
    short_scales={"M": ("millón", "millones")},
    per="por",
    times=("vez", "veces"),
    of_scale=lambda currency: f"de {currency}",
    abbreviations={
        "sr.": "señor",
        "sra.": "señora",
        "srta.": "señorita",
        "sres.": "señores",
        "dr.": "doctor",
        "dra.": "doctora",
        "ud.": "usted",
        "uds.": "ustedes",
        "prof.": "profesor",
        "avda.": "avenida",
        "pág.": "página",
        "tel.": "teléfono",
        "etc.": "etcétera",
        "p. ej.": "por ejemplo",
        "núm.": "número",
        "cía.": "compañía",
        "d.ª": "doña",
        "a. c.": "antes de Cristo",
        "d. c.": "después de Cristo",
        "a.c.": "antes de Cristo",
        "d.c.": "después de Cristo",
        "ee. uu.": "Estados Unidos",
        "ee.uu.": "Estados Unidos",
        "s.a.": "S A",
    },
    number_abbreviations={
        "p.": "página",
        "pp.": "páginas",
        "págs.": "páginas",
        "cap.": "capítulo",
        "art.": "artículo",
        "vol.": "volumen",
        "fig.": "figura",
        "km": "kilómetro",
        "Cap.": "capítulo",
        "Art.": "artículo",
        "Vol.": "volumen",
        "Fig.": "figura",
    },
    final_abbreviations=frozenset({"etc.", "cía.", "a.c.", "d.c.", "a. c.", "d. c.", "ee. uu.", "ee.uu.", "s.a."}),
    signs={
        "²": "al cuadrado",
        "³": "al cubo",
        "&": "y",
        "§": "párrafo",
        "§§": "párrafos",
        "±": "más o menos",
        "@": "arroba",
        "#": "almohadilla",
        "+": "más",
        "=": "igual a",
        "°": "grados",
        "\u00d7": "por",
    },
    time=_time,
    day_month=_day_month,
    ordinal=_ordinal,
    behind_degrees=frozenset(
        {
            "a",
            "e",
            "o",
            "y",
            "en",
            "al",
            "hoy",
            "mañana",
            "ayer",
            "con",
            "pero",
            "para",
            "hasta",
            "por",
            "durante",
            "bajo",
            "grados",
        }
    ),
    ordinal_suffixes=r"\.?(?:[ºª°]|er\b)",
    feminine_units=frozenset({"h", "t", "oz", "lb", "mi", "mph", "kcal", "ha"}),
    unit_names={"dB": ("decibelio", "decibelios"), "kWh": ("kilovatio hora", "kilovatios hora")},
    centuries=("siglo", "siglos", r"s\."),
    monarchs=frozenset(
        {
            "Felipe",
            "Carlos",
            "Isabel",
            "Alfonso",
            "Juan",
            "Luis",
            "Enrique",
            "Pablo",
            "Pío",
            "Fernando",
            "Benedicto",
            "Sancho",
            "Jaime",
            "Pedro",
            "Alejandro",
            "Nicolás",
            "Federico",
            "Francisco",
            "León",
            "Gregorio",
            "Clemente",
            "Ramsés",
            "Guillermo",
            "Jorge",
            "Eduardo",
            "Ricardo",
            "Catalina",
            "Napoleón",
            "Leopoldo",
            "Maximiliano",
        }
    ),
    time_suffix=r"h(?:rs?|oras?)?",
    feminine_nouns=nouns.SPANISH,
    feminine_articles="las|a la",
    uncounted=(
        "al|de|del|el|la|los|las|lo|le|les|me|te|se|nos|su|sus|mi|mis|tu|tus|un|una|unos|unas|ella|ellas|ellos|"
        "este|esta|estos|estas|ese|esa|esos|esas|aquel|aquella|aquellas|eso|esto|cada|toda|todas|todo|todos|"
        "nuestra|nuestras|nuestro|nuestros|muchas|muchos|pocas|pocos|varias|varios|algunas|algunos|que|entre|"
        "sobre|desde|hasta|sin|con|por|para|tras|según|contra|bajo|ante|en|como|pero|cuando|donde|aunque|porque|"
        "si|no|ni|ya|aún|también|más|menos|mientras|además|después|antes|entonces|ahora|nunca|luego|muy|es|era|"
        "eran|fue|fueron|son|está|están|estaba|estaban|será|hay|había|han|ha|he|tiene|tenía|va|iba|puede|podía|"
        "debe|debía|hace|hacía|dice|quiere|quería|sería|viene|llega|sale|empieza|termina|acaba|trata|dos|tres|"
        r"seis|\w+(?:ó|aba|aron|ieron|ará|erá|irá)"
    ),
    numbered=(
        "el|al|del|la|autobús|línea|página|pág|capítulo|artículo|vuelo|canal|número|grupo|tipo|nivel|fase|etapa|"
        "fórmula|versión|pregunta|lote|sección|tabla|figura|anexo|volumen|lección|unidad|ejercicio|paso|"
        "(?:el|del) día"
    ),
    year_before="en|desde|hasta|año|años|tras|"
    "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre",
)
