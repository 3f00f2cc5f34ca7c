"""The model, DVAE and clips that both trainers of ``benchmarks.training`` start from."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch

from serving.engines.xtts.checkpoint import quiet_transformers
from tests.factories.dataset import make_dataset
from tests.factories.dvae import cached_dvae
from tests.factories.xtts import VOCODER_WIDTH, cached_checkpoint

HEAD_CHANNELS = 64
"""Of an attention head, as in the released model."""


@dataclass(frozen=True, slots=True)
class Files:
    """``model`` is an XTTS directory, ``dataset`` a prepared one."""

    model: Path
    dvae: Path
    dataset: Path

    @classmethod
    def below(cls, folder: Path) -> Files:
        return cls(folder / "model", cached_dvae(), folder / "dataset")


def make_files(folder: Path, layers: int, channels: int, clips: int) -> Files:
    """Random weights of ``layers`` layers and ``channels`` channels, and ``clips`` clips of 1 to 11 s."""
    files = Files.below(folder)
    _make_model(files.model, layers, channels)
    make_dataset(files.dataset, clips, val=0)
    return files


def _make_model(directory: Path, layers: int, channels: int) -> None:
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.models import xtts

    source = cached_checkpoint("tiny")
    directory.mkdir(parents=True)
    shutil.copy(source / "vocab.json", directory)
    raw = json.loads((source / "config.json").read_text(encoding="utf-8"))
    raw["model_args"] |= {
        "gpt_layers": layers,
        "gpt_n_model_channels": channels,
        "gpt_n_heads": channels // HEAD_CHANNELS,
        "decoder_input_dim": channels,
    }
    (directory / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    config = XttsConfig()
    config.load_json(str(directory / "config.json"))
    vocoder = functools.partial(HifiDecoder, upsample_initial_channel_decoder=VOCODER_WIDTH["tiny"])
    with torch.random.fork_rng(devices=[]), patch.object(xtts, "HifiDecoder", vocoder), quiet_transformers():
        torch.manual_seed(0)
        model = xtts.Xtts(config)
        for block in model.gpt.conditioning_encoder.attn:
            block.proj_out.reset_parameters()  # fresh ones are zeros: its attention would have no part in the loss
    torch.save({"model": model.state_dict()}, directory / "model.pth")
