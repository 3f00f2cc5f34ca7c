"""The passes in their order: each leaves words, which no later one reads again."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from serving.engines.normalisation.abbreviations import abbreviations
from serving.engines.normalisation.articles import articles
from serving.engines.normalisation.codes import codes
from serving.engines.normalisation.dates import dates
from serving.engines.normalisation.decades import decades
from serving.engines.normalisation.durations import durations
from serving.engines.normalisation.english import AMERICAN, BRITISH
from serving.engines.normalisation.french import FRENCH
from serving.engines.normalisation.german import GERMAN
from serving.engines.normalisation.halves import halves
from serving.engines.normalisation.italian import ITALIAN
from serving.engines.normalisation.language import Language
from serving.engines.normalisation.measures import measures
from serving.engines.normalisation.money import money
from serving.engines.normalisation.notation import notation
from serving.engines.normalisation.ordinals import ordinals
from serving.engines.normalisation.pairs import pairs
from serving.engines.normalisation.plain import plain
from serving.engines.normalisation.portuguese import BRAZILIAN, EUROPEAN
from serving.engines.normalisation.roman import roman
from serving.engines.normalisation.scales import scales
from serving.engines.normalisation.spanish import SPANISH
from serving.engines.normalisation.times import times
from serving.engines.normalisation.web import web

LANGUAGES = {
    "en": AMERICAN,
    "en-gb": BRITISH,
    "en-au": BRITISH,
    "en-nz": BRITISH,
    "en-ie": BRITISH,
    "en-in": BRITISH,
    "pt": BRAZILIAN,
    "pt-pt": EUROPEAN,
    "es": SPANISH,
    "fr": FRENCH,
    "de": GERMAN,
    "it": ITALIAN,
}
"""By language tag in lower case; other tags of these languages are read by the language alone."""

Pass = Callable[[str], str]

_BLANKS = re.compile(r"[ ]{2,}")
_PASSES = (
    web,
    abbreviations,
    codes,
    durations,
    decades,
    dates,
    pairs,
    times,
    scales,
    notation,
    money,
    halves,
    measures,
    roman,
    ordinals,
    articles,
    plain,
)


def normalise(text: str, language: str) -> str:
    """``text`` as it is spoken in ``language`` (a tag such as "pt-BR"); unchanged for languages not in LANGUAGES.

    Lines stay lines, and words stay as they are. A text of plain words comes back as it is.
    """
    tag = language.lower().replace("_", "-")
    found = LANGUAGES.get(tag) or LANGUAGES.get(tag.partition("-")[0])
    if found is None:
        return text
    spoken = text
    for each in _compiled(found.locale):
        spoken = each(spoken)
    return text if spoken == text else _BLANKS.sub(" ", spoken)


@lru_cache
def _compiled(locale: str) -> tuple[Pass, ...]:
    language: Language = next(each for each in LANGUAGES.values() if each.locale == locale)
    return tuple(make(language) for make in _PASSES)
