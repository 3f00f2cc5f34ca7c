from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.engines.pronunciation import FILE, Pronunciation, pronounce


def entries(*pairs: tuple[str, str], **fields: object) -> tuple[Pronunciation, ...]:
    return tuple(Pronunciation.model_validate({"word": word, "spoken": said, **fields}) for word, said in pairs)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("kubectl is here", "cube control is here"),
        ("Use KUBECTL, or kubectl.", "Use cube control, or cube control."),
        ("kubectls and mykubectl stay", "kubectls and mykubectl stay"),
        ("São Paulo e SÃO PAULO", "sampa e sampa"),
        ("São  Paulo, São\nPaulo", "sampa, sampa"),
        ("São Paulo FC", "o time"),
        ("Sa\u0303o Paulo", "sampa"),
        ("C++ and C", "see plus plus and C"),
        ("nothing to replace", "nothing to replace"),
    ],
)
def test_whole_words_and_phrases_are_replaced_the_longest_first(text: str, spoken: str) -> None:
    said = entries(
        ("kubectl", "cube control"), ("São Paulo", "sampa"), ("São Paulo FC", "o time"), ("C++", "see plus plus")
    )
    assert pronounce(text, "en", said) == spoken


def test_what_was_replaced_is_not_replaced_again() -> None:
    assert pronounce("a b", "en", entries(("a", "b"), ("b", "a"))) == "b a"


def test_case_counts_where_it_is_asked_for() -> None:
    said = entries(("US", "united states"), case_sensitive=True)
    assert pronounce("US told us", "en", said) == "united states told us"


def test_a_longer_word_in_another_case_does_not_hide_a_shorter_one() -> None:
    said = (*entries(("US Army", "the army"), case_sensitive=True), *entries(("us", "you and me")))
    assert pronounce("us army", "en", said) == "you and me army"


@pytest.mark.parametrize(("language", "fits"), [("pt", True), ("pt-BR", True), ("pt-PT", False), ("en", False)])
def test_an_entry_of_a_language_counts_only_there(language: str, fits: bool) -> None:
    said = entries(("X", "xis"), language="pt-BR")
    assert (pronounce("X", language, said) == "xis") is fits


@pytest.mark.parametrize("bad", ["klingon", "portuguese", "pt BR", "pt-", "12"])
def test_a_language_that_is_no_code_is_refused(bad: str) -> None:
    with pytest.raises(ValidationError, match="write pt, or pt-BR"):
        entries(("a", "b"), language=bad)


def test_a_request_s_entries_go_before_the_voice_s(tmp_path: Path) -> None:
    file = tmp_path / "pronunciations.json"
    file.write_bytes(FILE.dump_json(entries(("a", "voice"), ("b", "bee"))))
    assert pronounce("a b", "en", entries(("a", "request")), file) == "request bee"


def test_a_voice_s_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "pronunciations.json"
    for said in ("one", "another"):
        fresh = tmp_path / "new"
        fresh.write_bytes(FILE.dump_json(entries(("a", said))))
        fresh.replace(file)
        assert pronounce("a", "en", (), file) == said
    file.unlink()
    assert pronounce("a", "en", (), file) == "a"


def test_a_torn_file_says_nothing_and_speech_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "pronunciations.json"
    file.write_text('[{"word": "a"')
    assert pronounce("a", "en", (), file) == "a"
    assert str(file) in caplog.text


def test_a_thousand_entries_are_one_pattern() -> None:
    said = entries(*((f"word{number}", f"said{number}") for number in range(1000)))
    assert pronounce("word999 word1 word10 word1000", "en", said) == "said999 said1 said10 word1000"


@pytest.mark.parametrize("bad", ["", "...", "a\0b", "x" * 101])
def test_a_word_that_cannot_be_matched_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="word"):
        Pronunciation.model_validate({"word": bad, "spoken": "a"})
