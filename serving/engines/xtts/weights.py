"""Tensors from files that may be wrong: torn, of another model, or a pickle that wants to run code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from serving.errors import ModelFilesError

TRAINING_ONLY = ("dvae.", "torch_mel_spectrogram_style_encoder.", "torch_mel_spectrogram_dvae.")
ALIASES = ("gpt.gpt_inference.", "gpt.gpt.wte.")
"""A second name of weights that are in the file anyway; XTTS v1 and checkpoints saved while sampling have them."""

MASKS = (".attn.bias", ".attn.masked_bias")
"""Causal masks that GPT-2 of old transformers saved; they hold no weights."""


def read_weights(directory: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The file with the model's weights, and its tensors (backed by the file) under the names of coqui's ``Xtts``.

    model.safetensors goes before model.pth. Takes released, fine-tuned (``xtts.`` prefixes, the trainer's own modules)
    and old (``weight_g``, ``weight_v``) checkpoints. Raises ModelFilesError.
    """
    path = directory / "model.safetensors"
    if path.is_file():
        state: Any = read_safetensors(path)
    else:
        path = directory / "model.pth"
        if not path.is_file():
            raise ModelFilesError(f"{directory} has neither model.safetensors nor model.pth; put the weights there")
        state = read_pickle(path)
        state = state.get("model") if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelFilesError(f'{path} holds no tensors under "model"; it is not an XTTS checkpoint')
    named = {_current_name(str(key)): tensor for key, tensor in state.items()}
    return path, {key: tensor for key, tensor in named.items() if not _is_ignored(key)}


def check_shapes(path: Path, weights: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Raise ModelFilesError unless ``weights`` of file ``path`` has the keys and shapes of ``expected``, no others."""
    missing = sorted(expected.keys() - weights.keys())
    if missing:
        shape = list(expected[missing[0]].shape)
        raise ModelFilesError(
            f"{path} lacks {missing[0]} (shape {shape}) and {len(missing) - 1} further keys; "
            "take weights that belong to the config.json"
        )
    surplus = sorted(weights.keys() - expected.keys())
    if surplus:
        raise ModelFilesError(
            f"{path} has the unknown key {surplus[0]} and {len(surplus) - 1} more; it is not an XTTS v2 checkpoint"
        )
    for key, tensor in weights.items():
        if tensor.shape != expected[key].shape:
            raise ModelFilesError(
                f"{path}: {key} has shape {list(tensor.shape)}, config.json expects {list(expected[key].shape)}; "
                "take files of one model"
            )


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; raises ModelFilesError when it is torn or another kind of file."""
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFilesError(f"{path} is torn or no safetensors file ({error}); copy it again") from error
    return tensors


def read_pickle(path: Path) -> Any:
    """What ``torch.save`` put into ``path``, tensors backed by the file; code in the pickle is refused, not run.

    The first XTTS checkpoints carry a pickled ``XttsConfig``, which is let through. Raises ModelFilesError.
    """
    try:
        with torch.serialization.safe_globals(_config_classes()):
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0][:200]
        raise ModelFilesError(f"{path} holds more than tensors or is torn ({reason}); it was not loaded") from error
    except (RuntimeError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).split("\n")[0][:200]
        raise ModelFilesError(f"{path} is torn or was not written by torch.save ({reason}); copy it again") from error


def _config_classes() -> list[Any]:
    from TTS.config.shared_configs import BaseDatasetConfig
    from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig

    # The two moved between modules after the first checkpoints were pickled.
    old = [(XttsArgs, "TTS.tts.models.xtts.XttsArgs"), (XttsAudioConfig, "TTS.tts.models.xtts.XttsAudioConfig")]
    return [XttsConfig, XttsArgs, XttsAudioConfig, BaseDatasetConfig, *old]


def _current_name(key: str) -> str:
    key = key.removeprefix("xtts.")
    for old, new in ((".weight_g", "original0"), (".weight_v", "original1")):
        if key.endswith(old):
            return f"{key.removesuffix(old)}.parametrizations.weight.{new}"
    return key


def _is_ignored(key: str) -> bool:
    return key.startswith((*TRAINING_ONLY, *ALIASES)) or key.endswith(MASKS)
