"""Portuguese: of Brazil, and of Portugal by its tag."""

from __future__ import annotations

import re
from dataclasses import replace

from serving.engines.normalisation import nouns
from serving.engines.normalisation.language import Currency, Language
from serving.engines.normalisation.numbers import agree_portuguese, integer, ordinal


def _time(hour: int, minute: int, second: int | None) -> str:
    parts = [_count(hour, "hora", "f")]
    if minute or second:
        parts.append(_count(minute, "minuto", "m"))
    if second:
        parts.append(_count(second, "segundo", "m"))
    return " e ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} e {parts[2]}"


def _count(number: int, noun: str, gender: str) -> str:
    words = agree_portuguese(integer(number, "pt_BR"), number, "f" if gender == "f" else "m")
    return f"{words} {noun}{'' if (number in {0, 1} and noun == 'hora') or number == 1 else 's'}"


def _day_month(day: int, month: str, year: str) -> str:
    said = "primeiro" if day == 1 else integer(day, "pt_BR")
    return f"{said} de {month}" + (f" de {year}" if year else "")


def _ordinal(number: int, suffix: str) -> str:
    words = ordinal(number, "pt_BR")
    feminine = suffix[:1] in {"ª", "a"}
    words = re.sub(r"o\b", "a", words) if feminine else words
    return re.sub(r"([oa])\b", r"\1s", words) if suffix.endswith("s") else words


BRAZILIAN = Language(
    code="pt_BR",
    locale="pt_BR",
    notation="comma",
    agree=agree_portuguese,
    point="vírgula",
    minus="menos",
    percent="por cento",
    per_mille="por mil",
    to="a",
    conjunction="e",
    slash="barra",
    at="arroba",
    dot="ponto",
    hyphen="hífen",
    underscore="sublinhado",
    number_sign="número",
    currencies={
        "BRL": Currency("real", "reais", "centavo", "centavos"),
        "USD": Currency("dólar", "dólares", "centavo", "centavos"),
        "EUR": Currency("euro", "euros", "centavo", "centavos"),
        "GBP": Currency("libra", "libras", "pêni", "pence", gender="f"),
        "JPY": Currency("iene", "ienes"),
        "INR": Currency("rupia", "rupias", gender="f"),
    },
    scales={
        "trilhões": "trilhões",
        "trilhão": "trilhão",
        "bilhões": "bilhões",
        "bilhão": "bilhão",
        "milhões": "milhões",
        "milhão": "milhão",
        "mil": "mil",
        "k": "mil",
    },
    short_scales={"mi": ("milhão", "milhões"), "bi": ("bilhão", "bilhões"), "tri": ("trilhão", "trilhões")},
    of_scale=lambda currency: f"de {currency}",
    abbreviations={
        "dr.": "doutor",
        "dra.": "doutora",
        "sr.": "senhor",
        "sra.": "senhora",
        "srs.": "senhores",
        "sras.": "senhoras",
        "srta.": "senhorita",
        "exmo.": "excelentíssimo",
        "exma.": "excelentíssima",
        "ilmo.": "ilustríssimo",
        "ilma.": "ilustríssima",
        "prof.ª": "professora",
        "profa.": "professora",
        "prof.": "professor",
        "eng.": "engenheiro",
        "av.": "avenida",
        "tel.": "telefone",
        "pág.": "página",
        "págs.": "páginas",
        "p. ex.": "por exemplo",
        "etc.": "etcétera",
        "obs.": "observação",
        "cia.": "companhia",
        "ltda.": "limitada",
        "séc.": "século",
        "cap.": "capítulo",
        "art.": "artigo",
        "apto.": "apartamento",
        "ap.": "apartamento",
        "jr.": "júnior",
        "máx.": "máximo",
        "mín.": "mínimo",
        "dep.": "deputado",
        "gov.": "governador",
        "pres.": "presidente",
        "pe.": "padre",
        "sto.": "santo",
        "sta.": "santa",
        "a.c.": "antes de Cristo",
        "d.c.": "depois de Cristo",
        "s.a.": "S A",
        "s/a": "S A",
        "c/": "com",
        "p/": "para",
        "s/": "sem",
        "s/n": "sem número",
        "v. exa.": "vossa excelência",
        "aprox.": "aproximadamente",
        "dr.ª": "doutora",
        "sr.ª": "senhora",
    },
    number_abbreviations={
        "p.": "página",
        "pp.": "páginas",
        "pg.": "página",
        "vol.": "volume",
        "n.": "número",
        "fig.": "figura",
        "km": "quilômetro",
        "arts.": "artigos",
        "Vol.": "volume",
        "Fig.": "figura",
    },
    final_abbreviations=frozenset({"etc.", "cia.", "ltda.", "jr.", "a.c.", "d.c.", "s.a."}),
    signs={
        "²": "ao quadrado",
        "³": "ao cubo",
        "§": "parágrafo",
        "§§": "parágrafos",
        "±": "mais ou menos",
        "&": "e",
        "@": "arroba",
        "#": "cerquilha",
        "+": "mais",
        "=": "igual a",
        "°": "graus",
        "\u00d7": "vezes",
        "÷": "dividido por",
    },
    time=_time,
    day_month=_day_month,
    ordinal=_ordinal,
    behind_degrees=frozenset(
        {
            "a",
            "e",
            "o",
            "à",
            "ou",
            "em",
            "no",
            "na",
            "ao",
            "às",
            "hoje",
            "amanhã",
            "ontem",
            "com",
            "mas",
            "para",
            "até",
            "pela",
            "durante",
            "graus",
        }
    ),
    ordinal_suffixes="[ºª°](?:s\\b)?|\\.[ºª]|(?:o|a|os|as)\\b",
    feminine_units=frozenset({"h", "rpm", "t", "oz", "lb", "mi", "mph", "kcal"}),
    dollar="USD",
    unit_names={
        "dB": ("decibel", "decibéis"),
        "rpm": ("rotação por minuto", "rotações por minuto"),
        "t": ("tonelada", "toneladas"),
        "Mbps": ("megabit por segundo", "megabits por segundo"),
        "kcal": ("quilocaloria", "quilocalorias"),
        "kW": ("quilowatt", "quilowatts"),
        "kWh": ("quilowatt-hora", "quilowatts-hora"),
    },
    centuries=("século", "séculos"),
    monarchs=frozenset(
        {
            "Pedro",
            "João",
            "Luís",
            "Henrique",
            "Carlos",
            "Manuel",
            "Maria",
            "Isabel",
            "Elizabeth",
            "Bento",
            "Paulo",
            "Pio",
            "Filipe",
            "Afonso",
            "Napoleão",
            "Guilherme",
            "Jorge",
            "Leão",
            "Francisco",
            "José",
            "Ramsés",
            "Alexandre",
            "Nicolau",
            "Ricardo",
            "Eduardo",
            "Fernando",
            "Catarina",
            "Frederico",
            "Gregório",
            "Clemente",
            "Inocêncio",
            "Felipe",
            "Sancho",
            "Dinis",
            "Duarte",
            "Sebastião",
        }
    ),
    time_suffix=r"h(?:oras?|rs?|s)?",
    feminine_nouns=nouns.PORTUGUESE,
    feminine_articles="às|as|das|nas|pelas|à",
    uncounted=(
        "da|na|as|das|nas|para|uma|umas|mas|cada|pela|pelas|ela|elas|essa|essas|esta|estas|aquela|aquelas|nessa|"
        "nesta|naquela|nestas|nessas|toda|todas|nossa|nossas|minha|minhas|sua|suas|tua|tuas|muita|muitas|pouca|"
        "poucas|várias|algumas|quantas|apenas|contra|acerca|agora|ainda|embora|fora|nunca|era|eram|foram|havia|"
        "tinha|seria|estava|esteve|está|ficava|passava|vinha|podia|devia|fazia|dizia|queria|sabia|ia|há|começa|"
        "termina|acaba|fica|passa|conta|trata|ganha|marca|mostra|indica|fala"
    ),
    numbered=(
        "o|no|do|ao|pelo|na|da|ônibus|autocarro|linha|página|pág|capítulo|artigo|voo|canal|número|nota|grupo|"
        "tipo|nível|fase|etapa|fórmula|versão|questão|lote|seção|tabela|figura|anexo|volume|(?:no|do|o) dia"
    ),
    year_before="em|desde|até|ano|anos|após|"
    "janeiro|fevereiro|março|abril|maio|junho|julho|agosto|setembro|outubro|novembro|dezembro",
)

EUROPEAN = replace(
    BRAZILIAN,
    code="pt",
    locale="pt_PT",
    number_abbreviations={**BRAZILIAN.number_abbreviations, "km": "quilómetro"},
    currencies={
        **BRAZILIAN.currencies,
        "EUR": Currency("euro", "euros", "cêntimo", "cêntimos"),
        "USD": Currency("dólar", "dólares", "cêntimo", "cêntimos"),
    },
    short_scales={"mi": ("milhão", "milhões"), "M": ("milhão", "milhões")},
    scales={"biliões": "biliões", "bilião": "bilião", "milhões": "milhões", "milhão": "milhão", "mil": "mil"},
)
