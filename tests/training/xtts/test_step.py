"""Steps over real clips of the tiny model: how a batch is cut does not matter, what is not finite is left out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from serving.errors import InvalidRequest
from serving.store.training_files import TrainingSettings
from tests.factories.dataset import cached_dataset
from tests.factories.dvae import cached_dvae
from tests.factories.training_run import QUICK
from tests.factories.xtts import cached_checkpoint
from training.dataset.metadata import read_metadata
from training.xtts.base import Base, configure, load_base
from training.xtts.distributed import Group
from training.xtts.features import Features, load_features
from training.xtts.loop import MOST_SKIPPED, Calls, Loop
from training.xtts.metrics import Measured
from training.xtts.optimizer import make_optimizer
from training.xtts.position import Position
from training.xtts.signals import Stopped
from training.xtts.step import Stepper, StepResult

pytestmark = pytest.mark.xdist_group("training runs")
CPU = torch.device("cpu")
SETTINGS = TrainingSettings.model_validate({**QUICK, "prompt_mask": "full"})


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    clips = read_metadata(cached_dataset(10, val=2, longest_s=3.0))
    base = load_base(cached_checkpoint("tiny"), CPU)
    return load_features(clips, base, cached_dvae(), tmp_path_factory.mktemp("features"))


@pytest.fixture
def base() -> Base:
    base = load_base(cached_checkpoint("tiny"), CPU)
    configure(base.gpt, SETTINGS)
    return base


def stepper(base: Base, features: Features, settings: TrainingSettings = SETTINGS) -> Stepper:
    return Stepper(base.gpt, make_optimizer(base.gpt, settings), features, settings, Group(), CPU)


def without_dropout(base: Base) -> Base:
    for module in base.gpt.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return base


def one_step(base: Base, features: Features, micro_batch_size: int) -> tuple[StepResult, dict[str, torch.Tensor]]:
    settings = SETTINGS.model_copy(update={"micro_batch_size": micro_batch_size})
    result = stepper(base, features, settings).step([4, 1, 7, 2, 6], number=0, epoch=0, rate=1e-3)
    return result, {name: tensor.clone() for name, tensor in base.gpt.state_dict().items()}


def test_what_a_batch_is_cut_into_changes_neither_the_losses_nor_the_step(base: Base, features: Features) -> None:
    before = {name: tensor.clone() for name, tensor in base.gpt.state_dict().items()}
    whole, expected = one_step(without_dropout(base), features, 5)
    base.gpt.load_state_dict(before)
    cut, weights = one_step(base, features, 2)
    assert cut.sums.model_dump() == pytest.approx(whole.sums.model_dump(), rel=1e-5)
    assert cut.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    moved = max(float((expected[name] - tensor).abs().max()) for name, tensor in before.items())
    assert moved == pytest.approx(1e-3, rel=0.1), "AdamW's first step is the learning rate"
    # Where a gradient is almost zero, AdamW's first step takes the sign of its rounding.
    off = torch.cat([(weights[name] - tensor).abs().flatten() for name, tensor in expected.items()])
    assert float((off > 1e-5).double().mean()) < 1e-3


def test_dropout_is_drawn_by_the_step_and_not_by_what_went_before(base: Base, features: Features) -> None:
    before = {name: tensor.clone() for name, tensor in base.gpt.state_dict().items()}
    first, weights = one_step(base, features, 2)
    base.gpt.load_state_dict(before)
    torch.manual_seed(99)
    torch.rand(1000)
    again, same = one_step(base, features, 2)
    assert again == first
    assert all(torch.equal(same[name], tensor) for name, tensor in weights.items())


def test_a_step_that_is_not_finite_leaves_the_weights_and_the_optimizer(base: Base, features: Features) -> None:
    steps = stepper(base, features)
    with torch.no_grad():
        bias = base.gpt.get_parameter("final_norm.bias")
        bias[3] = float("nan")
    before = {name: tensor.clone() for name, tensor in base.gpt.state_dict().items()}
    result = steps.step([0, 1], number=0, epoch=0, rate=1e-3)
    assert not result.finite
    torch.testing.assert_close(dict(base.gpt.state_dict()), before, rtol=0, atol=0, equal_nan=True)
    with torch.no_grad():
        bias[3] = 0.0
    assert steps.step([0, 1], number=1, epoch=0, rate=1e-3).finite


def test_a_loss_that_stays_no_number_ends_the_run_with_a_sentence(base: Base, features: Features) -> None:
    with torch.no_grad():
        base.gpt.get_parameter("final_norm.bias")[3] = float("nan")
    loop = Loop(stepper(base, features), features, SETTINGS, Group(), calls(), Position())
    with pytest.raises(InvalidRequest, match=r"5 steps in a row, until step 5, .*lower learning_rate"):
        loop.run()
    assert loop.position.skipped == loop.position.skipped_in_a_row == MOST_SKIPPED


def test_a_checkpoint_is_written_when_minutes_have_passed_and_at_the_end_of_an_epoch(
    base: Base, features: Features
) -> None:
    saved: list[Position] = []
    often = SETTINGS.model_copy(update={"save_every_minutes": 1e-9, "epochs": 1})
    Loop(stepper(base, features, often), features, often, Group(), calls(saved=saved), Position()).run()
    assert [(position.step, position.epoch, position.batches) for position in saved] == [
        (1, 0, 1),
        (2, 0, 2),
        (3, 1, 0),
    ]
    saved.clear()
    rarely = often.model_copy(update={"save_every_minutes": 60.0})
    Loop(stepper(base, features, rarely), features, rarely, Group(), calls(saved=saved), Position()).run()
    assert [position.step for position in saved] == [3]


def test_a_logged_loss_is_that_of_all_steps_since_the_last(base: Base, features: Features) -> None:
    logged: list[Measured] = []
    settings = SETTINGS.model_copy(update={"log_every_n_steps": 2, "epochs": 1, "learning_rate": 1e-12})
    Loop(stepper(base, features, settings), features, settings, Group(), calls(logged=logged), Position()).run()
    assert [(row.step, row.steps) for row in logged] == [(2, 3), (3, 3)]
    fine: list[Measured] = []
    each = settings.model_copy(update={"log_every_n_steps": 1})
    Loop(stepper(base, features, each), features, each, Group(), calls(logged=fine), Position()).run()
    lowest, highest = sorted(row.mel_loss for row in fine[:2])
    assert lowest < logged[0].mel_loss < highest
    assert logged[1].mel_loss == pytest.approx(fine[2].mel_loss, rel=1e-5)


def test_a_skipped_step_that_is_logged_has_no_gradient_norm(base: Base, features: Features) -> None:
    bias = base.gpt.get_parameter("final_norm.bias")
    begun = 0

    def spoil_the_second() -> bool:
        nonlocal begun
        begun += 1
        with torch.no_grad():
            bias[3] = float("nan") if begun == 2 else 0.0
        return False

    logged: list[Measured] = []
    settings = SETTINGS.model_copy(update={"log_every_n_steps": 2, "epochs": 1})
    told = calls(logged=logged, stopping=spoil_the_second)
    Loop(stepper(base, features, settings), features, settings, Group(), told, Position()).run()
    assert [(row.step, row.skipped_steps, row.grad_norm is None) for row in logged] == [(2, 1, True), (3, 1, False)]


def test_the_time_that_is_left_counts_validations_and_checkpoints_too(base: Base, features: Features) -> None:
    logged: list[Measured] = []
    settings = SETTINGS.model_copy(update={"log_every_n_steps": 1, "epochs": 2})
    slow = dataclasses.replace(calls(logged=logged), save=lambda _: time.sleep(0.1), validate=slow_validation)
    Loop(stepper(base, features, settings), features, settings, Group(), slow, Position()).run()
    assert logged[0].eta_s > 2 * 0.2, "before the first epoch there is no checkpoint yet"
    assert logged[-1].eta_s > 0.1 + 0.2


def slow_validation(_: Position) -> bool:
    time.sleep(0.2)
    return False


def test_nothing_is_saved_twice_by_who_is_told_to_stop_between_epochs(base: Base, features: Features) -> None:
    saved: list[Position] = []
    told = calls(saved=saved, stopping=lambda: len(saved) == 1)
    loop = Loop(stepper(base, features), features, SETTINGS, Group(), told, Position())
    with pytest.raises(Stopped):
        loop.run()
    assert [position.epoch for position in saved] == [1]


def calls(
    saved: list[Position] | None = None,
    logged: list[Measured] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Calls:
    return Calls(
        stopping=stopping,
        save=(saved if saved is not None else []).append,
        validate=lambda position: False,
        moved=lambda position, steps: None,
        logged=(logged if logged is not None else []).append,
    )
