"""coqui's own ``GPTTrainer``: its model, dataset, collation, features and optimizer, without its ``Trainer`` around."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.training_files import Files
from serving.audio.wav import read_wav
from serving.engines.xtts.checkpoint import quiet_transformers
from training.dataset.metadata import read_metadata
from training.xtts.base import PREFIX
from training.xtts.batches import STRIDE, Length


class CoquiTrainer:
    """What one process of coqui's recipe does, in float32. ``random`` draws its clips, with replacement.

    Only what reads a file is replaced: torchaudio's ``load`` wants FFmpeg's libraries.
    """

    def __init__(self, files: Files, folder: Path, device: torch.device) -> None:
        from TTS.tts.layers.xtts.trainer import dataset
        from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.model: Any = GPTTrainer(_config(files, folder)).to(device)
        self.optimizer = self.model.get_optimizer()
        self._device = device
        self._patch = patch.object(dataset, "load_audio", _load_audio)
        self._patch.start()
        samples = [
            {"audio_file": str(clip.path), "text": clip.text, "language": clip.language, "speaker_name": clip.speaker}
            for clip in read_metadata(files.dataset)
        ]
        threads = torch.get_num_threads()
        self._data = dataset.XTTSDataset(self.model.config, samples, self.model.xtts.tokenizer, 22050)
        torch.set_num_threads(threads)  # importing its dataset sets it to 1
        self.model.eval()
        self.model.xtts.gpt.train()

    def close(self) -> None:
        self._patch.stop()

    def batches(self, count: int, size: int) -> Iterator[dict[str, Any]]:
        """``count`` batches of ``size`` clips with all that a step needs, on the device."""
        for _ in range(count):
            raw = self._data.collate_fn([self._data[0] for _ in range(size)])  # it ignores the index
            placed = {key: value.to(self._device) if hasattr(value, "to") else value for key, value in raw.items()}
            yield self.model.format_batch_on_device(placed)

    def lengths(self, batch: dict[str, Any]) -> list[Length]:
        """What the clips of ``batch`` take, without its padding."""
        samples, texts = batch["wav_lengths"].tolist(), batch["text_lengths"].tolist()
        return [Length("", text, -(-count // STRIDE), count) for text, count in zip(texts, samples, strict=True)]

    def losses(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of text and audio, weighted."""
        cut = batch["cond_idxs"]  # GPT.forward divides it in place
        _, parts = self.model.train_step({**batch, "cond_idxs": None if cut is None else cut.clone()}, None)
        return parts["loss_text_ce"], parts["loss_mel_ce"]

    def step(self, batch: dict[str, Any]) -> None:
        sum(self.losses(batch)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _config(files: Files, folder: Path) -> Any:
    from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTArgs, GPTTrainerConfig
    from TTS.tts.models.xtts import XttsAudioConfig

    state = torch.load(files.model / "model.pth", mmap=True, weights_only=True)["model"]
    torch.save({key.removeprefix(PREFIX): state[key] for key in state if key.startswith(PREFIX)}, folder / "gpt.pth")
    torch.save(state["mel_stats"].clone(), folder / "mel_stats.pth")
    released = json.loads((files.model / "config.json").read_text(encoding="utf-8"))
    arguments = GPTArgs(
        **released["model_args"],
        tokenizer_file=str(files.model / "vocab.json"),
        mel_norm_file=str(folder / "mel_stats.pth"),
        dvae_checkpoint=str(files.dvae),
        gpt_checkpoint=str(folder / "gpt.pth"),
    )
    return GPTTrainerConfig(
        model_args=arguments,
        audio=XttsAudioConfig(sample_rate=22050, dvae_sample_rate=22050, output_sample_rate=24000),
        optimizer="AdamW",
        optimizer_wd_only_on_weights=True,
        optimizer_params={"betas": [0.9, 0.96], "eps": 1e-8, "weight_decay": 1e-2},
        lr=5e-6,
    )


def _load_audio(path: str, sampling_rate: int) -> torch.Tensor:
    audio = read_wav(Path(path))
    assert audio.sample_rate == sampling_rate
    return torch.from_numpy(audio.pcm)[None]
