"""Roman numerals, where they can only be that: of centuries, of rulers, and of two letters behind a title."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language

_LETTERS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_ROMAN = r"(?:X{0,3}(?:IX|IV|V?I{1,3}|V)|X{1,3})"
_FEMININE = ("Elizabeth", "Elisabetta", "Élisabeth", "Maria", "Isabel", "Catherine")
_PARTS = (
    "War|Chapter|Part|Volume|Act|Book|Title|Article|Capítulo|Parte|Ato|Livro|Título|Tomo|Guerra|Mundial|Volume|"
    "Acto|Libro|Chapitre|Partie|Acte|Livre|mondiale|Capitolo|Atto|Kapitel|Teil|Band"
)


def roman(language: Language) -> Callable[[str], str]:
    century = (
        re.compile(
            rf"\b(?P<before>{'|'.join(language.centuries)})[ ](?P<roman>{_ROMAN})\b"
            rf"(?:[ ]?[-\u2013][ ]?(?P<last>{_ROMAN})\b)?",
            re.IGNORECASE,
        )
        if language.centuries
        else None
    )
    french = re.compile(rf"\b(?P<roman>{_ROMAN})(?:e|ème|er)(?=[ ]siècles?\b)")
    italian = re.compile(rf"\b(?P<roman>{_ROMAN})(?=[ ]secolo\b)")
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
            return language.words(number) if number > 10 else language.ordinal(number, "º")

        last = f" {language.to} {said(match['last'])}" if match["last"] else ""
        return f"{match['before']} {said(match['roman'])}{last}"

    def apply(text: str) -> str:
        if language.code == "fr":
            text = french.sub(lambda match: language.ordinal(value(match["roman"]), "e"), text)
        elif language.code == "it":
            text = italian.sub(lambda match: language.ordinal(value(match["roman"]), "º"), text)
        elif century is not None:
            text = century.sub(in_century, text)
        if ruler is not None:
            text = ruler.sub(nth, text)
        return part.sub(lambda match: f"{match['before']} {language.words(value(match['roman'].upper()))}", text)

    return apply


def value(numeral: str) -> int:
    numbers = [_LETTERS[letter] for letter in numeral]
    following = [*numbers[1:], 0]
    return sum(-one if one < after else one for one, after in zip(numbers, following, strict=True))


def _titled(match: re.Match[str]) -> bool:
    """ "Queen Elizabeth I": the name alone could be followed by the pronoun."""
    before = match.string[max(0, match.start() - 12) : match.start()]
    return re.search(r"\b(?:King|Queen|Pope|Emperor|Tsar) $", before) is not None
