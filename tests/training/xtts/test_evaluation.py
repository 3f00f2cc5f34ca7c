import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serving.audio.pcm import Audio
from serving.errors import InvalidRequest, StorageError
from serving.store.training_files import EVALUATION_FILE
from tests.factories.dataset import cached_dataset
from tests.factories.dvae import cached_dvae
from tests.factories.xtts import cached_checkpoint
from tests.training.xtts.workbench import whole_prompt
from training.dataset.metadata import Clip, read_metadata
from training.xtts.base import Base, load_base
from training.xtts.batches import collate
from training.xtts.evaluation import Evaluation, add_row, evaluate, make_row, read_rows
from training.xtts.features import Features, load_features
from training.xtts.loss import losses, total
from training.xtts.samples import Heard, Sample
from training.xtts.scores import AudioScores, TextScores

CPU = torch.device("cpu")
MEASURED = Evaluation(text_loss=2.0, mel_loss=3.0, accuracy=0.25, clips=4)


@pytest.fixture
def base() -> Base:
    return load_base(cached_checkpoint(), CPU)


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> Features:
    clips = [clip for clip in read_metadata(cached_dataset()) if clip.split == "val"]
    folder = tmp_path_factory.mktemp("features")
    return load_features(clips, load_base(cached_checkpoint(), CPU), cached_dvae(), folder)


def evaluated(base: Base, val: Features, micro_batch_size: int = 2) -> Evaluation:
    return evaluate(base.gpt, val, micro_batch_size=micro_batch_size, device=CPU)


def test_the_losses_are_those_of_coquis_forward(base: Base, val: Features) -> None:
    batch = collate(val, range(len(val)), seed=0, epoch=None, device=CPU)
    arguments = (batch.text, batch.text_lengths, batch.codes, batch.code_lengths * 1024, whole_prompt(batch)[:, None])
    with torch.no_grad():
        text_loss, mel_loss, logits = base.gpt.eval()(*arguments)
    base.gpt.train()
    result = evaluated(base, val)
    assert result.text_loss == pytest.approx(float(text_loss), rel=1e-5)
    assert result.mel_loss == pytest.approx(float(mel_loss), rel=1e-5)
    assert result.val_loss == pytest.approx(0.01 * float(text_loss) + float(mel_loss), rel=1e-5)
    right = targets = 0
    for row, length in enumerate(batch.code_lengths.tolist()):  # four stop tokens follow the codes
        wanted = torch.cat([batch.codes[row, :length], torch.full((4,), 1025)])
        right += int((logits[row, :, : length + 4].argmax(0) == wanted).sum())
        targets += length + 4
    assert result.accuracy == pytest.approx(right / targets)
    assert result.clips == len(val) == 4


def test_how_clips_are_batched_changes_nothing(base: Base, val: Features) -> None:
    one, all_ = evaluated(base, val, 1), evaluated(base, val, 8)
    assert one.mel_loss == pytest.approx(all_.mel_loss, rel=1e-5)
    assert one.text_loss == pytest.approx(all_.text_loss, rel=1e-5)
    assert one.accuracy == pytest.approx(all_.accuracy, abs=0.01)


def test_the_same_weights_give_the_same_numbers(base: Base, val: Features) -> None:
    assert evaluated(base, val) == evaluated(base, val)


def test_training_goes_on_as_if_nothing_had_been_evaluated(base: Base, val: Features) -> None:
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist(), random.getstate()
    weights = {name: tensor.clone() for name, tensor in base.gpt.state_dict().items()}
    evaluated(base, val)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1], before[2]) == (np.random.get_state(legacy=False)["state"]["key"].tolist(), random.getstate())
    assert base.gpt.training
    assert all(module.training for module in base.gpt.modules())
    assert all(parameter.grad is None for parameter in base.gpt.parameters())
    assert all(torch.equal(weights[name], tensor) for name, tensor in base.gpt.state_dict().items())


def test_a_model_that_learns_the_clips_is_seen_to(base: Base, val: Features) -> None:
    before = evaluated(base, val)
    optimizer = torch.optim.AdamW(base.gpt.parameters(), lr=5e-3)
    batch = collate(val, range(len(val)), seed=0, epoch=None, device=CPU)
    for _ in range(20):
        part = losses(base.gpt, batch, "off")
        optimizer.zero_grad()
        total(part, int(part.text_tokens), int(part.mel_tokens)).backward()
        optimizer.step()
    after = evaluated(base, val)
    assert after.mel_loss < 0.8 * before.mel_loss
    assert after.accuracy > 4 * before.accuracy
    assert after.val_loss < before.val_loss


def test_weights_that_are_no_numbers_have_a_loss_that_is_none(base: Base, val: Features, tmp_path: Path) -> None:
    with torch.no_grad():
        base.gpt.mel_head.weight.fill_(torch.nan)
    add_row(tmp_path, make_row(3, 1, evaluated(base, val), []))
    (row,) = json.loads((tmp_path / EVALUATION_FILE).read_text(), parse_constant=pytest.fail)
    assert row["val_mel_loss"] is None
    assert row["val_text_loss"] > 0


def heard(seconds: float, similarity: float | None, text: TextScores | None = None) -> Heard:
    return Heard(AudioScores(seconds, seconds / 10, 0.1, 0.0), similarity, text)


def sample(*, ended: bool, spoken: Heard) -> Sample:
    clip = Clip("a", Path("/nowhere/a.wav"), "abcdefghij", "ada", "en", "val", 1.0)
    speech = Audio(np.zeros(24000, np.float32), 24000)
    return Sample(clip, 3, 1, speech, ended, spoken, heard(1.0, 0.9), speaker_pace=0.1)


def test_a_row_says_what_was_measured_of_the_samples() -> None:
    samples = [sample(ended=True, spoken=heard(1.0, 0.5)), sample(ended=False, spoken=heard(3.0, None))]
    row = make_row(3, 1, MEASURED, samples)
    assert row["val_loss"] == pytest.approx(3.02)
    measured = row["samples"]
    assert (measured["count"], measured["stop_failures"]) == (2, 1)
    assert measured["pace"] == pytest.approx(2.0)
    assert measured["seconds_per_character"] == pytest.approx(0.2)
    assert measured["relative_speaker_similarity"] == pytest.approx(0.5)
    assert measured["recorded"]["relative_speaker_similarity"] == pytest.approx(0.9)


def test_what_was_not_measured_is_not_there() -> None:
    assert "samples" not in make_row(0, 0, MEASURED, [])
    unheard = make_row(0, 0, MEASURED, [sample(ended=True, spoken=heard(1.0, None))])["samples"]
    assert not {"cer", "wer", "repeated_words", "relative_speaker_similarity"} & unheard.keys()
    dense = sample(ended=True, spoken=heard(1.0, 0.5, TextScores("a", 0.2, None, 1)))
    both = make_row(0, 0, MEASURED, [dense])["samples"]
    assert (both["cer"], both["repeated_words"]) == (0.2, 1)
    assert "wer" not in both


def steps(run: Path) -> list[Any]:
    return [row["step"] for row in read_rows(run)]


def test_the_base_model_comes_first_and_the_others_by_step(tmp_path: Path) -> None:
    assert read_rows(tmp_path) == []
    for step in (20, 0, 10):
        add_row(tmp_path, make_row(step, step // 10, MEASURED, []))
    assert steps(tmp_path) == [0, 10, 20]


def test_an_epoch_that_is_run_again_replaces_its_row(tmp_path: Path) -> None:
    add_row(tmp_path, make_row(0, 0, MEASURED, []))
    add_row(tmp_path, make_row(10, 1, MEASURED, []))
    add_row(tmp_path, make_row(10, 1, Evaluation(1.0, 1.0, 0.5, 4), []))
    assert steps(tmp_path) == [0, 10]
    assert read_rows(tmp_path)[1]["val_accuracy"] == 0.5
    assert [path.name for path in tmp_path.iterdir()] == [EVALUATION_FILE]


@pytest.mark.parametrize("content", ["", "[{", "{}", "[1]", '[{"epoch": 1}]', "null"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / EVALUATION_FILE).write_text(content)
    with pytest.raises(InvalidRequest, match=r"evaluation\.json cannot be read"):
        add_row(tmp_path, make_row(0, 0, MEASURED, []))


def test_a_volume_that_refuses_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"evaluation\.json"):
        add_row(tmp_path / "missing", make_row(0, 0, MEASURED, []))
