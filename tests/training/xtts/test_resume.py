"""What may change between a checkpoint and the start that goes on from it."""

from __future__ import annotations

import logging

import pytest

from serving.errors import InvalidRequest
from serving.store.training_files import TrainingSettings
from training.xtts.checkpoints import Facts
from training.xtts.position import Position
from training.xtts.resume import where

SETTINGS = TrainingSettings(method="lora", lora_rank=8)
POSITION = Position(epoch=2, batches=5, step=25)
FACTS = Facts(position=POSITION, settings=SETTINGS, data="d", plan="p", versions={})


def test_a_run_goes_on_where_it_was() -> None:
    assert where(FACTS, SETTINGS.model_copy(update={"epochs": 99, "learning_rate": 1e-5}), "p") == POSITION


def test_other_batches_begin_the_epoch_again_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("training").propagate = True
    with caplog.at_level(logging.WARNING, "training"):
        assert where(FACTS, SETTINGS, "q") == Position(epoch=2, batches=0, step=25)
    assert "epoch 3 starts again" in caplog.text


def test_between_epochs_other_batches_change_nothing() -> None:
    between = POSITION.model_copy(update={"batches": 0})
    assert where(FACTS.model_copy(update={"position": between}), SETTINGS, "q") == between


@pytest.mark.parametrize(("name", "value"), [("method", "full"), ("lora_rank", 16)])
def test_what_the_weights_depend_on_cannot_change(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"begun with {name} .* cannot become {value}"):
        where(FACTS, SETTINGS.model_copy(update={name: value}), "p")


def test_the_rank_of_adapters_means_nothing_to_a_full_run() -> None:
    full = TrainingSettings(method="full", lora_rank=8)
    facts = FACTS.model_copy(update={"settings": full})
    assert where(facts, full.model_copy(update={"lora_rank": 4}), "p") == POSITION
