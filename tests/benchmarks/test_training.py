"""The benchmark itself, with one layer: both trainers have to have the same loss there too."""

from __future__ import annotations

import json
import random

import pytest
import torch

from benchmarks import training
from benchmarks.training_ours import padding
from training.xtts.batches import Length

KEYS = [
    "device",
    "clips_ratio",
    "bucketing_ratio",
    "end_to_end_ratio",
    "first_epoch_ratio",
    "full_size_flops_ratio",
    "padding",
    "padding_reference",
    "loss_difference",
    "peak_memory_mb",
    "peak_memory_mb_reference",
]


def test_both_trainers_are_measured_and_have_the_same_loss(capsys: pytest.CaptureFixture[str]) -> None:
    threads, state = torch.get_num_threads(), random.getstate()
    arguments = "--device cpu --threads 1 --layers 1 --channels 64 --clips 8 --batch 4 --rounds 1"
    try:
        training.main(arguments.split())
    finally:
        torch.set_num_threads(threads)
        random.setstate(state)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result) == KEYS
    assert result["device"] == "CPU, 1 threads"
    assert result["loss_difference"] == 0.0
    assert all(result[key] > 0 for key in KEYS[1:] if key != "loss_difference")
    assert 1 <= result["padding"] < result["padding_reference"]


def test_padding_is_what_a_batch_has_by_what_its_clips_have() -> None:
    batch = [Length("a", 10, 40, 0), Length("b", 5, 20, 0)]
    assert padding([batch]) == 2 * (10 + 40) / (15 + 60)


def test_epochs_of_unequal_steps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training.main(["--clips", "10", "--batch", "4"])
    assert "multiple of --batch" in capsys.readouterr().err
