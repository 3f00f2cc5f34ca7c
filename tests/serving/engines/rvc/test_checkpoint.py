import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from serving.engines.rvc.checkpoint import CONFIG, WEIGHTS, RvcCheckpoint, folded
from serving.engines.rvc.upload import read_upload
from serving.errors import ModelFilesError, StorageError
from tests.factories.rvc import Variant, make_model, make_voice, weights_of


@pytest.fixture
def voice(tmp_path: Path) -> RvcCheckpoint:
    return read_upload(make_voice(tmp_path / "voice.pth", Variant("v1", 48_000)))


def stored(voice: RvcCheckpoint, directory: Path) -> Path:
    directory.mkdir()
    voice.save(directory)
    return directory


def test_a_stored_voice_is_the_one_that_was_uploaded(voice: RvcCheckpoint, tmp_path: Path) -> None:
    loaded = RvcCheckpoint.load(stored(voice, tmp_path / "voice"))
    assert loaded.config == voice.config
    assert loaded.weights.keys() == voice.weights.keys()
    for key, tensor in voice.weights.items():
        assert loaded.weights[key].dtype == torch.float16
        assert torch.equal(loaded.weights[key], tensor)


def test_one_file_is_stored_and_no_larger_than_the_upload(voice: RvcCheckpoint, tmp_path: Path) -> None:
    directory = stored(voice, tmp_path / "voice")
    assert [path.name for path in directory.iterdir()] == [WEIGHTS]
    assert (directory / WEIGHTS).stat().st_size < (tmp_path / "voice.pth").stat().st_size


def test_weight_norm_is_folded_as_torch_computes_it() -> None:
    model = make_model()
    weights = folded(weights_of(model), torch.device("cpu"))
    layers = {
        "dec.ups.1": model.dec.ups[1],
        "flow.flows.2.enc.in_layers.0": model.get_submodule("flow.flows.2.enc.in_layers.0"),
    }
    for name, layer in layers.items():
        assert weights[f"{name}.weight"].dtype == torch.float32
        torch.testing.assert_close(weights[f"{name}.weight"], layer.weight, rtol=1e-6, atol=1e-7)
    assert not [key for key in weights if key.endswith(("weight_g", "weight_v"))]


def test_a_volume_that_refuses_is_told_and_left_clean(voice: RvcCheckpoint, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=WEIGHTS):
        voice.save(tmp_path / "gone")
    assert [path.name for path in tmp_path.iterdir()] == ["voice.pth"]


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_a_torn_file_is_named(voice: RvcCheckpoint, tmp_path: Path, kept: int) -> None:
    path = stored(voice, tmp_path / "voice") / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFilesError, match=rf"{WEIGHTS} is torn"):
        RvcCheckpoint.load(path.parent)
    path.unlink()
    with pytest.raises(ModelFilesError, match=WEIGHTS):
        RvcCheckpoint.load(path.parent)


def test_another_model_s_file_is_refused(voice: RvcCheckpoint, tmp_path: Path) -> None:
    path = stored(voice, tmp_path / "voice") / WEIGHTS
    weights = load_file(path)
    save_file(weights, path)
    with pytest.raises(ModelFilesError, match="no RVC voice"):
        RvcCheckpoint.load(path.parent)
    config = json.dumps(json.loads(voice.config.model_dump_json()) | {"speakers": 6})
    save_file(weights, path, {CONFIG: config})
    with pytest.raises(ModelFilesError, match=r"emb_g\.weight has shape \[5, 16\] instead of \[6, 16\]"):
        RvcCheckpoint.load(path.parent)
