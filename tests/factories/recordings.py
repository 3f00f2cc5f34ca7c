"""What users record: espeak-ng counts, with silence around it and between, and datasets to prepare."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from serving.audio.pcm import Pcm
from serving.audio.wav import wav_bytes
from serving.engines.espeak.library import SAMPLE_RATE, synthesise
from serving.store.dataset_files import DatasetSpec
from serving.store.volume import Volume
from tests.factories.xtts import cached_checkpoint

CONSENT = "Anna agreed by mail on 2026-03-02 that her voice is trained."
COUNTS = (
    "One two three four five.",
    "Twelve eleven ten nine.",
    "Seven and eight and nine and ten.",
    "Forty two, forty three, forty four.",
    "Six hundred and sixty.",
    "Two times two is four.",
    "Eleven and twelve and thirteen.",
    "Nineteen, eighteen, seventeen.",
    "Five plus five is ten.",
    "Three four five six seven eight.",
)


@functools.cache
def spoken(text: str, voice: str = "m3") -> Pcm:
    """``text`` [samples] at 22,050 Hz with 0.4 s of silence around it; shared, so copy before writing to it."""
    quiet = np.zeros(round(0.4 * SAMPLE_RATE), np.float32)
    pcm: Pcm = np.concatenate([quiet, synthesise(text, "gmw/en", voice, 150), quiet])
    pcm.setflags(write=False)
    return pcm


def silence(seconds: float) -> Pcm:
    """[samples] at 22,050 Hz."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def write_wav(path: Path, pcm: Pcm) -> Path:
    """``pcm`` at 22,050 Hz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav_bytes(pcm, SAMPLE_RATE))
    return path


def make_volume(root: Path) -> Volume:
    """A volume with the tiny XTTS model as xtts_v2, revision r1."""
    volume = Volume(root)
    volume.create()
    models = volume.models("xtts", "xtts_v2")
    models.mkdir(parents=True)
    (models / "r1").symlink_to(cached_checkpoint("tiny"))
    return volume


def make_raw(dataset: Path, texts: tuple[str, ...] = COUNTS) -> Path:
    """raw/ in LJSpeech's format; returns it."""
    raw = dataset / "raw"
    for number, text in enumerate(texts):
        write_wav(raw / "wavs" / f"n{number:02}.wav", spoken(text))
    lines = [f"n{number:02}|{text}" for number, text in enumerate(texts)]
    (raw / "metadata.csv").write_text("\n".join([*lines, ""]))
    return raw


def a_spec(**fields: object) -> DatasetSpec:
    """Of the dataset acme/anna, in English."""
    values = {"tenant": "acme", "name": "anna", "language": "en", "consent": CONSENT, **fields}
    return DatasetSpec.model_validate(values)
