"""What ``benchmarks.rvc`` converts with: shared networks, and voices as users have them and as ours stores them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.rvc_oracle import RawVoice
from serving.audio.pcm import Pcm
from serving.engines.conversion import ConversionVoice
from serving.engines.rvc.shared import CONTENT_DIRECTORY, RMVPE_FILE
from serving.engines.rvc.voices import ingest
from tests.factories.faiss_index import build_index, feature_vectors, write_index
from tests.factories.hubert import cached_content_encoder
from tests.factories.rmvpe import cached_rmvpe
from tests.factories.rvc import Size, make_voice

VECTORS = {"full": 30_000, "tiny": 200}
"""Of an index; ten minutes of recordings."""

LISTS = {"full": 769, "tiny": 5}
"""As RVC chooses them: a list for every 39 vectors at most."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice for both."""

    raw: RawVoice
    own: ConversionVoice


def make_shared(folder: Path, size: Size) -> Path:
    """``models/shared`` of a volume, with random weights: a content encoder and RMVPE."""
    folder.mkdir()
    (folder / CONTENT_DIRECTORY).symlink_to(cached_content_encoder(size))
    (folder / RMVPE_FILE).symlink_to(cached_rmvpe(size))
    return folder


def make_voices(folder: Path, size: Size, count: int) -> list[Voice]:
    """v2, 40 kHz, with pitch; all have the same index, whose vectors are halves so that both read the same."""
    vectors = feature_vectors(VECTORS[size], 768).astype(np.float16).astype(np.float32)
    index = write_index(folder / "added.index", build_index(vectors, f"IVF{LISTS[size]},Flat"))
    voices = []
    for number in range(count):
        weights = make_voice(folder / f"{number}.pth", size=size, seed=number)
        directory = folder / str(number) / "voice"
        directory.mkdir(parents=True)
        facts = ingest(weights, index, directory)
        own = ConversionVoice(str(number), directory, facts.sample_rate)
        voices.append(Voice(RawVoice(weights, index), own))
    return voices


def sung(seconds: float, seed: int = 0) -> Pcm:
    """Something like a voice at 16 kHz: a gliding tone with overtones, which comes and goes, in a little noise.

    At both ends, and a second from them, where a mirrored second of context ends, there is silence: so it does not
    matter whether it is filtered before or after mirroring.
    """
    time = np.arange(round(seconds * 16000)) / 16000
    phase = np.cumsum(2 * np.pi * (140 + 10 * seed + 40 * np.sin(2 * np.pi * 0.7 * time)) / 16000)
    tone = np.sum([np.sin(number * phase) / number for number in range(1, 12)], 0)
    pcm = tone * (0.5 + 0.5 * np.sin(2 * np.pi * 1.7 * time))
    pcm += 0.02 * np.random.default_rng(seed).standard_normal(len(pcm))
    edge = np.minimum(time, time[::-1])
    for silence in (0.0, 1.0):
        pcm *= np.clip((np.abs(edge - silence) - 0.25) / 0.05, 0, 1)
    return np.asarray(0.3 * pcm / np.abs(pcm).max(), np.float32)
