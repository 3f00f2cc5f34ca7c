"""espeak-ng by ctypes."""

from __future__ import annotations

import numpy as np
import pytest

from serving.engines.espeak import library
from serving.errors import EngineError
from tests.audio_measure import is_silent


def test_languages_have_voice_identifiers_and_those_without_a_dictionary_are_left_out() -> None:
    languages = library.languages()

    assert languages["en-gb"] == "gmw/en"
    assert languages["fr-fr"] == "roa/fr"
    assert {"de", "cmn", "nb", "es-419"} <= set(languages)
    assert not {"fo", "kaa", "xex"} & set(languages)


def test_variants_are_the_numbered_ones() -> None:
    variants = library.variants()

    assert variants == tuple(sorted(variants))
    assert variants[0] == "f1"
    assert all(name[0] in "fm" and name[1:].isdigit() for name in variants)


def test_an_utterance_does_not_depend_on_the_one_before() -> None:
    first = library.synthesise("one two three", "gmw/en-US", "f1", 175)
    library.synthesise("eins zwei drei", "gmw/de", "m3", 450)

    assert not is_silent(first)
    assert np.array_equal(first, library.synthesise("one two three", "gmw/en-US", "f1", 175))


def test_words_a_minute_change_the_duration() -> None:
    slow, fast = (library.synthesise("one two three four", "gmw/en-US", "f1", rate) for rate in (80, 450))

    assert len(slow) > 2.5 * len(fast)


def test_an_unknown_voice_is_an_engine_error_and_the_next_call_works() -> None:
    with pytest.raises(EngineError, match="no/voice"):
        library.synthesise("hello", "no/voice", "f1", 175)

    assert not is_silent(library.synthesise("hello", "gmw/en-US", "f1", 175))
