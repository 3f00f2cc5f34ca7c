"""A dvae.pth with seeded random weights, in the released format and size (211 MB), built when it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from serving.engines.espeak.library import synthesise
from tests.factories.cache import cached
from training.xtts.dvae import build_dvae

CODES = 1024
TEXT = (
    "The quick brown fox jumps over the lazy dog; pack my box with five dozen jugs of liquor. How vexingly zebras jump!"
)
VOICES = ("f1", "f3", "m1", "m4", "m7", "f5", "m2", "f2")


def make_dvae(path: Path, *, seed: int = 0) -> Path:
    """Write ``path``; the codebook is what the random encoder makes of speech, so that codes follow the audio."""
    from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = build_dvae().eval()
        speech = np.concatenate([synthesise(TEXT, "gmw/en", voice, 150) for voice in VOICES])
        mel = TorchMelSpectrogram(mel_norm_file=None, sampling_rate=22050)(torch.from_numpy(speech)[None])
        heard = model.encoder(mel)[0]  # [512, codes]
        assert heard.shape[1] >= CODES
        centre, spread = heard.mean(1, keepdim=True), heard.std()
        last = model.encoder[-1]
        last.weight /= spread
        last.bias.sub_(centre[:, 0]).div_(spread)
        chosen = torch.randperm(heard.shape[1])[:CODES]
        model.codebook.embed.copy_((heard[:, chosen] - centre) / spread)
        model.codebook.embed_avg.copy_(model.codebook.embed)
        torch.save(model.state_dict(), path)
    return path


def cached_dvae() -> Path:
    """One file for all tests, workers and processes of this user; read-only by convention."""
    return cached("xtts-dvae", [Path(__file__)], lambda directory: make_dvae(directory / "dvae.pth")) / "dvae.pth"
