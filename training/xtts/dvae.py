"""coqui's discrete VAE, which turns audio into the codes that the decoder learns; training alone needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from serving.engines.xtts.weights import check_shapes, read_pickle
from serving.errors import ModelFilesError

NEEDED = ("encoder.", "codebook.embed")
"""Of its weights; the others decode, or learn."""


def load_dvae(path: Path, mel_stats: torch.Tensor, device: torch.device) -> Dvae:
    """The DVAE in ``path`` on ``device``; raises ModelFilesError naming the file, and the key that is wrong."""
    state = read_pickle(path)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelFilesError(f"{path} holds no tensors; take the dvae.pth of coqui/XTTS-v2")
    model = build_dvae()
    expected = {key: tensor for key, tensor in model.state_dict().items() if key.startswith(NEEDED)}
    found = {key: tensor for key, tensor in state.items() if key in expected}
    check_shapes(path, found, expected)
    model.load_state_dict(found, strict=False)
    del model.decoder
    return Dvae(model.to(device).requires_grad_(False).eval(), mel_stats)


def build_dvae() -> Any:
    """coqui's ``DiscreteVAE`` of the size that its trainer fixes, with fresh weights."""
    from TTS.tts.layers.xtts.dvae import DiscreteVAE

    return DiscreteVAE(
        channels=80,
        normalization=None,
        positional_dims=1,
        num_tokens=1024,
        codebook_dim=512,
        hidden_dim=512,
        num_resnet_blocks=3,
        kernel_size=3,
        num_layers=2,
        use_transposed_convs=False,
    )


class Dvae:
    """Audio to codes, a clip at a time: nothing is padded, so that a code depends on its own clip alone."""

    def __init__(self, model: Any, mel_stats: torch.Tensor) -> None:
        from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram

        self._model = model
        self._device = model.codebook.embed.device
        self._mel = TorchMelSpectrogram(mel_norm_file=None, sampling_rate=22050)
        self._mel.mel_norms = mel_stats

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def codes(self, pcm: torch.Tensor) -> torch.Tensor:
        """int16 [ceil(samples / 1024)] on the CPU for ``pcm`` float32 [samples] at 22050 Hz, on the CPU.

        The encoder gives one code more where 1024 divides the samples; coqui's ``GPT.forward`` leaves it out.
        """
        mel = self._mel(pcm[None])
        codes = self._model.get_codebook_indices(mel.to(self._device))[0]
        result: torch.Tensor = codes[: -(-len(pcm) // 1024)].to("cpu", torch.int16)
        return result
