# ruff: noqa: RUF001  the punctuation of seventeen languages has look-alikes
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engines.text import split_text

LIMIT = 250


@pytest.mark.parametrize(
    "sentences",
    [
        ["Hello there.", "How are you?", "Fine!", "Well… Good."],
        ["Das ist gut.", "Wirklich?"],
        ["¿Cómo estás?", "¡Muy bien!", "Adiós."],
        ["Привет.", "Как дела?"],
        ["كيف حالك؟", "أنا بخير؛", "شكرا."],
        ["यह अच्छा है।", "धन्यवाद।"],
        ["안녕하세요.", "잘 지내요?"],
    ],
)
def test_sentences_end_at_the_punctuation_of_their_script(sentences: list[str]) -> None:
    expected = [part for sentence in sentences for part in sentence.replace("… ", "…|").split("|")]
    assert split_text(" ".join(sentences), LIMIT) == expected


def test_chinese_and_japanese_sentences_need_no_blank_between_them() -> None:
    assert split_text("你好。今天好吗？很好！", LIMIT) == ["你好。", "今天好吗？", "很好！"]
    assert split_text("「そうですか。」と言った。はい", LIMIT) == ["「そうですか。」", "と言った。", "はい"]


@pytest.mark.parametrize(
    "text",
    [
        "Pi is 3.14 and e.g. tau is 6.28, i.e. twice as much.",
        "Dr. No met J. R. R. Tolkien and Mrs. Smith.",
        "Am 3. Mai kommt Hr. Müller bzw. Frau Dr. Meier.",
        "Ask www.example.com for v1.2.3 of it.",
        "“Really?” he asked.",
        "« Vraiment ! » dit-il.",
        "Well... maybe.",
    ],
)
def test_a_stop_inside_a_sentence_does_not_end_it(text: str) -> None:
    assert split_text(text, LIMIT) == [text]


def test_closing_quotes_and_brackets_stay_with_their_sentence() -> None:
    assert split_text("He said “No.” Then he left (for good!). „Gut.“ »So.«", LIMIT)[:2] == [
        "He said “No.”",
        "Then he left (for good!).",
    ]
    assert split_text("« Bonjour ! » Il part.", LIMIT) == ["« Bonjour ! »", "Il part."]


def test_a_newline_ends_a_sentence_and_blank_text_has_none() -> None:
    assert split_text("Title\n\nText. More\r\nend", LIMIT) == ["Title", "Text.", "More", "end"]
    assert split_text(" \n\t ", LIMIT) == []
    assert split_text("", LIMIT) == []


def test_a_long_sentence_is_cut_at_a_clause_then_at_a_blank_then_hard() -> None:
    assert split_text("one two three, four five six seven", 20) == ["one two three,", "four five six seven"]
    assert split_text("one two three four five", 14) == ["one two three", "four five"]
    assert split_text("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert split_text("今天天气很好，我们去公园玩吧", 10) == ["今天天气很好，", "我们去公园玩吧"]


def test_a_hard_cut_keeps_marks_with_their_letter() -> None:
    pieces = split_text("कि" * 10, 5)
    assert all(not piece.startswith("ि") for piece in pieces)


@given(
    st.text(alphabet=st.one_of(st.characters(), st.sampled_from(" \n.,!?。،؟।\"'”»«aBб字1")), max_size=300),
    st.integers(1, 40),
)
def test_no_character_is_lost_or_moved_and_no_piece_is_too_long(text: str, limit: int) -> None:
    pieces = split_text(text, limit)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= limit and piece == piece.strip() for piece in pieces)


@pytest.mark.parametrize(
    "unit", ["a", " ", ".", '"', ". ", "a. ", ", ", "。", "a b. C ", "\n", "«! »", "ि", "1.", "e.g. ", ".»", "!?"]
)
@pytest.mark.parametrize("end", ["", "x"])
def test_a_megabyte_is_split_in_linear_time(unit: str, end: str) -> None:
    started = time.process_time()
    split_text(unit * (1_000_000 // len(unit)) + end, LIMIT)
    assert time.process_time() - started < 10
