"""Roman numerals, where they can only be that: of centuries, of rulers, and of two letters behind a title."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import ordinal

_LETTERS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_ROMAN = r"(?:X{0,3}(?:IX|IV|V?I{1,3}|V)|X{1,3})"
_FEMININE = ("Elizabeth", "Elisabetta", "Élisabeth", "Maria", "Isabel", "Catherine", "Catarina", "Catalina", "Caterina")
_PARTS = (
    "War|Chapter|Part|Volume|Act|Book|Title|Article|Capítulo|Parte|Ato|Livro|Título|Tomo|Guerra|Mundial|Volume|"
    "Acto|Libro|Chapitre|Partie|Acte|Livre|mondiale|Capitolo|Atto|Kapitel|Teil|Band|"
    "Inciso|Anexo|Seção|Cena|Fase|Tipo|Tome|Scene|Phase|Type|Sección|Escena|Scena"
)
# "a II Guerra", "el XX Congreso": the article says the gender. A letter alone is a name elsewhere.
_NAMED = re.compile(
    r"(?P<before>\b(?:(?P<f>[Aa]|as|da|na|à|[Ll]a|della|nella|alla)|"
    r"[Oo]|[Ee]l|[Ii]l|do|no|ao|el|del|al|il|nel|dal)[ ])?"
    rf"\b(?P<roman>(?=[IVX]{{2}}|I[ ]G){_ROMAN})(?=[ ](?:[Gg]uerra[ ][Mm]ondiale\b|[A-ZÀ-Ý][a-zà-ÿ]{{3}}))"
)
_GERMAN = re.compile(
    r"(?P<dative>\b(?:von|mit|unter|bei|nach|zu)[ ](?:[A-ZÄÖÜ][a-zäöü]{2,20}[ ]){0,2})?"
    r"\b(?P<name>(?:Ludwig|Friedrich|Wilhelm|Karl|Heinrich|Otto|Benedikt|Paul|Pius|Johannes|Leo|Philipp|Georg|Leopold|Franz|"
    r"Joseph|Maximilian|Napoleon|Alexander|Nikolaus|Peter|Rudolf|Ferdinand|August|Gregor|(?P<f>Elisabeth|Katharina))"
    rf"(?P<genitive>s?))[ ](?![IVX]\.[ ][A-ZÄÖÜ])(?P<roman>{_ROMAN})\."
    r"(?P<ends>(?=\s*$|\n|[ ](?:Er|Sie|Es|Der|Die|Das|Ein|Eine|Im|In)\b))?"
)


def roman(language: Language) -> Callable[[str], str]:
    century = (
        re.compile(
            rf"\b(?P<before>{'|'.join(language.centuries)})[ ](?P<roman>{_ROMAN})\b"
            rf"(?:(?P<between>[ ]?[-\u2013][ ]?|[ ](?:e|y|a|al|ao)[ ])(?P<last>(?-i:{_ROMAN}))\b)?",
            re.IGNORECASE,
        )
        if language.centuries
        else None
    )
    french = re.compile(rf"\b(?P<roman>{_ROMAN})(?:e|ème|(?<=I)er)\b")
    italian = re.compile(rf"\b(?P<roman>{_ROMAN})(?=(?:[ ]e[ ]{_ROMAN})?[ ]secol[oi]\b)")
    month = re.compile(rf"\b(?P<roman>(?-i:{_ROMAN}))(?=[ ]de[ ](?:{'|'.join(language.months)})\b)", re.IGNORECASE)
    names = "|".join(sorted(language.monarchs, key=len, reverse=True))
    ruler = re.compile(rf"\b(?P<before>{names})[ ](?P<roman>{_ROMAN})\b") if names else None
    part = re.compile(rf"\b(?P<before>{_PARTS})[ ](?P<roman>{_ROMAN})\b(?!\.)", re.IGNORECASE)

    def nth(match: re.Match[str]) -> str:
        number, before = value(match["roman"]), match["before"]
        if match["roman"] == "I" and language.code == "en" and not _titled(match):
            return match[0]
        if language.code == "en":
            return f"{before} the {language.ordinal(number, '')}"
        if (language.code == "fr" and number > 1) or (number > 10 and language.code != "it"):
            return f"{before} {language.words(number)}"
        return f"{before} {language.ordinal(number, 'ª' if before in _FEMININE else 'º')}"

    def in_century(match: re.Match[str]) -> str:
        def said(written: str) -> str:
            number = value(written.upper())
            return language.words(number) if number > 10 and language.code != "it" else language.ordinal(number, "º")

        before = "siglo" if match["before"] == "s." else match["before"]
        if not match["last"]:
            return f"{before} {said(match['roman'])}"
        between = match["between"] if match["between"].strip().isalpha() else f" {language.to} "
        return f"{before} {said(match['roman'])}{between}{said(match['last'])}"

    def named(match: re.Match[str]) -> str:
        number, before = value(match["roman"]), match["before"] or ""
        if not before and not (number < 4 and match.string.startswith("uerra", match.end() + 2)):
            return match[0]
        return f"{before}{language.ordinal(number, 'ª' if match['f'] or not before else 'º')}"

    def numbered(match: re.Match[str]) -> str:
        if match["roman"].upper() == "I" and language.code == "en" and match["before"].islower():
            return match[0]  # "the part I like"
        return f"{match['before']} {language.words(value(match['roman'].upper()))}"

    def apply(text: str) -> str:
        if language.code == "fr":
            text = french.sub(lambda match: language.ordinal(value(match["roman"]), "e"), text)
        elif language.code == "it":
            text = italian.sub(lambda match: language.ordinal(value(match["roman"]), "º"), text)
        elif language.code == "de":
            text = _GERMAN.sub(_the_nth, text)
        if century is not None:
            text = century.sub(in_century, text)
        if ruler is not None:
            text = ruler.sub(nth, text)
        if language.code in {"pt_BR", "pt", "es", "it"}:
            text = _NAMED.sub(named, month.sub(lambda match: language.words(value(match["roman"].upper())), text))
        return part.sub(numbered, text)

    return apply


def value(numeral: str) -> int:
    numbers = [_LETTERS[letter] for letter in numeral]
    following = [*numbers[1:], 0]
    return sum(-one if one < after else one for one, after in zip(numbers, following, strict=True))


def _the_nth(match: re.Match[str]) -> str:
    """ "Ludwig der Vierzehnte", "von Ludwig dem Vierzehnten", "Ludwigs des Vierzehnten"."""
    words = ordinal(value(match["roman"]), "de").capitalize()
    stop = "." if match["ends"] is not None else ""
    if match["genitive"]:
        return f"{match['dative'] or ''}{match['name']} {'der' if match['f'] else 'des'} {words}n{stop}"
    if match["dative"]:
        return f"{match['dative']}{match['name']} {'der' if match['f'] else 'dem'} {words}n{stop}"
    return f"{match['name']} {'die' if match['f'] else 'der'} {words}{stop}"


def _titled(match: re.Match[str]) -> bool:
    """ "Queen Elizabeth I": the name alone could be followed by the pronoun."""
    before = match.string[max(0, match.start() - 12) : match.start()]
    return re.search(r"\b(?:King|Queen|Pope|Emperor|Tsar) $", before) is not None
