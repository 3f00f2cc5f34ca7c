import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from serving.engines.xtts.checkpoint import LoadedXtts, load_checkpoint
from serving.errors import ModelFilesError
from tests.factories.xtts import SPEAKERS, cached_checkpoint

CPU = torch.device("cpu")
RELEASED_FILES = ("config.json", "model.pth", "vocab.json", "speakers_xtts.pth")


def directory_without(tmp_path: Path, *names: str) -> Path:
    """A model directory that lacks the files ``names``."""
    for name in RELEASED_FILES:
        if name not in names:
            shutil.copy(cached_checkpoint() / name, tmp_path / name)
    return tmp_path


def weights() -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(cached_checkpoint() / "model.pth", mmap=True)["model"]
    return dict(state)


def assert_same_weights(model: Any, expected: dict[str, torch.Tensor]) -> None:
    state = model.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in expected.items())


def snapshot(directory: Path) -> dict[str, tuple[str, int]]:
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in directory.iterdir()
    }


def test_a_checkpoint_loads_with_its_weights_speakers_and_configuration(loaded: LoadedXtts) -> None:
    assert_same_weights(loaded.model, weights())
    assert tuple(loaded.speakers) == SPEAKERS
    assert loaded.config.repetition_penalty == 5.0
    assert not any(module.training for module in loaded.model.modules())
    assert all(tensor.device == CPU for tensor in (*loaded.model.parameters(), *loaded.model.buffers()))


def test_a_read_only_directory_loads_and_stays_byte_identical(tmp_path: Path) -> None:
    directory = directory_without(tmp_path)
    before = snapshot(directory)
    for path in (*directory.iterdir(), directory):
        path.chmod(0o555 if path.is_dir() else 0o444)
    load_checkpoint(directory, CPU)
    assert snapshot(directory) == before
    directory.chmod(0o755)


def test_the_weights_are_copies_that_outlive_the_file(tmp_path: Path) -> None:
    model = load_checkpoint(directory_without(tmp_path), CPU).model
    with (tmp_path / "model.pth").open("r+b") as file:
        file.write(bytes((tmp_path / "model.pth").stat().st_size))
    assert_same_weights(model, weights())


def test_safetensors_load_as_well(tmp_path: Path) -> None:
    save_file(weights(), directory_without(tmp_path, "model.pth") / "model.safetensors")
    assert_same_weights(load_checkpoint(tmp_path, CPU).model, weights())


def test_speakers_are_optional(tmp_path: Path) -> None:
    assert load_checkpoint(directory_without(tmp_path, "speakers_xtts.pth"), CPU).speakers == {}


def test_a_trainer_checkpoint_loads_without_its_training_parts(tmp_path: Path) -> None:
    state = {f"xtts.{key}": tensor for key, tensor in weights().items()}
    state |= {"dvae.codebook.embed": torch.zeros(2), "torch_mel_spectrogram_dvae.mel_norms": torch.zeros(2)}
    state |= {"xtts.gpt.gpt.wte.weight": weights()["gpt.mel_embedding.weight"]}
    state |= {"xtts.gpt.gpt.h.0.attn.bias": torch.zeros(1, 1, 8, 8)}
    content = {"model": state, "step": 7, "config": {"a": 1}, "optimizer": {}}
    torch.save(content, directory_without(tmp_path, "model.pth") / "model.pth")
    assert_same_weights(load_checkpoint(tmp_path, CPU).model, weights())


def test_old_weight_norm_names_and_half_precision_load(tmp_path: Path) -> None:
    old = {
        key.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        ): tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in weights().items()
    }
    assert any(key.endswith("weight_g") for key in old)
    torch.save({"model": old}, directory_without(tmp_path, "model.pth") / "model.pth")
    model = load_checkpoint(tmp_path, CPU).model
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    key = "gpt.mel_head.weight"
    assert torch.equal(model.state_dict()[key], weights()[key].half().float())


def test_the_pickled_configuration_of_the_first_checkpoints_is_let_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig

    config = XttsConfig()
    with monkeypatch.context() as patch:
        # Where the classes lived when the first checkpoints were pickled.
        patch.setattr(XttsArgs, "__module__", "TTS.tts.models.xtts")
        patch.setattr(XttsAudioConfig, "__module__", "TTS.tts.models.xtts")
        torch.save({"model": weights(), "config": config}, directory_without(tmp_path, "model.pth") / "model.pth")
    before = snapshot(tmp_path)
    assert_same_weights(load_checkpoint(tmp_path, CPU).model, weights())
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["config.json", "model.pth", "vocab.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x00\xff nonsense", b"[1, 2]"])
def test_a_missing_or_torn_file_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    directory_without(tmp_path, name)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFilesError, match=name.replace(".", r"\.")):
        load_checkpoint(tmp_path, CPU)


@pytest.mark.parametrize("kept", [0.3, 0.999])
def test_half_a_download_is_refused(tmp_path: Path, kept: float) -> None:
    data = (cached_checkpoint() / "model.pth").read_bytes()
    (directory_without(tmp_path, "model.pth") / "model.pth").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ModelFilesError, match=r"model\.pth is torn"):
        load_checkpoint(tmp_path, CPU)
    (tmp_path / "model.pth").unlink()
    (tmp_path / "model.safetensors").write_bytes(data[:1000])
    with pytest.raises(ModelFilesError, match=r"model\.safetensors is torn"):
        load_checkpoint(tmp_path, CPU)


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch /tmp/kubevoice-was-here",)


@pytest.mark.parametrize("name", ["model.pth", "speakers_xtts.pth"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    torch.save({"model": _Evil()}, directory_without(tmp_path, name) / name)
    with pytest.raises(ModelFilesError, match="more than tensors"):
        load_checkpoint(tmp_path, CPU)
    (tmp_path / name).write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(ModelFilesError, match=name):
        load_checkpoint(tmp_path, CPU)
    assert not Path("/tmp/kubevoice-was-here").exists()


def _edit(state: dict[str, torch.Tensor], key: str, tensor: torch.Tensor | None) -> dict[str, torch.Tensor]:
    return {
        **{name: value for name, value in state.items() if name != key},
        **({} if tensor is None else {key: tensor}),
    }


@pytest.mark.parametrize(
    ("key", "tensor", "message"),
    [
        ("gpt.mel_head.weight", None, r"lacks gpt\.mel_head\.weight \(shape \[1026, 64\]\)"),
        ("gpt.extra", torch.zeros(1), r"unknown key gpt\.extra"),
        ("gpt.mel_head.bias", torch.zeros(8194), r"has shape \[8194\], config\.json expects \[1026\]"),
        ("gpt.mel_head.bias", torch.full((1026,), float("nan")), "not finite"),
        ("gpt.text_embedding.weight", torch.zeros(600, 64), r"512 tokens but gpt\.text_embedding\.weight .* 600 rows"),
    ],
)
def test_a_wrong_tensor_is_named_with_the_shape_it_should_have(
    tmp_path: Path, key: str, tensor: torch.Tensor | None, message: str
) -> None:
    torch.save({"model": _edit(weights(), key, tensor)}, directory_without(tmp_path, "model.pth") / "model.pth")
    with pytest.raises(ModelFilesError, match=message):
        load_checkpoint(tmp_path, CPU)


@pytest.mark.parametrize("content", [{"weights": 1}, {"model": {"a": 1}}, [1]])
def test_a_file_of_something_else_is_not_a_checkpoint(tmp_path: Path, content: Any) -> None:
    torch.save(content, directory_without(tmp_path, "model.pth") / "model.pth")
    with pytest.raises(ModelFilesError, match="not an XTTS checkpoint"):
        load_checkpoint(tmp_path, CPU)


@pytest.mark.parametrize("token", ["[START]", "[SPACE]", "[zh-cn]"])
def test_a_vocabulary_without_a_special_token_is_refused(tmp_path: Path, token: str) -> None:
    text = (cached_checkpoint() / "vocab.json").read_text(encoding="utf-8")
    (directory_without(tmp_path, "vocab.json") / "vocab.json").write_text(
        text.replace(token, "[GONE]"), encoding="utf-8"
    )
    with pytest.raises(ModelFilesError, match=rf"vocab\.json has no token \{token[:-1]}\]"):
        load_checkpoint(tmp_path, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "vits"}, 'kind "vits"'),
        ({"gpt_layers": 3}, r"lacks gpt\.gpt\.h\.2\.attn\.c_attn\.bias"),
        ({"gpt_n_heads": 3}, "config.json"),
        ({"gpt_n_model_channels": "wide"}, "config.json is not an XTTS configuration"),
        ({"gpt_n_model_channels": 128}, r"expected \[1, 32, 128\]"),
        (
            {"gpt_num_audio_tokens": 8194},
            r"gpt\.mel_embedding\.weight has shape \[1026, 64\], config\.json expects \[8194",
        ),
    ],
)
def test_a_configuration_of_another_model_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    config = json.loads((cached_checkpoint() / "config.json").read_text(encoding="utf-8"))
    target = config if "model" in change else config["model_args"]
    target.update(change)
    (directory_without(tmp_path, "config.json") / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelFilesError, match=message):
        load_checkpoint(tmp_path, CPU)


@pytest.mark.parametrize(
    "speakers", [[1], {"Ada": 1}, {"Ada": {"gpt_cond_latent": torch.zeros(1, 32, 64)}}, {"Ada": {"a": 1}}]
)
def test_torn_speakers_are_refused_by_file(tmp_path: Path, speakers: Any) -> None:
    torch.save(speakers, directory_without(tmp_path, "speakers_xtts.pth") / "speakers_xtts.pth")
    with pytest.raises(ModelFilesError, match=r"speakers_xtts\.pth"):
        load_checkpoint(tmp_path, CPU)


def test_speakers_of_another_model_are_refused_by_shape(tmp_path: Path) -> None:
    speaker = {"gpt_cond_latent": torch.zeros(1, 32, 1024), "speaker_embedding": torch.zeros(1, 512, 1)}
    torch.save({"Ada": speaker}, directory_without(tmp_path, "speakers_xtts.pth") / "speakers_xtts.pth")
    with pytest.raises(ModelFilesError, match=r"speaker Ada has shapes \[1, 32, 1024\]"):
        load_checkpoint(tmp_path, CPU)
