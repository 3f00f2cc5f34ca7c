"""Numbers as they agree with what they count: "200 mulheres" is "duzentas", "em 2022 Lula" and "ônibus 200" are not."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language
from serving.engines.normalisation.numbers import Gender

# "2 ou 3 vezes" and "2 a 3 vezes": the first number counts what the second does.
_FOLLOWER = re.compile(
    r"(?P<span>[ ](?:a|ou|à|o|u)[ ]\d{1,3}(?=[ ]))?(?P<thousand>[ ]mil\b)?(?:[ ](?P<noun>[^\W\d_]{2,40})\b)?"
)
_YEAR = re.compile(r"1\d{3}|20\d\d")
# Behind "de" a year is as likely as a count, but of these there are no years.
_COUNTED = re.compile(
    r"pessoas|mulheres|crianças|vagas|horas|famílias|empresas|toneladas|personas|mujeres|plazas|familias"
)
_AMOUNTS = "mais|menos|cerca|perto|total|grupo|média|além|acima|abaixo|torno|más|media|alrededor|encima"
_OF = "".join(rf"(?<!\b{word}[ ])" for word in _AMOUNTS.split("|")) + "de"
_REACH = 32


def counting(language: Language) -> Callable[[re.Match[str]], str]:
    """Reads the group ``number`` of a match by the words around it; where they leave a doubt, nothing agrees."""
    feminine = language.feminine_nouns
    if feminine is None:
        return lambda match: language.read(match["number"])
    uncounted = re.compile(language.uncounted)
    named = re.compile(rf"(?<!\w)(?:{language.numbered})[ ]$", re.IGNORECASE) if language.numbered else None
    article = re.compile(rf"(?<!\w)(?:{language.feminine_articles})[ ]$", re.IGNORECASE)
    dated = re.compile(rf"(?<!\w)(?:{language.year_before}|(?P<of>{_OF}))[ ]$", re.IGNORECASE)

    def is_name(match: re.Match[str], noun: str) -> bool:
        before = match.string[max(0, match.start() - _REACH) : match.start()]
        if named is not None and named.search(before):
            return True
        date = dated.search(before) if _YEAR.fullmatch(match["number"]) else None
        return date is not None and not (date["of"] and _COUNTED.fullmatch(noun))

    def gender(match: re.Match[str], noun: str, *, thousands: bool) -> Gender:
        # Of one there is a singular, and of others a plural, which tells most nouns from verbs and pronouns.
        plural = noun.endswith(("s", "x"))
        if uncounted.fullmatch(noun) or (not plural and (thousands or match["number"] != "1")):
            return "m" if thousands else ""
        return "f" if feminine.fullmatch(noun) else "m"

    def read(match: re.Match[str]) -> str:
        follower = _FOLLOWER.match(match.string, match.end())
        assert follower is not None
        noun, thousands = follower["noun"] or "", follower["thousand"] is not None
        if language.feminine_articles and article.search(match.string[max(0, match.start() - _REACH) : match.start()]):
            return language.read(match["number"], "f")
        lower = noun.lower() if noun.isupper() and len(noun) > 3 else noun
        if (not thousands and not lower.islower()) or is_name(match, lower):
            return language.read(match["number"])
        if follower["span"] and not lower.endswith(("s", "x")):
            return language.read(match["number"])  # "1 a 0 sofrido"
        counted = gender(match, lower, thousands=thousands)
        if follower["span"] and counted == "m":
            return language.read(match["number"])  # "uno o dos libros", but "una o dos personas"
        return language.read(match["number"], counted)

    return read
