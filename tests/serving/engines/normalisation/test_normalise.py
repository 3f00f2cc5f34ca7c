from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engines.normalisation import LANGUAGES, normalise
from tests.serving.engines.normalisation import cases_en, cases_others, cases_pt

TABLES = {
    "en": cases_en.CASES,
    "en-GB": cases_en.BRITISH,
    "pt-BR": cases_pt.CASES,
    "pt-PT": cases_pt.EUROPEAN,
    "es": cases_others.SPANISH,
    "fr": cases_others.FRENCH,
    "de": cases_others.GERMAN,
    "it": cases_others.ITALIAN,
}
CASES = [(language, *case) for language, table in TABLES.items() for case in table]


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_a_text_is_read_as_people_say_it(language: str, written: str, spoken: str) -> None:
    assert normalise(written, language) == spoken


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_what_is_in_words_stays(language: str, written: str, spoken: str) -> None:
    assert normalise(spoken, language) == spoken


@pytest.mark.parametrize("language", ["pl", "zh-cn", "ja", "tr", "xx"])
def test_other_languages_are_left_to_the_engine(language: str) -> None:
    assert normalise("R$ 5 & 24/11/2026", language) == "R$ 5 & 24/11/2026"


@pytest.mark.parametrize("language", LANGUAGES)
def test_lines_and_plain_words_come_back_as_they_are(language: str) -> None:
    text = "Olá mundo, isto é um teste.\n\nThe second  line — goes on… “quoted”!\n"
    assert normalise(text, language) == text


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@given(text=st.text(alphabet=string.printable + "ãéº°ª€£§½–−  XVI", max_size=60))  # noqa: RUF001
@settings(max_examples=25)
def test_no_digit_is_left_and_no_word_is_lost(language: str, text: str) -> None:
    spoken = normalise(text, language)
    assert not re.search("[0-9]", spoken)
    words = re.findall(r"(?<![^\s])[b-z]{4,}(?![^\s])", text)
    known = {word.strip(".") for word in ("mille", "mila", "thousand", "mil")}
    assert all(word in spoken for word in words if word not in known)


@pytest.mark.parametrize("language", ["en", "pt", "fr"])
@pytest.mark.parametrize(
    "piece", ["1", "1.", "1,", "1-", "1/", "a.", "a", "@", "a@", "www.", "R$", "$1", "1 000 ", "X", "I", "1:", " ", "º"]
)
def test_long_texts_of_anything_is_read_in_linear_time(language: str, piece: str) -> None:
    """A pattern that backtracked over the whole text would run into the time limit of the tests."""
    normalise(piece * (2**15 // len(piece)), language)


@pytest.mark.parametrize(
    ("language", "piece"),
    [("pt-BR", "a@"), ("pt-BR", "1."), ("pt-BR", "XI"), ("de", "123."), ("fr", "123 "), ("es", "123 123 123 € ")],
)
def test_a_megabyte_is_read_within_the_time_of_a_test(language: str, piece: str) -> None:
    normalise(piece * (2**20 // len(piece)), language)
