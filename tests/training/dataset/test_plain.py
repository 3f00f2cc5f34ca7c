"""Text for metadata.csv: one line, no bar, everything else as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidRequest
from training.dataset.plain import clean_text, read_text


@pytest.mark.parametrize(
    ("given_text", "clean"),
    [
        ("  Hello,\tWorld!\r\n", "Hello, World!"),
        ("a|b", "a b"),
        ("cafe\u0301", "caf\u00e9"),
        ("one\x00two\x07three", "one two three"),
        ("one\u2028two\u00a0three", "one two three"),
        ("\ufeffzero\u200bwidth\u00ad", "zerowidth"),
        ("\u0928\u094d\u200d", "\u0928\u094d\u200d"),  # the joiner is part of the spelling
    ],
)
def test_casing_and_punctuation_stay_and_what_breaks_a_line_goes(given_text: str, clean: str) -> None:
    assert clean_text(given_text) == clean


@given(st.text())
def test_any_text_ends_up_on_one_line_and_stays_when_cleaned_again(text: str) -> None:
    clean = clean_text(text)
    assert len(clean.splitlines()) <= 1
    assert "|" not in clean
    assert clean_text(clean) == clean


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_bytes("a|ä".encode("latin-1"))
    with pytest.raises(InvalidRequest, match=r"metadata\.csv is not UTF-8 \(byte 2\)"):
        read_text(path)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Hello".encode("utf-8-sig"))
    assert read_text(path) == "Hello"
