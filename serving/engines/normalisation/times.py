"""Times of the day."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language

_CLOCK = r"(?<![\w:.,/-])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?(?![\d:])"
_HALF = r"(?:[ ]?(?P<half>[AaPp])\.?[ ]?[Mm]\b(?P<stop>\.(?=\s*$|\s+[A-Z]))?\.?)"
_SPAN = re.compile(r"(\d:\d\d|\d[ ]?h(?:\d\d)?)[ ]?[-\u2013][ ]?(?=\d{1,2}(?::\d\d|[ ]?h))")
_ENGLISH_SPAN = re.compile(
    r"(?<![\w:.,/$€£-])(\d{1,2}(?::\d\d)?(?:[ ]?[AaPp]\.?[ ]?[Mm]\b\.?)?)[ ]?[-\u2013][ ]?"
    r"(?=\d{1,2}(?::\d\d)?[ ]?[AaPp]\.?[ ]?[Mm]\b)"
)
_DOT = {
    language: re.compile(
        rf"(?:(?P<lead>\b(?i:{lead})[ ])|(?<![\w:.,/-]))(?P<hour>[01]?\d|2[0-4])\.(?P<minute>[0-5]\d)"
        r"(?(lead)(?!\w|[.,:]\d|[ ]?[%€$£])(?![ ](?:mil|mille|mila|milh|mill|euro|reais|libra|d[óo]lar))|(?=[ ]?h\b))"
    )
    for language, lead in {"es": "las?", "it": "alle|dalle|delle|ore", "pt": "às|das"}.items()
}
"""A full stop for the colon: only behind what is said before an hour, or before its letter."""
_ALWAYS = {
    "fr": (
        (re.compile(r"\b(\d{1,2})[ ]?h(?:eures)?[ ]?/[ ]?24\b"), r"\1 heures sur 24"),
        (re.compile(r"\b(\d)[ ]?j(?:ours)?[ ]?/[ ]?7\b"), r"\1 jours sur 7"),
    ),
    "it": (
        (re.compile(r"\b(\d{1,2})[ ]?(?:h|ore)[ ]?/[ ]?24\b"), r"\1 ore su 24"),
        (re.compile(r"\b(\d)[ ]?g(?:iorni)?[ ]?/[ ]?7\b"), r"\1 giorni su 7"),
    ),
}
"""24h/24 and 7j/7."""
_GERMAN_DOT = re.compile(r"(?<![\w:.,/-])(?P<hour>[01]?\d|2[0-4])[.:](?P<minute>[0-5]\d)[ ]Uhr\b")


def times(language: Language) -> Callable[[str], str]:
    suffix = language.time_suffix
    if language.code == "en":
        return _english(language)
    clock = re.compile(_CLOCK + (rf"(?:[ ]?{suffix}\b)?" if suffix else ""))

    def said(match: re.Match[str]) -> str:
        second = match["second"] if "second" in match.re.groupindex else None
        minute = match["minute"] if "minute" in match.re.groupindex else None
        return language.time(int(match["hour"]), int(minute or 0), int(second) if second else None)

    letters = _letters(language)
    dot = _DOT.get(language.code.partition("_")[0])
    always = _ALWAYS.get(language.code, ())
    until = rf"\1 {language.to} "

    def apply(text: str) -> str:
        text = _SPAN.sub(until, text)
        for pattern, words in always:
            text = pattern.sub(words, text)
        if dot:
            text = dot.sub(lambda match: f"{match['lead'] or ''}{match['hour']}:{match['minute']}", text)
        if language.code == "de":
            text = _GERMAN_DOT.sub(said, text)
        text = clock.sub(said, text)
        for pattern in letters:
            text = pattern.sub(said, text)
        if language.code == "it":
            return re.sub(r"\b(alle|dalle|delle|le|ore) ore (?=\w)", r"\1 ", text, flags=re.IGNORECASE)
        return text

    return apply


def _letters(language: Language) -> tuple[re.Pattern[str], ...]:
    """14h30, 14 h 30, 14h and 14h30min."""
    hour = r"(?<![\w:.,/-])(?P<hour>[01]?\d|2[0-4])"
    if language.code == "de":
        return (re.compile(hour + r"[ ]Uhr(?:[ ](?P<minute>[0-5]\d)\b)?(?!\w)"),)
    if language.code == "it":
        return ()
    return (
        re.compile(hour + r"[ ]?h[ ]?(?P<minute>[0-5]\d)(?:[ ]?m(?:in)?\b)?(?![\w:])"),
        re.compile(hour + r"h(?:s|rs)?\b(?!/)"),
    )


def _english(language: Language) -> Callable[[str], str]:
    clock = re.compile(_CLOCK + _HALF + "?")
    bare = re.compile(r"(?<![\w:.,/$€£-])(?P<hour>1[0-2]|[1-9])" + _HALF)

    def said(match: re.Match[str]) -> str:
        hour = int(match["hour"])
        minute = int(match["minute"]) if "minute" in match.re.groupindex else 0
        second = match["second"] if "second" in match.re.groupindex else None
        if not match["half"]:
            return language.time(hour, minute, int(second) if second else None)
        spoken = (
            language.words(hour)
            if not minute and not second
            else language.time(hour, minute, int(second) if second else None)
        )
        return f"{spoken} {match['half'].upper()} M{match['stop'] or ''}"

    return lambda text: bare.sub(said, clock.sub(said, _SPAN.sub(r"\1 to ", _ENGLISH_SPAN.sub(r"\1 to ", text))))
