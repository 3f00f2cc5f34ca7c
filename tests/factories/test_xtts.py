import json
from pathlib import Path

import torch

from tests.factories.xtts import cached_checkpoint, make_checkpoint


def test_the_files_are_those_of_a_release(tmp_path: Path) -> None:
    directory = make_checkpoint(tmp_path / "model", seed=3)
    names = {path.name: path.stat().st_size for path in directory.iterdir()}
    assert set(names) == {"config.json", "model.pth", "vocab.json", "speakers_xtts.pth"}
    assert sum(names.values()) < 40e6
    state = torch.load(directory / "model.pth", weights_only=True)["model"]
    assert len(state) < 963
    assert all(tensor.isfinite().all() for tensor in state.values())
    speakers = torch.load(directory / "speakers_xtts.pth", weights_only=True)
    assert all(list(speaker) == ["gpt_cond_latent", "speaker_embedding"] for speaker in speakers.values())
    assert json.loads((directory / "config.json").read_text(encoding="utf-8"))["repetition_penalty"] == 5.0


def test_a_seed_gives_the_same_model_and_another_seed_another(tmp_path: Path) -> None:
    cached = torch.load(cached_checkpoint() / "model.pth", mmap=True)["model"]
    same = torch.load(make_checkpoint(tmp_path / "same") / "model.pth")["model"]
    assert list(same) == list(cached)
    for name, weight in cached.items():  # built by another process, whose kernels may round otherwise
        torch.testing.assert_close(
            same[name], weight, rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert (tmp_path / "same" / "vocab.json").read_bytes() == (cached_checkpoint() / "vocab.json").read_bytes()
    other = torch.load(make_checkpoint(tmp_path / "other", seed=1) / "model.pth")["model"]
    assert not torch.equal(cached["gpt.mel_head.weight"], other["gpt.mel_head.weight"])


def test_the_cache_gives_one_directory() -> None:
    assert cached_checkpoint() == cached_checkpoint()
