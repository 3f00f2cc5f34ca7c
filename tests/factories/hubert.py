"""Content encoders with seeded random weights as Hugging Face lays them out: config.json and model.safetensors.

All are as wide as ContentVec, since RVC voices take 768 channels; "tiny" is thin everywhere else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import HubertConfig, HubertModel

from tests.factories.cache import cached

Size = Literal["tiny", "full"]
THIN: dict[str, Any] = {"intermediate_size": 32, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16}


def make_content_encoder(directory: Path, size: Size = "tiny", *, seed: int = 0) -> Path:
    """Write config.json and model.safetensors to ``directory`` and return it: 29 M parameters, or the released 95 M."""
    directory.mkdir(parents=True, exist_ok=True)
    config = HubertConfig(classifier_proj_size=256, **(THIN if size == "tiny" else {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, projection = HubertModel(config), nn.Linear(768, 256)
        _liven(model)
    state = model.state_dict() | projection.state_dict(prefix="final_proj.")
    description = config.to_dict() | {"architectures": ["HubertModelWithFinalProj"]}
    (directory / "config.json").write_text(json.dumps(description), encoding="utf-8")
    save_file(state, directory / "model.safetensors", {"format": "pt"})
    return directory


def cached_content_encoder(size: Size = "tiny") -> Path:
    """A content encoder shared by all tests; read-only by convention: copy to change."""
    return cached(f"hubert-{size}", [Path(__file__)], lambda directory: make_content_encoder(directory, size))


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``state`` with the weight norm's names of transformers before 4.31, as most published encoders have them."""
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        state = {key.replace(f"parametrizations.weight.{new}", old): tensor for key, tensor in state.items()}
    return state


def _liven(model: HubertModel) -> None:
    """Weights so large that every layer changes its input; fresh ones hardly do."""
    with torch.no_grad():
        for layer in model.encoder.layers:
            for linear in (layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj):
                linear.weight.normal_(std=768**-0.5)
            layer.feed_forward.output_dense.weight.normal_(std=0.1)
