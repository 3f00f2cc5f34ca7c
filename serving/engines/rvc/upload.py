"""Reads the ``.pth`` of a stranger: an RVC voice as the WebUI and Applio export it, or a refusal in one sentence.

The format is {weight: tensors, config: 18 values, info, sr, f0, version}; Applio adds a ``vocoder`` and facts about
the training. What the tensors tell goes before what the file says of itself.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from serving.engines.rvc.checkpoint import RvcCheckpoint, difference, folded
from serving.engines.rvc.configuration import FEATURES, RvcConfig
from serving.engines.rvc.container import check_container, refusal

MAX_BYTES = 256 * 1024 * 1024
"""A voice has 55 MB in float16 and 110 MB in float32."""

TRAINING = ("model", "optimizer", "iteration", "learning_rate")
POSITIONS = {
    "inter_channels": 2,
    "hidden_channels": 3,
    "filter_channels": 4,
    "heads": 5,
    "layers": 6,
    "kernel_size": 7,
    "resblock_kernels": 10,
    "resblock_dilations": 11,
    "upsample_rates": 12,
    "upsample_channels": 13,
    "upsample_kernels": 14,
    "speaker_channels": 16,
    "sample_rate": 17,
}
"""Where ``config`` has what a voice is built of. 15, its speakers, is wrong in many files."""

VALUES = 18
VOCODERS = ("HiFi-GAN",)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
RENAMED = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
RATES = {"32k": 32_000, "40k": 40_000, "48k": 48_000}


def read_upload(path: Path, *, max_bytes: int = MAX_BYTES) -> RvcCheckpoint:
    """The voice in the file ``path``, copied into memory; its ``notes`` tell where the file is wrong about itself.

    Nothing of the file is run, written or used as a path. Raises PayloadTooLarge for more than ``max_bytes``, and
    InvalidRequest (param "file") for anything but an exported voice with the HiFi-GAN vocoder.
    """
    check_container(path, max_bytes)
    content = _table(_load(path))
    state = _table(content.get("weight"))
    if not state:
        raise _not_a_voice(content)
    _check_vocoder(content, state)
    weights = _tensors(state, path.stat().st_size)
    config = _config(content, weights)
    wrong = difference(weights, config)
    if wrong is not None:
        raise refusal(f"does not fit its own config: {wrong}; export the voice again")
    return RvcCheckpoint(config, _checked(weights), _notes(content, config))


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise refusal(f"holds more than tensors and plain values ({_reason(error)}) and was not loaded") from error
    except Exception as error:
        raise refusal(f"is damaged ({_reason(error)}); copy or download it again") from error


def _reason(error: BaseException) -> str:
    return str(error).split("\n")[0][:150]


def _table(value: Any) -> dict[Any, Any]:
    """A dictionary's entries, whatever attributes a pickle gave it (those may hide its methods)."""
    return dict(dict.items(value)) if isinstance(value, dict) else {}


def _plain(value: Any) -> str | int | float | None:
    """``value`` if it is one; anything else by its type, since a crafted list may be exponentially long as text."""
    return value if isinstance(value, str | int | float | None) else type(value).__name__


def _quoted(value: Any) -> str:
    return json.dumps(str(_plain(value))[:50])


def _not_a_voice(content: Mapping[Any, Any]) -> Exception:
    if any(key in content for key in TRAINING):
        return refusal(
            "is a training checkpoint (as G_*.pth are); upload the small .pth that the training exports beside it"
        )
    return refusal("has no tensors under the key weight; upload the .pth of an RVC voice")


def _check_vocoder(content: Mapping[Any, Any], state: Mapping[Any, Any]) -> None:
    """Of Applio's three vocoders one is known. Older files of MRF HiFi-GAN have its blocks but not its name."""
    vocoder = _plain(content.get("vocoder", VOCODERS[0]))
    if any(isinstance(key, str) and key.startswith("dec.mrfs.") for key in state):
        vocoder = "MRF HiFi-GAN"
    if vocoder not in VOCODERS:
        raise refusal(
            f"is a voice with the vocoder {_quoted(vocoder)}, which cannot be served; train it again with HiFi-GAN"
        )


def _tensors(state: Mapping[Any, Any], size: int) -> dict[str, torch.Tensor]:
    """The plain tensors under the names of weight norm's first form, without the posterior encoder of training."""
    weights: dict[str, torch.Tensor] = {}
    for key, tensor in state.items():
        if not isinstance(key, str) or type(tensor) not in {torch.Tensor, torch.nn.Parameter}:
            raise refusal("has something else than tensors by name under the key weight; export the voice again")
        if tensor.layout != torch.strided or tensor.dtype not in DTYPES or tensor.device.type != "cpu":
            raise refusal(f"has a tensor {json.dumps(key[:100])} of type {tensor.dtype}; export the voice again")
        if not key.startswith("enc_q."):
            weights[_current_name(key)] = tensor.detach()
    if sum(tensor.numel() * tensor.element_size() for tensor in weights.values()) > size:
        raise refusal("declares larger tensors than it has bytes; export the voice again")
    return weights


def _current_name(key: str) -> str:
    for new, name in RENAMED.items():
        key = key.removesuffix(new) + name if key.endswith(new) else key
    return key


def _config(content: Mapping[Any, Any], weights: Mapping[str, torch.Tensor]) -> RvcConfig:
    values = content.get("config")
    if not isinstance(values, list | tuple) or len(values) != VALUES:
        raise refusal(f"has no config of {VALUES} values; export the voice again")
    if values[9] not in {"1", 1}:
        raise refusal(f"has resblocks of kind {_quoted(values[9])}; only kind 1 is known")
    fields = {name: _numbers(values[position]) for name, position in POSITIONS.items()}
    fields |= {
        "version": _version(weights),
        "f0": "enc_p.emb_pitch.weight" in weights,
        "speakers": _rows(weights, "emb_g.weight", 0),
        "embedder": _plain(content.get("embedder_model")) or "contentvec",
    }
    try:
        return RvcConfig.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise _bad_value(error) from None


def _numbers(value: Any, depth: int = 2) -> Any:
    """A number, a rate, or short lists of numbers of at most ``depth`` levels; None for anything else."""
    if isinstance(value, list | tuple) and depth and len(value) <= 8:
        return [_numbers(item, depth - 1) for item in value]
    return _rate(value) if isinstance(value, int | str) else None


def _bad_value(error: ValidationError) -> Exception:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    where = f"config[{POSITIONS[name]}] ({name})" if name in POSITIONS else name or "config"
    return refusal(f"has an unusable value in {where}: {first['msg']}; export the voice again")


def _rows(weights: Mapping[str, torch.Tensor], key: str, dimension: int) -> int:
    tensor = weights.get(key)
    if tensor is None or tensor.dim() != 2:
        raise refusal(f"lacks the tensor {key}; it is no RVC voice")
    return int(tensor.shape[dimension])


def _version(weights: Mapping[str, torch.Tensor]) -> str:
    features = _rows(weights, "enc_p.emb_phone.weight", 1)
    for version, channels in FEATURES.items():
        if channels == features:
            return version
    raise refusal(f"reads content features of {features} channels; RVC v1 has 256 and v2 has 768")


def _rate(value: Any) -> Any:
    """``value``, or where it is "40k" and the like, as in older files, its Hz."""
    return RATES.get(value, value) if isinstance(value, str) else value


def _checked(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies, the file's mapping left behind, of ``weights`` that are finite, also with weight norm folded."""
    copies = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in weights.items()}
    for kind, tensors in ("values", copies), ("a weight norm", folded(copies, torch.device("cpu"))):
        for key, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise refusal(f"has {kind} in {key} that cannot be computed with; export the voice from another step")
    return copies


def _notes(content: Mapping[Any, Any], config: RvcConfig) -> tuple[str, ...]:
    """Where the file's words about itself differ from its tensors, which are what is served."""
    said = {"version": _plain(content.get("version")), "f0": _plain(content.get("f0"))}
    said["sr"] = _rate(_plain(content.get("sr")))
    found = {"version": config.version, "f0": config.f0, "sr": config.sample_rate}
    return tuple(
        f"the file says {key} {_quoted(said[key])}, its weights are {found[key]}"
        for key in said
        if said[key] is not None and said[key] != found[key]
    )
