"""Prepared datasets: clips that espeak-ng speaks, and their metadata.csv."""

from __future__ import annotations

import random
from pathlib import Path

from serving.audio.wav import wav_bytes
from serving.engines.espeak.library import SAMPLE_RATE, synthesise
from tests.factories.cache import cached
from training.dataset.metadata import CLIPS, Clip, Split, write_metadata

VOICE = "m3"
WORDS = """
morning light river stone quiet window garden letter silver train market winter summer yellow mountain bread music
friend corner paper bridge answer valley candle story island harbour little open carry follow remember never always
behind between under around slowly bright and the of to with from
"""
LONGEST_S = 11.5
"""Longer clips are left out of training."""


def make_dataset(
    directory: Path, clips: int = 24, *, val: int = 4, seed: int = 0, shortest_s: float = 1.2, longest_s: float = 11.0
) -> Path:
    """Write ``clips`` clips of ``shortest_s`` to ``longest_s`` seconds to ``directory``; the last ``val`` validate.

    Lengths are spread evenly over that range, in an order drawn by ``seed``; texts are words drawn by it.
    """
    chance = random.Random(seed)
    (directory / CLIPS).mkdir(parents=True, exist_ok=True)
    goals = [shortest_s + (longest_s - shortest_s) * (number + 0.5) / clips for number in range(clips)]
    chance.shuffle(goals)
    made = []
    for number, goal in enumerate(goals):
        text = _text(chance, goal)
        pcm = synthesise(text, "gmw/en", VOICE, 150)[: int(LONGEST_S * SAMPLE_RATE)]
        path = directory / CLIPS / f"clip_{number:04}.wav"
        path.write_bytes(wav_bytes(pcm, SAMPLE_RATE))
        split: Split = "val" if number >= clips - val else "train"
        made.append(Clip(path.stem, path, text, "speaker", "en", split, len(pcm) / SAMPLE_RATE))
    write_metadata(directory, made)
    return directory


def cached_dataset(clips: int = 24, *, val: int = 4, shortest_s: float = 1.2, longest_s: float = 11.0) -> Path:
    """A dataset shared by all tests, workers and processes of this user; read-only by convention: copy to change.

    Its metadata.csv names the clips relative to itself, so a copy is a dataset too.
    """
    name = f"dataset-{clips}-{val}-{shortest_s:g}-{longest_s:g}"

    def build(directory: Path) -> None:
        make_dataset(directory, clips, val=val, shortest_s=shortest_s, longest_s=longest_s)

    return cached(name, [Path(__file__)], build)


def _text(chance: random.Random, seconds: float) -> str:
    """As many words as espeak-ng says in about ``seconds``."""
    words = chance.choices(WORDS.split(), k=max(1, round(seconds * 3.0 - 1)))
    return f"{' '.join(words).capitalize()}."
