"""Text in pieces becomes pieces worth speaking, and none of it is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.elevenlabs.assembling import TextBuffer


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def test_text_waits_until_it_has_the_schedules_length() -> None:
    buffer = TextBuffer((40, 60))
    assert buffer.add("One sentence here. ") == []
    assert buffer.add("And another one that is not whole") == ["One sentence here."]
    assert buffer.flush() == ["And another one that is not whole"]


def test_later_pieces_wait_for_more() -> None:
    buffer = TextBuffer((10, 60))
    assert buffer.add("Twelve chars. ") == ["Twelve chars."]
    assert buffer.add("Twelve chars. ") == []


def test_a_trigger_does_not_wait_but_for_a_sentence() -> None:
    buffer = TextBuffer((500,))
    assert buffer.add("Not yet a sen", trigger=True) == []
    assert buffer.add("tence. But ", trigger=True) == ["Not yet a sentence."]


def test_without_a_sentences_end_a_long_text_is_cut_behind_a_clause_or_a_word() -> None:
    assert TextBuffer((20,)).add("a clause that is long, and goes on") == ["a clause that is long,"]
    assert TextBuffer((20,)).add("words without any marks at all") == ["words without any marks at"]


def test_sentence_by_sentence_nothing_waits_for_a_length() -> None:
    buffer = TextBuffer((500,), by_sentence=True)
    assert buffer.add("Hi. ") == ["Hi."]
    assert buffer.add("How are ") == []
    assert buffer.add("you? ") == ["How are you?"]


@pytest.mark.parametrize("text", ["Pi is 3.", "Dr. ", "J. "])
def test_a_mark_that_may_not_end_a_sentence_is_waited_for(text: str) -> None:
    assert TextBuffer((500,), by_sentence=True).add(text) == []


def test_what_cannot_be_spoken_is_no_piece() -> None:
    buffer = TextBuffer((5,), by_sentence=True)
    assert buffer.add(" ... !!! ??? ") == []
    assert buffer.flush() == []


def test_a_text_without_blanks_is_cut_at_the_most_that_one_piece_may_have() -> None:
    pieces = TextBuffer((20,), most=50).add("x" * 120)
    assert [len(piece) for piece in pieces] == [50, 50]


def test_a_text_longer_than_a_piece_is_cut_between_words() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 10
    pieces = TextBuffer((20,), most=100).add(text)
    assert [len(words(piece)) % 9 for piece in pieces] == [0] * len(pieces)
    assert all(90 > len(piece) > 80 for piece in pieces)
    narrow = TextBuffer((20,), most=20)
    assert words(" ".join(narrow.add(text) + narrow.flush())) == words(text)


def test_marks_before_the_text_hold_nothing_up() -> None:
    assert TextBuffer((20,)).add("!!! words without any marks at all") == ["!!! words without any marks at"]
    assert words(" ".join(TextBuffer((20,), most=50).add("! " * 200 + "words at last, and more"))) == [
        "words",
        "at",
        "last",
    ]


@given(
    pieces=st.lists(st.text(alphabet="ab .,!?\n。", max_size=300), max_size=20),
    schedule=st.lists(st.integers(5, 60), min_size=1, max_size=3),
    by_sentence=st.booleans(),
    trigger=st.booleans(),
)
def test_every_letter_is_spoken_once_and_in_order(
    pieces: list[str], schedule: list[int], by_sentence: bool, trigger: bool
) -> None:
    buffer = TextBuffer(schedule, by_sentence=by_sentence, most=80)
    spoken = [each for piece in pieces for each in buffer.add(piece, trigger=trigger)] + buffer.flush()
    assert [c for c in "".join(spoken) if c.isalnum()] == [c for c in "".join(pieces) if c.isalnum()]
    if max(map(len, words("".join(pieces))), default=0) < 40:  # else a word may be longer than a piece
        assert words(" ".join(spoken)) == words("".join(pieces))
    assert all(len(each) <= 80 and any(map(str.isalnum, each)) for each in spoken)
