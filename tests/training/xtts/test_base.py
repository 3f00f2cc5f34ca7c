from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from serving.engines.xtts.checkpoint import load_checkpoint
from serving.errors import ModelFilesError
from serving.store.training_files import TrainingSettings
from tests.factories.xtts import cached_checkpoint
from tests.training.xtts.workbench import CPU, a_base
from training.xtts.base import PREFIX, configure, load_base


def test_the_decoder_is_trainable_and_all_other_weights_stay_as_the_file_has_them() -> None:
    base = a_base()
    file = torch.load(cached_checkpoint() / "model.pth", mmap=True, weights_only=True)["model"]
    own = {PREFIX + name: tensor for name, tensor in base.gpt.state_dict().items()}
    assert own.keys() | base.other.keys() == file.keys()
    assert not own.keys() & base.other.keys()
    assert all(torch.equal(tensor, file[name]) for name, tensor in {**own, **base.other}.items())
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in base.gpt.parameters())
    assert base.gpt.training
    assert base.mel_stats.shape == (80,)


def test_it_has_no_layers_that_only_speak() -> None:
    gpt: Any = a_base().gpt
    assert not hasattr(gpt, "gpt_inference")
    assert not hasattr(gpt.gpt, "wte")
    assert hasattr(load_checkpoint(cached_checkpoint(), CPU).model.gpt, "gpt_inference")


def test_training_leaves_the_file_alone() -> None:
    base = a_base()
    with torch.no_grad():
        for parameter in base.gpt.parameters():
            parameter.zero_()
    file = torch.load(cached_checkpoint() / "model.pth", mmap=True, weights_only=True)["model"]
    assert file["gpt.text_embedding.weight"].abs().sum() > 0


def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(cached_checkpoint(), directory)
    config = json.loads((directory / "config.json").read_text())
    config["model_args"]["gpt_layers"] = 3
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFilesError, match=r"model.pth lacks gpt\.gpt\.h\.2"):
        load_base(directory, CPU)


@pytest.mark.parametrize(("wanted", "expected"), [(None, False), (True, True), (False, False)])
def test_gradient_checkpointing_is_a_choice_and_off_on_a_cpu(wanted: bool | None, expected: bool) -> None:
    gpt: Any = a_base().gpt
    configure(gpt, TrainingSettings(gradient_checkpointing=wanted))
    assert {block.gradient_checkpointing for block in gpt.gpt.h} == {expected}
