"""What is said, without who says it: the features of a HuBERT encoder (ContentVec) that RVC voices are driven by.

The network is transformers' ``HubertModel``. Audio of unequal lengths shares a batch: the first layer normalises each
channel over time, which is restricted to an item's own frames here. Padding left in, as transformers does it, shifts
every frame of the item by more than the features vary.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import HubertConfig, HubertModel

from serving.engines.linear import pack_linears
from serving.engines.rvc.attention import NAME as ATTENTION
from serving.engines.rvc.front_end import FrontEnd, OwnFramesNorm, before
from serving.engines.rvc.shared import PULL, check_tensors, read_tensors, to_float32
from serving.errors import ModelFilesError

Version = Literal["v1", "v2"]

SAMPLE_RATE = 16_000
MIN_SAMPLES = 400
"""The receptive field of one frame; frames are 320 samples (20 ms) apart."""

WIDTH = {"v1": 256, "v2": 768}
V1_LAYERS = 9
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
OLD_NAMES = {".conv.weight_g": "original0", ".conv.weight_v": "original1"}


class ContentEncoder:
    """A content encoder on ``device``. Calls of several threads take turns.

    v1 voices take the ninth of twelve layers, projected to 256 channels, v2 voices the last (RVC's ``pipeline.py``;
    for v1 Applio projects the last layer instead, with which such voices were not trained).
    """

    def __init__(self, model: HubertModel, projection: nn.Linear | None) -> None:
        layers = model.feature_extractor.conv_layers
        layers[0].layer_norm = self._norm = OwnFramesNorm(layers[0].layer_norm)
        if model.device.type == "cpu" and model.config.feat_extract_activation == "gelu":
            model.feature_extractor = FrontEnd(layers, self._norm)
            model.config._attn_implementation = ATTENTION
        self._models = {"v1": _first_layers(model, V1_LAYERS), "v2": model}
        self._projection = projection
        self._lock = threading.Lock()
        self.device = model.device
        self.dtype = model.dtype

    @classmethod
    def load(cls, directory: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> ContentEncoder:
        """Read config.json and model.safetensors or pytorch_model.bin, as Hugging Face lays out a HuBERT base model.

        ``dtype`` float16 is for GPUs; the norm stays float32. Raises ModelFilesError naming what is missing or wrong.
        """
        assert dtype == torch.float32 or device.type != "cpu"
        config = _read_config(directory)
        path = _weights_file(directory)
        tensors = {_current_name(key): tensor for key, tensor in read_tensors(path).items()}
        with torch.device("meta"):
            model = HubertModel(config)
            projection = nn.Linear(WIDTH["v2"], WIDTH["v1"]) if "final_proj.weight" in tensors else None
        expected = model.state_dict()
        if projection is not None:
            expected |= projection.state_dict(prefix="final_proj.")
        check_tensors(path, tensors, {key: like.shape for key, like in expected.items()})
        weights = to_float32({key: tensors[key] for key in expected}, device)
        if projection is not None:
            _fill(projection, {name: weights.pop(f"final_proj.{name}") for name in ("weight", "bias")}, dtype)
        _fill(model, weights, dtype)
        pack_linears(model)
        return cls(model, projection)

    def features(self, audio: torch.Tensor, lengths: Sequence[int], version: Version) -> torch.Tensor:
        """Content of ``audio`` float32 [B, samples] at 16 kHz: float32 [B, frames, ``WIDTH[version]``], 50 per second.

        ``lengths`` are the items' samples, each ``MIN_SAMPLES`` or more; what lies beyond is ignored. Item ``i`` has
        ``frame_count(lengths[i])`` frames, equal to those it has alone; zeros follow. Raises ModelFilesError for v1
        if the file has no projection.
        """
        assert len(audio) == len(lengths)
        assert min(lengths) >= MIN_SAMPLES
        longest = max(lengths)
        audio = audio[:, :longest].to(self.device, self.dtype)
        padded = min(lengths) < longest
        mask = before(lengths, longest, audio.device) if padded else None
        own = [_convolved(n, 10, 5) for n in lengths] if padded else None
        with torch.no_grad(), self._lock, self._norm.only(own):
            if mask is not None:
                audio = audio.masked_fill(~mask, 0)
            hidden = self._models[version](audio, attention_mask=mask).last_hidden_state
            hidden = self._project(hidden) if version == "v1" else hidden
        if padded:
            frames = [frame_count(n) for n in lengths]
            hidden = hidden.masked_fill(~before(frames, hidden.shape[1], audio.device)[..., None], 0)
        return hidden.float()

    def _project(self, hidden: torch.Tensor) -> torch.Tensor:
        if self._projection is None:
            raise ModelFilesError(
                f"the content encoder has no final_proj.weight, which v1 voices need; v2 voices do without: {PULL}"
            )
        projected: torch.Tensor = self._projection(hidden)
        return projected


def frame_count(samples: int) -> int:
    """Frames of audio that long: seven convolutions without padding, which come to floor((samples - 80) / 320)."""
    for kernel, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        samples = _convolved(samples, kernel, stride)
    return samples


def _first_layers(model: HubertModel, layers: int) -> HubertModel:
    """A model of the first transformer layers of ``model``, made of its modules."""
    with torch.device("meta"):
        short = HubertModel(HubertConfig.from_dict(model.config.to_dict() | {"num_hidden_layers": layers}))
    short.config._attn_implementation = model.config._attn_implementation
    short.feature_extractor, short.feature_projection = model.feature_extractor, model.feature_projection
    short.encoder.pos_conv_embed, short.encoder.layer_norm = model.encoder.pos_conv_embed, model.encoder.layer_norm
    short.encoder.layers = model.encoder.layers[:layers]
    return short.eval()


def _fill(module: nn.Module, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    module.load_state_dict(weights, strict=True, assign=True)
    module.requires_grad_(False).to(dtype).eval()


def _convolved(samples: int, kernel: int, stride: int) -> int:
    return (samples - kernel) // stride + 1


def _read_config(directory: Path) -> HubertConfig:
    path = directory / "config.json"
    if not path.is_file():
        raise _missing(path)
    try:
        config = HubertConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
        layers = int(config.num_hidden_layers)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelFilesError(f"{path} is not a configuration of a HuBERT model ({error}); {PULL}") from error
    if config.model_type != "hubert" or config.hidden_size != WIDTH["v2"] or layers < V1_LAYERS:
        raise ModelFilesError(
            f"{path} describes a {config.model_type} model of width {config.hidden_size} with {layers} layers; RVC "
            f"takes HuBERT base, of width 768 with 12: {PULL}"
        )
    if config.feat_extract_norm != "group" or config.do_stable_layer_norm:
        raise ModelFilesError(f"{path} describes a HuBERT model whose norms are not those of HuBERT base; {PULL}")
    config.mask_time_prob = config.mask_feature_prob = 0.0  # for training only
    config._attn_implementation = "sdpa"
    return config


def _weights_file(directory: Path) -> Path:
    for name in WEIGHT_FILES:
        if (directory / name).is_file():
            return directory / name
    raise _missing(directory / WEIGHT_FILES[0])


def _missing(path: Path) -> ModelFilesError:
    return ModelFilesError(
        f"{path} is missing: voice conversion needs the content encoder, {' or '.join(WEIGHT_FILES)} and config.json "
        f"of a ContentVec model in {path.parent}; {PULL}"
    )


def _current_name(key: str) -> str:
    """``key`` as transformers 5 names it; older files call the weight norm of the position's convolution g and v."""
    for old, new in OLD_NAMES.items():
        if key.endswith(old):
            return f"{key.removesuffix(old)}.conv.parametrizations.weight.{new}"
    return key
