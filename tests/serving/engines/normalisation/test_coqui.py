"""Beside the front end of XTTS, coqui's ``VoiceBpeTokenizer``: it reads our words as they are."""

from __future__ import annotations

import re

import pytest
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

from serving.engines.normalisation import normalise
from tests.serving.engines.normalisation.test_normalise import TABLES


@pytest.fixture(scope="module")
def tokenizer() -> VoiceBpeTokenizer:
    return VoiceBpeTokenizer()


def folded(text: str) -> str:
    return re.sub(r"\s+", " ", text.lower()).strip()


@pytest.mark.parametrize("language", TABLES)
def test_coqui_s_tokenizer_has_nothing_left_to_expand(tokenizer: VoiceBpeTokenizer, language: str) -> None:
    for written, _ in TABLES[language]:
        spoken = folded(normalise(written, language))
        assert folded(tokenizer.preprocess_text(spoken, language.partition("-")[0])) == spoken


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "There were 50 soldiers."),
        ("en", "This is a 1st test."),
        ("en", "That will be $20 sir."),
        ("fr", "En 12,5 secondes."),
        ("fr", "Cela vous fera 20,15€ monsieur."),
        ("de", "In 12,5 Sekunden."),
        ("es", "Hay 50 soldados."),
        ("pt", "Em 50 soldados."),
        ("it", "Ci sono 50 soldati."),
    ],
)
def test_what_coqui_reads_well_is_read_alike(tokenizer: VoiceBpeTokenizer, language: str, text: str) -> None:
    assert (
        folded(normalise(text, language)).split()[-1] == folded(tokenizer.preprocess_text(text, language)).split()[-1]
    )
    if language != "fr":
        assert folded(normalise(text, language)) == folded(tokenizer.preprocess_text(text, language))
