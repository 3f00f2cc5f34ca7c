import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.audio.pcm import Audio
from tests.factories.dataset import cached_dataset
from tests.factories.whisper import TEXT, cached_whisper
from tests.factories.xtts import cached_checkpoint
from training.dataset.metadata import read_metadata
from training.xtts.base import load_base
from training.xtts.evaluation import Evaluation, make_row
from training.xtts.recogniser import NEEDED, Recogniser
from training.xtts.samples import speak
from training.xtts.scores import score_transcript


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    found = Recogniser.find(cached_whisper())
    assert found is not None
    return found


def test_it_says_what_it_hears_at_any_rate(recogniser: Recogniser) -> None:
    noise = np.random.default_rng(1).standard_normal(5 * 24000).astype(np.float32) * 0.1
    for rate in (16000, 24000):
        assert recogniser.transcribe(Audio(noise, rate), "en") == TEXT.strip()


def test_nothing_was_said_where_there_is_no_audio(recogniser: Recogniser) -> None:
    assert recogniser.transcribe(Audio(np.zeros(0, np.float32), 24000), "en") == ""


@pytest.mark.parametrize("missing", NEEDED)
def test_without_all_files_there_is_none(tmp_path: Path, missing: str, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(cached_whisper(), tmp_path / "whisper")
    (tmp_path / "whisper" / missing).unlink()
    with caplog.at_level("INFO"):
        assert Recogniser.find(tmp_path / "whisper") is None
    assert f"{missing} is missing" in caplog.text


def test_a_torn_model_is_none_and_the_log_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(cached_whisper(), tmp_path / "whisper")
    (tmp_path / "whisper" / "model.bin").write_bytes(b"torn")
    assert Recogniser.find(tmp_path / "whisper") is None
    assert "cannot be used" in caplog.text


def test_samples_are_compared_with_their_text(recogniser: Recogniser, tmp_path: Path) -> None:
    base = load_base(cached_checkpoint(), torch.device("cpu"))
    clips = sorted(read_metadata(cached_dataset()), key=lambda clip: (clip.split != "val", clip.seconds))
    weights = base.gpt.state_dict()
    (sample,) = speak(base, weights, clips[:6], tmp_path, 0, 1, count=1, recogniser=recogniser)
    assert sample.spoken.text == score_transcript(sample.clip.text, TEXT.strip(), "en")
    assert sample.recorded.text == sample.spoken.text
    row = make_row(0, 0, Evaluation(1.0, 1.0, 0.5, 1), [sample])["samples"]
    assert row["cer"] == sample.spoken.text.cer > 0.3
    assert row["wer"] == sample.spoken.text.wer
    assert row["recorded"]["cer"] == row["cer"]
