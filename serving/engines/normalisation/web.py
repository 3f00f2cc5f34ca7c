"""E-mail addresses and URLs, as they are dictated."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}(?![\w@])")
_URL = re.compile(
    r"(?<![\w.@-])(?:https?://|www\.)[^\s<>\"'()\[\]]{1,500}[^\s<>\"'()\[\].,;:!?…]"
    r"|(?<![\w.@-])(?:[a-z0-9-]{2,63}\.){1,3}(?:com|org|net|io|dev|gov|edu|ai|app|pt|br|fr|de|es|it|uk)\b"
    r"(?:/[\w./%-]{0,200}[\w/])?(?![\w@])",
    re.IGNORECASE,
)
_MENTION = re.compile(r"(?<![\w.@/])@\w(?:[\w.]{0,62}\w)?(?![\w@])")
_HASHTAG = re.compile(r"(?<![\w&/#])#(?=[^\W\d_])")
_YEAR = re.compile(r"(?:19|20)\d\d")
_PART = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")


def web(language: Language) -> Callable[[str], str]:
    said = {
        "@": language.at,
        ".": language.dot,
        "/": language.slash,
        "-": language.hyphen,
        "_": language.underscore,
        "&": language.signs["&"],
        "+": language.signs["+"],
        "=": language.signs["="],
        "#": language.signs["#"],
        "%": language.percent,
    }

    def word(part: str) -> str:
        if part.isdecimal() and part.isascii():
            # In words at once: beside the words of signs, later passes would take "1 dot" for a counted noun.
            return language.year_words(part) if _YEAR.fullmatch(part) else language.read(part)
        return "W W W" if part.lower() == "www" else said.get(part, part)

    def dictate(match: re.Match[str]) -> str:
        address = re.sub(r"^https?://", "", match[0], flags=re.IGNORECASE).rstrip("/")
        parts = _PART.findall(address)
        return " ".join(word(part) for part in parts)

    def apply(text: str) -> str:
        if "@" in text:
            text = _MENTION.sub(dictate, _EMAIL.sub(dictate, text))
        text = _HASHTAG.sub("hashtag ", text)
        return _URL.sub(dictate, text) if "." in text else text

    return apply
