"""What a check of an export refuses; that it accepts a good one is seen in test_export.py."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from serving.errors import ModelFilesError
from serving.store.manifest import write_manifest
from tests.factories.xtts import SPEAKERS, cached_checkpoint
from training.xtts.verify import PACKAGES, verify_export

CPU = torch.device("cpu")
VOICES = [{"name": SPEAKERS[0], "language": "de"}]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    shutil.copytree(cached_checkpoint(), directory)
    write_manifest(directory, {"voices": VOICES})
    return directory


def rewrite(directory: Path, change: Callable[[dict[str, Any]], object], file: str = "model.pth") -> None:
    """Change a file as somebody would who also makes the manifest fit."""
    state = torch.load(directory / file, weights_only=True)
    change(state)
    torch.save(state, directory / file)
    write_manifest(directory, {"voices": VOICES})


def fill(key: str, value: float) -> Callable[[dict[str, Any]], object]:
    return lambda state: state["model"][key].fill_(value)


def test_a_model_that_loads_and_speaks_is_described_by_what_was_measured(model: Path) -> None:
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in model.iterdir()}
    generator = torch.get_rng_state()
    facts = verify_export(model, CPU)
    assert facts.weights == len(torch.load(model / "model.pth", mmap=True)["model"])
    (voice,) = facts.voices
    assert (voice.name, voice.language) == (SPEAKERS[0], "de")
    assert 0.5 < voice.seconds < 10
    assert 0.01 < voice.peak <= 1
    assert facts.device == "cpu"
    assert set(facts.versions) == set(PACKAGES)
    assert before == {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in model.iterdir()}
    assert torch.equal(generator, torch.get_rng_state())


def test_a_changed_byte_is_found(model: Path) -> None:
    with (model / "model.pth").open("r+b") as file:
        file.seek(-100_000, 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ModelFilesError, match=r"model\.pth: its sha256 is not the one in the manifest"):
        verify_export(model, CPU)


def test_a_missing_file_is_named(model: Path) -> None:
    (model / "vocab.json").unlink()
    with pytest.raises(ModelFilesError, match=r"vocab\.json"):
        verify_export(model, CPU)


def test_a_manifest_without_voices_is_no_exports(model: Path) -> None:
    several: list[dict[str, Any]] = [{}, {"voices": []}, {"voices": "Ada"}, {"voices": [{"name": "Ada"}]}]
    for facts in several:
        write_manifest(model, facts)
        with pytest.raises(ModelFilesError, match="names no new voices"):
            verify_export(model, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state["model"].pop("gpt.mel_head.bias"), r"coqui's Xtts cannot load .*gpt\.mel_head\.bias"),
        (lambda state: state["model"].update(spare=torch.ones(1)), "coqui's Xtts cannot load .*spare"),
        (lambda state: state["model"].update({"gpt.gpt.wte.weight": torch.ones(2, 2)}), "exists for sampling only"),
        (lambda state: state.update(config={"a": 1}), "holds more than its"),
        (fill("gpt.mel_head.bias", torch.nan), r"gpt\.mel_head\.bias has values that are not finite"),
        (fill("hifigan_decoder.waveform_decoder.conv_post.weight", 0.0), "'Ada' .* is silent"),
    ],
)
def test_a_model_that_would_not_serve_is_refused(
    model: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite(model, change)
    with pytest.raises(ModelFilesError, match=message):
        verify_export(model, CPU)


def test_a_voice_that_is_not_among_the_presets_is_missed(model: Path) -> None:
    rewrite(model, lambda state: state.pop(SPEAKERS[0]), "speakers_xtts.pth")
    with pytest.raises(ModelFilesError, match="lacks the voice 'Ada'"):
        verify_export(model, CPU)
