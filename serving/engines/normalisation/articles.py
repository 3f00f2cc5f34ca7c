"""One of something in German and Italian, where it is an article: "eine Stunde", "vor einem Jahr", "un'ora"."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language

_ONE = r"(?P<before>\b[^\W\d_]{1,30}['’]?[ ]?)?(?<![\w.,/:-])1[ ]"  # noqa: RUF001

DE_FEMININE = (
    r"Million|Milliarde|Billion|Stunde|Minute|Sekunde|Woche|Nacht|Person|Frau|Tonne|Flasche|Tasse|Packung|Portion|Dose|"
    r"Runde|Chance|Frage|Stimme|Mark|Meile|Hand|Tür|Karte|Tablette|Scheibe|Prise|Reihe|Firma|Familie|Schule|Stadt|"
    r"Klasse|Etage|Ausgabe|Auflage|Staffel|Folge|Seite|Hälfte|Liga|Bundesliga|Kreisliga|Regionalliga|"
    r"[A-ZÄÖÜ]\w{2,30}(?:ung|heit|keit|schaft|tion|tät)"
)
DE_MASCULINE = (
    r"Tag|Monat|Meter|Kilometer|Zentimeter|Liter|Euro|Dollar|Cent|Franken|Punkt|Mann|Mensch|Platz|Teil|Grad|Löffel|"
    r"Esslöffel|Teelöffel|Becher|Schritt|Fall|Satz|Gast|Teilnehmer|Spieler|Hund|Kaffee|Apfel"
)
DE_NEUTER = (
    r"Jahr|Jahrhundert|Jahrzehnt|Kind|Kilogramm|Kilo|Gramm|Pfund|Prozent|Stück|Mal|Buch|Bier|Glas|Zimmer|Haus|Auto|Tor|"
    r"Spiel|Bett|Ei|Viertel|Drittel|Wort|Mädchen|Kapitel|Semester|Quartal|Gebot|Paar|Gigabyte|Megabyte"
)
_DATIVE = frozenset({"vor", "nach", "seit", "mit", "von", "bei", "aus", "zu", "binnen", "in"})
_ACCUSATIVE = frozenset({"für", "um", "ohne", "gegen", "durch", "pro"})
_DE_NAMES = frozenset(
    {
        "kapitel",
        "nummer",
        "nr",
        "seite",
        "teil",
        "platz",
        "phase",
        "gruppe",
        "stufe",
        "typ",
        "linie",
        "der",
        "die",
        "das",
    }
)

_IT_OTHER = (
    r"\w*(?:emma|amma|ema|oma|ista|eta)|alla|dalla|della|nella|sulla|fra|tra|contro|dopo|prima|sopra|senza|verso|ma|era|"
    r"sono|hanno|fa|ha|va|sta|da|la|lo|una|uno|ogni|quest[ao]|quell[ao]|loro|su[ao]|mi[ao]|tu[ao]|nostr[ao]|tutt[ao]|"
    r"quando|quanto|ancora|molto|tanto|meno|dentro|adesso|subito|allora|stat[ao]|\w+ava"
)
_IT_FEMININE = (
    r"notte|parte|fonte|chiave|voce|luce|classe|madre|moglie|rete|nave|legge|serie|specie|mano|foto|moto|auto|"
    rf"\w{{2,30}}(?:zione|sione|gione|tà|tudine|trice)|(?!(?:{_IT_OTHER})\b)\w{{2,30}}a"
)
_IT_MASCULINE = (
    r"milione|mese|paese|nome|cane|bicchiere|studente|problema|programma|sistema|tema|film|gol|punto|computer|bar|"
    rf"\w{{3,30}}(?:ore|ale|iere|lione)|(?!(?:{_IT_OTHER})\b)\w{{2,30}}o"
)
_IT_NAMES = frozenset(
    {
        "numero",
        "pagina",
        "capitolo",
        "articolo",
        "parte",
        "gruppo",
        "tipo",
        "livello",
        "fase",
        "classe",
        "canale",
        "volume",
    }
    | {
        "formula",
        "serie",
        "stanza",
        "binario",
        "linea",
        "punto",
        "versione",
        "categoria",
        "girone",
        "il",
        "lo",
        "la",
        "al",
    }
    | {"del", "nel", "dal", "sul", "alle", "ore"}
)
_IT_UNO = re.compile(r"s[^aeiouàèéìòù]|z|gn|ps|pn|x|y")


def articles(language: Language) -> Callable[[str], str]:
    """Nothing for other languages, whose numbers agree (``counting``)."""
    if language.code == "de":
        return _german()
    return _italian() if language.code == "it" else lambda text: text


def _german() -> Callable[[str], str]:
    one = re.compile(rf"{_ONE}(?=(?:(?P<f>{DE_FEMININE})|(?P<m>{DE_MASCULINE})|(?P<n>{DE_NEUTER}))\b)")

    def article(match: re.Match[str]) -> str:
        before = match["before"] or ""
        word = before.strip().lower()
        if word in _DE_NAMES:
            return match[0]
        if word in _DATIVE:
            ending = "er" if match["f"] else "em"
        else:
            ending = "e" if match["f"] else "en" if match["m"] and word in _ACCUSATIVE else ""
        return f"{before}ein{ending} "

    return lambda text: one.sub(article, text)


def _italian() -> Callable[[str], str]:
    one = re.compile(rf"{_ONE}(?=(?P<noun>(?:(?P<f>{_IT_FEMININE})|(?P<m>{_IT_MASCULINE}))\b))")

    def article(match: re.Match[str]) -> str:
        before, noun = match["before"] or "", match["noun"]
        if before.strip().lower() in _IT_NAMES:
            return match[0]
        if match["f"]:
            return f"{before}un'" if noun[0] in "aeiou" else f"{before}una "
        return f"{before}uno " if _IT_UNO.match(noun) else f"{before}un "

    return lambda text: one.sub(article, text)
