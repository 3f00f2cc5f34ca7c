from typing import Any

import pytest

from serving.engines.xtts.checkpoint import LoadedXtts
from serving.engines.xtts.text import TextFrontEnd, join_short
from serving.errors import InvalidRequest


@pytest.fixture
def front_end(loaded: LoadedXtts) -> TextFrontEnd:
    return TextFrontEnd(loaded.model.tokenizer, loaded.config.languages, loaded.config.model_args.gpt_max_text_tokens)


@pytest.mark.parametrize(("code", "expected"), [("en", "en"), ("EN-us", "en"), ("pt_BR", "pt"), ("ko-KR", "ko")])
def test_regions_and_case_do_not_matter(front_end: TextFrontEnd, code: str, expected: str) -> None:
    assert front_end.language(code) == expected


@pytest.mark.parametrize("code", ["xx", "", "english", "en;rm"])
def test_an_unknown_language_is_refused_with_the_known_ones(front_end: TextFrontEnd, code: str) -> None:
    with pytest.raises(InvalidRequest, match="en, es, fr") as caught:
        front_end.language(code)
    assert caught.value.param == "language"


def test_a_language_whose_package_is_missing_is_neither_offered_nor_spoken(
    front_end: TextFrontEnd, loaded: LoadedXtts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.engines.xtts.text.EXTRAS", {"zh": "no_such_package"})
    limited = TextFrontEnd(loaded.model.tokenizer, loaded.config.languages, 402)
    assert "zh-cn" not in limited.languages
    assert "ja" in limited.languages
    with pytest.raises(InvalidRequest, match="no_such_package") as caught:
        limited.language("zh-CN")
    assert caught.value.param == "language"


def test_a_language_for_which_the_front_end_has_no_rules_is_neither_offered_nor_spoken(loaded: LoadedXtts) -> None:
    wider = TextFrontEnd(loaded.model.tokenizer, [*loaded.config.languages, "vi"], 402)
    assert set(wider.languages) <= set(loaded.config.languages)
    with pytest.raises(InvalidRequest, match="'vi' is not one this model speaks"):
        wider.language("vi")


def test_pieces_keep_the_text_in_order_and_have_coqui_s_tokens(front_end: TextFrontEnd, loaded: LoadedXtts) -> None:
    text = "This is the first sentence here. And this is the second of them! " * 10
    pieces = front_end.pieces(text, "en")
    assert " ".join(piece.text for piece in pieces) == text.strip()
    assert all(len(piece.text) <= 250 for piece in pieces)
    expected = [tuple(loaded.model.tokenizer.encode(piece.text.lower(), "en")) for piece in pieces]
    assert [piece.tokens for piece in pieces] == expected
    assert len(set(expected)) == len({piece.text for piece in pieces})


@pytest.mark.parametrize("text", ["", " \n", "...", "?!", "“”", "😀"])
def test_text_without_words_is_refused(front_end: TextFrontEnd, text: str) -> None:
    with pytest.raises(InvalidRequest, match="no words") as caught:
        front_end.pieces(text, "en")
    assert caught.value.param == "input"


@pytest.mark.parametrize(("language", "text"), [("hi", "14 बैटरी"), ("cs", "Bylo 12.")])
def test_numbers_that_the_front_end_cannot_read_out_are_the_input_s_fault(
    front_end: TextFrontEnd, language: str, text: str
) -> None:
    with pytest.raises(InvalidRequest, match="as words") as caught:
        front_end.pieces(text, language)
    assert caught.value.param == "input"


def test_a_piece_with_too_many_tokens_is_halved_until_it_fits(front_end: TextFrontEnd) -> None:
    pieces = front_end.pieces("1234567 and 7654321, " * 11, "en")
    assert len(pieces) > 1
    assert all(0 < len(piece.tokens) < 402 for piece in pieces)


def test_a_word_that_can_never_fit_is_refused(loaded: LoadedXtts) -> None:
    tiny: Any = TextFrontEnd(loaded.model.tokenizer, ["en"], max_tokens=2)
    with pytest.raises(InvalidRequest, match="tokens") as caught:
        tiny.pieces("hello", "en")
    assert caught.value.param == "input"


def test_sentences_of_a_word_are_joined_to_a_neighbour_within_the_limit() -> None:
    long = "This sentence is long enough to stand alone."
    assert join_short([long, "Yes.", "No.", long], 240) == [f"{long} Yes. No.", long]
    assert join_short(["Yes.", long], 240) == [f"Yes. {long}"]
    assert join_short(["x" * 19, "y" * 230], 240) == ["x" * 19, "y" * 230]
