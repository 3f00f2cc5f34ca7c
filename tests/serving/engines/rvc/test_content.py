import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import HubertModel

from serving.engines.rvc.content import MIN_SAMPLES, WIDTH, ContentEncoder, Version, frame_count
from serving.errors import ModelFilesError
from tests.factories.hubert import cached_content_encoder, old_names

CPU = torch.device("cpu")
LENGTHS = [16_000, 9_000, 12_345, 400]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def encoder() -> ContentEncoder:
    return ContentEncoder.load(cached_content_encoder(), CPU)


@pytest.fixture(scope="module")
def plain() -> HubertModel:
    """transformers' own model of the same weights."""
    directory = cached_content_encoder()
    model = HubertModel(HubertModel.config_class.from_pretrained(directory))
    model.load_state_dict(
        {name: value for name, value in weights().items() if not name.startswith("final_proj.")}, strict=True
    )
    return model.eval().requires_grad_(False)


def weights() -> dict[str, torch.Tensor]:
    return load_file(cached_content_encoder() / "model.safetensors")


def audio(lengths: list[int]) -> torch.Tensor:
    """[items, samples] of noise, also beyond each item's length, where it must not matter."""
    return 0.1 * torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(1))


def copy_of(directory: Path, *without: str) -> Path:
    for name in ("config.json", "model.safetensors"):
        if name not in without:
            shutil.copy(cached_content_encoder() / name, directory / name)
    return directory


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


def test_v2_features_are_the_last_hidden_state(encoder: ContentEncoder, plain: HubertModel) -> None:
    speech = audio([16_000])
    assert (
        relative(encoder.features(speech, [16_000], "v2"), plain(speech).last_hidden_state) < 3e-6
    )  # rounding: 9e-7 where this was written


def test_v1_features_are_the_ninth_layer_projected(encoder: ContentEncoder, plain: HubertModel) -> None:
    speech, state = audio([16_000]), weights()
    hidden = plain(speech, output_hidden_states=True).hidden_states
    expected = hidden[9] @ state["final_proj.weight"].T + state["final_proj.bias"]
    assert relative(encoder.features(speech, [16_000], "v1"), expected) < 3e-6
    last = hidden[12] @ state["final_proj.weight"].T + state["final_proj.bias"]
    assert relative(last, expected) > 0.1  # the layer matters


def test_v1_leaves_the_last_layers_out(encoder: ContentEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    for number, layer in enumerate(encoder._models["v2"].encoder.layers):
        monkeypatch.setattr(layer, "forward", _noting(layer.forward, ran, number))
    encoder.features(audio([400]), [400], "v1")
    assert ran == list(range(9))


def _noting(forward: Any, ran: list[int], number: int) -> Any:
    def noted(*args: Any, **options: Any) -> Any:
        ran.append(number)
        return forward(*args, **options)

    return noted


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_item_of_a_batch_has_the_features_it_has_alone(encoder: ContentEncoder, version: Version) -> None:
    speech = audio(LENGTHS)
    batched = encoder.features(speech, LENGTHS, version)
    assert batched.shape == (4, 49, WIDTH[version])
    for item, length in enumerate(LENGTHS):
        alone = encoder.features(speech[item : item + 1, :length], [length], version)[0]
        assert len(alone) == frame_count(length)
        assert relative(batched[item, : len(alone)], alone) < 1e-5
        assert not batched[item, len(alone) :].any()


def test_padding_as_transformers_does_it_is_wrong_by_more_than_the_signal(plain: HubertModel) -> None:
    lengths = [16_000, 9_000]
    mask = torch.arange(16_000) < torch.tensor(lengths)[:, None]
    speech = audio(lengths) * mask
    alone = plain(speech[1:, :9_000]).last_hidden_state[0]
    padded = plain(speech, attention_mask=mask).last_hidden_state[1, : len(alone)]
    assert (padded - alone).abs().max() > alone.std(dim=0).mean()


@pytest.mark.parametrize("samples", [400, 719, 720, 16_000, 16_079, 16_080, 16_399])
def test_frames_are_20_ms_apart(encoder: ContentEncoder, samples: int) -> None:
    assert frame_count(samples) == (samples - 80) // 320
    assert encoder.features(audio([samples]), [samples], "v2").shape[1] == frame_count(samples)
    assert frame_count(MIN_SAMPLES) == 1


def test_a_bin_file_with_the_old_names_in_half_precision_loads(tmp_path: Path) -> None:
    half = {key: tensor.half() for key, tensor in old_names(weights()).items()}
    assert any(key.endswith("pos_conv_embed.conv.weight_g") for key in half)
    torch.save(half, copy_of(tmp_path, "model.safetensors") / "pytorch_model.bin")
    loaded = ContentEncoder.load(tmp_path, CPU)
    assert loaded.dtype == torch.float32
    state = loaded._models["v2"].state_dict()
    name = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    assert torch.equal(state[name], weights()[name].half().float())


def test_an_encoder_without_projection_serves_v2_and_says_what_v1_needs(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in weights().items() if not key.startswith("final_proj.")}
    save_file(state, copy_of(tmp_path, "model.safetensors") / "model.safetensors")
    loaded = ContentEncoder.load(tmp_path, CPU)
    assert loaded.features(audio([400]), [400], "v2").shape == (1, 1, 768)
    with pytest.raises(ModelFilesError, match=r"no final_proj\.weight, which v1 voices need"):
        loaded.features(audio([400]), [400], "v1")


def test_the_weights_are_copies_that_outlive_the_file(tmp_path: Path) -> None:
    loaded = ContentEncoder.load(copy_of(tmp_path), CPU)
    path = tmp_path / "model.safetensors"
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert loaded.features(audio([400]), [400], "v2").abs().sum() > 1


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named_with_its_place_and_the_command(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFilesError) as error:
        ContentEncoder.load(copy_of(tmp_path, name), CPU)
    assert str(tmp_path / name) in str(error.value)
    assert "kubevoice models pull" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\x00\xff nonsense", b"[1, 2]", None])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "pytorch_model.bin"])
def test_a_torn_file_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = copy_of(tmp_path, name, "model.safetensors") / name
    path.write_bytes(
        (cached_content_encoder() / "model.safetensors").read_bytes()[:9999] if content is None else content
    )
    with pytest.raises(ModelFilesError, match=name.replace(".", r"\.")):
        ContentEncoder.load(tmp_path, CPU)


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch /tmp/kubevoice-content-was-here",)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"a": _Evil()}, copy_of(tmp_path, "model.safetensors") / "pytorch_model.bin")
    with pytest.raises(ModelFilesError, match="more than tensors"):
        ContentEncoder.load(tmp_path, CPU)
    assert not Path("/tmp/kubevoice-content-was-here").exists()


@pytest.mark.parametrize(
    ("key", "tensor", "message"),
    [
        ("encoder.layer_norm.bias", None, r"lacks encoder\.layer_norm\.bias \(shape \[768\]\)"),
        (
            "final_proj.weight",
            torch.zeros(768, 256),
            r"final_proj\.weight has shape \[768, 256\] instead of \[256, 768\]",
        ),
        (
            "encoder.layer_norm.bias",
            torch.full((768,), torch.nan),
            r"encoder\.layer_norm\.bias has values .* not finite",
        ),
    ],
)
def test_a_wrong_tensor_is_named(tmp_path: Path, key: str, tensor: torch.Tensor | None, message: str) -> None:
    state = {name: value for name, value in weights().items() if name != key} | (
        {} if tensor is None else {key: tensor}
    )
    save_file(state, copy_of(tmp_path, "model.safetensors") / "model.safetensors")
    with pytest.raises(ModelFilesError, match=message):
        ContentEncoder.load(tmp_path, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 1024, "num_attention_heads": 16}, "of width 1024 with 12 layers"),
        ({"num_hidden_layers": 6}, "with 6 layers"),
        ({"model_type": "wav2vec2"}, "wav2vec2 model"),
        ({"feat_extract_norm": "layer"}, "whose norms are not those of HuBERT base"),
        ({"do_stable_layer_norm": True}, "whose norms are not those of HuBERT base"),
    ],
)
def test_a_configuration_of_another_model_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    config = json.loads((cached_content_encoder() / "config.json").read_text())
    (copy_of(tmp_path) / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelFilesError, match=message):
        ContentEncoder.load(tmp_path, CPU)


def test_half_precision_keeps_the_first_norm_in_float32(encoder: ContentEncoder) -> None:
    """The norm alone: the layers of a GPU's half precision are not all there on a CPU."""
    norm = encoder._norm
    quiet = 1e-3 * audio([3_000, 2_000])[:, None].expand(-1, len(norm.weight), -1)
    with norm.only([3_000, 2_000]):
        full, half = norm(quiet), norm(quiet.half())
    assert half.dtype == torch.float16
    assert relative(half[1, :, :2_000].float(), full[1, :, :2_000]) < 2e-3


@pytest.mark.slow
def test_the_released_size_agrees_with_transformers_and_with_itself_in_a_batch() -> None:
    directory = cached_content_encoder("full")
    encoder = ContentEncoder.load(directory, CPU)
    speech, lengths = audio([48_000, 30_000]), [48_000, 30_000]
    batched = encoder.features(speech, lengths, "v2")
    plain = HubertModel.from_pretrained(directory).eval().requires_grad_(False)
    for item, length in enumerate(lengths):
        alone = plain(speech[item : item + 1, :length]).last_hidden_state[0]
        assert relative(batched[item, : len(alone)], alone) < 1e-5
