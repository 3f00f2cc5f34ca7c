"""What the model says of a clip equals what coqui's own classes say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from serving.engines.xtts.checkpoint import load_checkpoint
from serving.errors import ModelFilesError
from serving.store.volume import Volume
from tests.factories.recordings import spoken
from tests.factories.xtts import cached_checkpoint
from training.dataset.base_model import BaseModel, open_base_model


def test_the_voice_is_heard_as_coqui_hears_it(base: BaseModel) -> None:
    pcm = np.array(spoken("Two times two is four."))
    model = load_checkpoint(cached_checkpoint("tiny"), torch.device("cpu")).model
    expected = model.get_speaker_embedding(torch.from_numpy(pcm)[None], 22050)[0, :, 0].numpy()
    np.testing.assert_allclose(base.embedding(pcm), expected, atol=1e-6)
    assert float(np.linalg.norm(base.embedding(pcm))) == pytest.approx(1, abs=1e-5)


def test_tokens_are_counted_and_characters_without_one_are_named(base: BaseModel) -> None:
    assert base.tokens("Two", "en").unknown == ""
    assert base.tokens("42", "en").count > base.tokens("2", "en").count  # numbers are read out
    assert base.tokens("Two ☃ and ✈.", "en").unknown == "☃✈"


def test_another_edition_of_the_readings_is_another_model(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cached_checkpoint("tiny")
    assert BaseModel(folder, base.name).identity == base.identity
    monkeypatch.setattr("training.dataset.base_model.edition", lambda: "another")
    assert BaseModel(folder, base.name).identity != base.identity


@pytest.mark.parametrize("revision", [None, "r7"])
def test_a_model_that_is_not_there_is_named_with_the_command_that_brings_it(tmp_path: Path, revision: str) -> None:
    with pytest.raises(ModelFilesError, match=r"no model xtts_v2 .* kubevoice models pull"):
        open_base_model(Volume(tmp_path), "xtts_v2", revision)


def test_a_model_without_its_vocabulary_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "models/xtts/xtts_v2/r1"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.pth"):
        (folder / name).symlink_to(cached_checkpoint("tiny") / name)
    with pytest.raises(ModelFilesError, match=r"vocab\.json is missing"):
        open_base_model(Volume(tmp_path), "xtts_v2", None)
