"""Voices as ``ingest`` writes them, made of uploads with random weights."""

from __future__ import annotations

from pathlib import Path

from serving.engines.conversion import ConversionVoice
from serving.engines.rvc.voices import ingest
from tests.factories.faiss_index import build_index, feature_vectors, write_index
from tests.factories.rvc import USUAL, Variant, make_voice


def make_ingested(directory: Path, variant: Variant = USUAL, *, seed: int = 0, index: bool = True) -> ConversionVoice:
    """A voice below ``directory``, with an index of 200 vectors unless not wanted."""
    voice = directory / "voice"
    voice.mkdir(parents=True)
    file = None
    if index:
        vectors = feature_vectors(200, variant.features, seed=seed)
        file = write_index(directory / "added.index", build_index(vectors, "IVF4,Flat"))
    facts = ingest(make_voice(directory / "upload.pth", variant, seed=seed), file, voice)
    assert facts.index_vectors == (200 if index else 0)
    return ConversionVoice(directory.name, voice, facts.sample_rate)
