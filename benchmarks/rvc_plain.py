"""RVC's pipeline written plainly from the parts that the tests compare ours with, where infer-rvc-python is not.

No better than a reference has to be: the relative attention is filled entry by entry, so it says little about speed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import scipy.signal
import torch
from torch.nn import functional
from transformers import HubertModel

from benchmarks.coqui import Span, now
from benchmarks.rvc_oracle import RawVoice
from serving.audio.pcm import Pcm
from serving.engines.rvc.loudness import LoudnessMix
from serving.engines.rvc.pitch.salience import decode
from serving.engines.rvc.pitch.shaping import coarse
from serving.engines.rvc.pitch.spectrum import LogMel
from serving.engines.xtts.checkpoint import quiet_transformers
from tests.factories.rmvpe import Size, plain_rmvpe
from tests.factories.rvc_model import ReferenceVoice

PAD = 16_000


class PlainRvc:
    """``InferRvc``'s interface in this process; a voice is loaded again when the options change, as there."""

    name = "plain pipeline"

    def __init__(self, shared: Path, size: Size) -> None:
        with quiet_transformers():
            self._hubert: Any = HubertModel.from_pretrained(shared / "contentvec").eval()
        self._rmvpe = plain_rmvpe(size).float()
        self._rmvpe.load_state_dict(torch.load(shared / "rmvpe.pt", weights_only=True))
        self._mel = LogMel.of(torch.device("cpu"), low_hz=30.0, scale="htk", pad=512)
        self._chosen: tuple[RawVoice, int] | None = None

    def convert(self, pcm: Pcm, voice: RawVoice, pitch: int) -> tuple[Span, Pcm]:
        """With RVC's default options; in ``pcm`` at 16 kHz, out what the voice makes."""
        began = now()
        if self._chosen != (voice, pitch):
            self._load(voice, pitch)
        made, _ = self._sing(pcm, pitch, noise=1.0)
        mix = LoudnessMix(0.25, PAD, self._model.rate)
        made = np.concatenate([mix.push(pcm, made), mix.finish()])
        return now() - began, made

    def reload(self, voice: RawVoice, pitch: int) -> Span:
        began = now()
        self._load(voice, pitch)
        return now() - began

    def bare(self, pcm: Pcm, voice: RawVoice) -> tuple[Pcm, Pcm]:
        """No noise or loudness, the index searched as thoroughly as ours; its f0 in Hz, also of the context."""
        self._load(voice, 0)
        self._index.nprobe = self._index.nlist
        return self._sing(pcm, 0, noise=0.0)

    def close(self) -> None:
        pass

    def _load(self, voice: RawVoice, pitch: int) -> None:
        content = torch.load(voice.weights, weights_only=True)
        model = ReferenceVoice(content["config"], 768, f0=True)
        names = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
        weights = {}
        for key, tensor in content["weight"].items():
            end = key[key.rfind(".") :]
            weights[key.removesuffix(end) + names.get(end, end)] = tensor.float()
        model.load_state_dict(weights)
        self._model, self._channels = model.eval(), content["config"][2]
        self._index: Any = faiss.read_index(str(voice.index))
        self._vectors = self._index.reconstruct_n(0, self._index.ntotal)
        self._chosen = voice, pitch

    def _sing(self, pcm: Pcm, pitch: int, noise: float) -> tuple[Pcm, Pcm]:
        filtered = scipy.signal.filtfilt(*scipy.signal.butter(5, 48, "high", fs=PAD), pcm)
        heard = torch.from_numpy(np.pad(filtered, PAD, mode="reflect").astype(np.float32))[None]
        frames = heard.shape[1] // 160
        f0 = self._f0(heard, frames) * 2 ** (pitch / 12)
        longer = functional.pad(heard, (0, 480), mode="reflect")
        with torch.no_grad():
            spoken = self._hubert(longer).last_hidden_state[:, : -(-frames // 2)]
        plain, drawn = (row.repeat_interleave(2, 1)[:, :frames] for row in (spoken, self._drawn(spoken)))
        features = torch.where((f0 > 0)[..., None], drawn, 0.33 * drawn + 0.67 * plain)
        model = self._model
        prior, source = (torch.randn(1, *size) * noise for size in ((self._channels, frames), (frames * model.hop,)))
        stages = model(features, [frames], coarse(f0), f0, [0], prior, source)
        pad = PAD // 160 * model.hop
        return stages.wav[0, pad:-pad].numpy(), f0[0].numpy()

    def _f0(self, heard: torch.Tensor, frames: int) -> torch.Tensor:
        mel = self._mel(heard, [heard.shape[1]])
        mel = functional.pad(mel, (0, -mel.shape[2] % 32), mode="reflect")
        with torch.no_grad():
            return decode(self._rmvpe(mel), 0.03)[:, :frames]

    def _drawn(self, spoken: torch.Tensor) -> torch.Tensor:
        distance, found = self._index.search(spoken[0].numpy(), 8)
        weight = np.square(1 / distance)
        weight /= weight.sum(1, keepdims=True)
        mean = torch.from_numpy((self._vectors[found] * weight[..., None]).sum(1))[None]
        return 0.75 * mean + 0.25 * spoken
