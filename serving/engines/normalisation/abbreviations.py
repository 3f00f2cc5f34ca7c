"""Abbreviations in full, and the number sign before a number."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from serving.engines.normalisation.language import Language

_NUMBER_SIGN = re.compile(r"(?<!\w)(?:[nN]\.?[º°]|Nos?\.|[nN][rR]\.|[nN]úm\.|№|#)[ ]?(?=\d)")
_ENDS = re.compile(r"\s*$|\s+[^\W\d_]")
_STREET = re.compile(r"[A-Z][\w'’-]{1,40} $")  # noqa: RUF001
_DOM = re.compile(r"(?<![\w.@/])D\.[ ](?P<name>[A-ZÀ-Ý][a-zà-ÿ]{2,20})\b")
_DONAS = frozenset({"Isabel", "Inês", "Beatriz", "Leonor", "Ester", "Raquel", "Alice", "Ivone", "Carmen"})
_LETTERED = re.compile(
    r"\b(?:opção|letra|alternativa|item|vitamina|classe|grupo|turma|série|bloco|ponto|nota|anexo|figura|tipo)[ ]$"
)
"""What a letter may be the name of: "a opção D. Pedro saiu"."""
_NAME = re.compile(r"\b[A-ZÀ-Ý][a-zà-ÿ]{2,20}[ ]$")
_ROAD = re.compile(
    r"(?:^|(?<=\b[nd]a )|(?<=\bpela )|(?<=\b[àa] ))R\.[ ]"
    r"(?=(?:[A-ZÀ-Ý]\w{1,20}[ ]|d[aeo]s?[ ]){0,5}[A-ZÀ-Ý]\w{1,20},[ ]?(?:n[º°]?\.?[ ]?)?\d{1,5}(?!\d|[ ]anos))",
    re.MULTILINE,
)
_SAINT = re.compile(r"\s[A-Z]")


def abbreviations(language: Language) -> Callable[[str], str]:
    table = language.abbreviations
    words = sorted(table, key=len, reverse=True)
    # A blank inside of one may be left out or be a narrow one.
    forms = [re.escape(word).replace(r"\ ", r"[ \u00a0\u202f]?") for word in words]
    stopped = "|".join(form for form in forms if form.endswith("."))
    start = r"(?<![\w.@/])"
    pattern = re.compile(rf"{start}(?:{'|'.join(forms)})(?!\w)|{start}(?:{stopped})(?=[^\W\d_])", re.IGNORECASE)
    spaced = {re.sub(r"\s", "", word): full for word, full in table.items()}
    final = {re.sub(r"\s", "", word) for word in language.final_abbreviations}

    numbered = language.number_abbreviations
    names = "|".join(re.escape(name) for name in numbered)
    before_number = re.compile(
        rf"(?<![\w.@/])(?<!\d[ \u00a0\u202f])(?:{names})(?:(?<=\.)[ \u00a0]?|[ \u00a0])(?=\d|[IVX]{{1,6}}\b(?!\.))"
    )

    def name(match: re.Match[str]) -> str:
        full = numbered[match[0].rstrip()]
        return f"{full[0].upper()}{full[1:]} " if match.start() == 0 else f"{full} "

    def expand(match: re.Match[str]) -> str:
        key = re.sub(r"\s", "", match[0].lower())
        full = spaced[key]
        rest = match.string[match.end() : match.end() + 8]
        if key == "st." and language.code == "en" and not (_SAINT.match(rest) and not _follows_name(match)):
            full = "street"
        if match[0] == "M." and language.code == "fr" and not _SAINT.match(rest):
            return match[0]
        if match[0] in {"m.", "mm.", "ms."} or rest[:1].islower():
            return match[0]
        if match[0][0].isupper() and full[0].islower() and match.start() == 0:
            full = full[0].upper() + full[1:]
        if rest[:1].isalpha():
            return f"{full} "
        ends = key in final and full.lower() != "saint" and key.endswith(".") and _closes(rest)
        # "Co. Ltd." is no end of a sentence.
        return f"{full}." if ends and not pattern.match(match.string, match.end() + 1) else full

    def apply(text: str) -> str:
        if language.locale.startswith("pt"):
            text = _ROAD.sub("Rua ", _DOM.sub(partial(_dom, language), text))
        return _NUMBER_SIGN.sub(f"{language.number_sign} ", pattern.sub(expand, before_number.sub(name, text)))

    return apply


def _dom(language: Language, match: re.Match[str]) -> str:
    """ "D. Pedro" and "D. Maria"; "João D. Silva" has an initial."""
    name = match["name"]
    before = match.string[max(0, match.start() - 24) : match.start()].lstrip("\n")
    if _LETTERED.search(before) or (name not in language.monarchs and _NAME.search(before)):
        return match[0]
    return f"{'Dona' if name.endswith('a') or name in _DONAS else 'Dom'} {name}"


def _follows_name(match: re.Match[str]) -> bool:
    """ "Main St.", not "in St. Louis"."""
    before = match.string[max(0, match.start() - 42) : match.start()]
    return _STREET.search(before) is not None and bool(re.search(r"\d+ [A-Z]\S* $", before))


def _closes(rest: str) -> bool:
    """Whether the full stop of an abbreviation ends its sentence too."""
    following = _ENDS.match(rest)
    return following is not None and (not following[0].strip() or following[0].strip().isupper())
