from pathlib import Path
from typing import Any

import pytest
import torch

from serving.engines.rvc.upload import read_upload
from serving.errors import InvalidRequest, PayloadTooLarge
from tests.factories.rvc import (
    USUAL,
    VARIANTS,
    Variant,
    applio_content,
    content_of,
    make_model,
    make_voice,
    training_content,
    weights_of,
)


def saved(content: Any, directory: Path) -> Path:
    torch.save(content, directory / "voice.pth")
    return directory / "voice.pth"


def refused(path: Path) -> str:
    """Why the file is."""
    with pytest.raises(InvalidRequest) as caught:
        read_upload(path)
    assert caught.value.param == "file"
    assert str(path.parent) not in caught.value.message
    assert len(caught.value.message) < 400
    return caught.value.message


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_kind_of_voice_is_read_with_its_own_numbers(variant: Variant, tmp_path: Path) -> None:
    voice = read_upload(make_voice(tmp_path / "voice.pth", variant))
    config = voice.config
    assert (config.version, config.sample_rate, config.f0) == (variant.version, variant.rate, variant.f0)
    assert (config.hop, config.speakers, config.embedder) == (variant.rate // 100, 5, "contentvec")
    assert voice.notes == ()
    expected = weights_of(make_model(variant))
    assert voice.weights.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(voice.weights[key], tensor)
        assert voice.weights[key].dtype == torch.float16


def test_a_voice_outlives_its_file(tmp_path: Path) -> None:
    path = make_voice(tmp_path / "voice.pth")
    voice = read_upload(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(voice.weights["emb_g.weight"], weights_of(make_model())["emb_g.weight"])


def test_applio_s_voices_are_read_and_their_encoder_is_remembered(tmp_path: Path) -> None:
    voice = read_upload(saved(applio_content(), tmp_path))
    assert voice.config.embedder == "spin"
    assert voice.notes == ()


def test_weights_in_float32_stay_so(tmp_path: Path) -> None:
    content = content_of()
    content["weight"] = {key: tensor.float() for key, tensor in content["weight"].items()}
    assert {tensor.dtype for tensor in read_upload(saved(content, tmp_path)).weights.values()} == {torch.float32}


def test_weight_norm_s_newer_names_and_training_s_encoder_are_understood(tmp_path: Path) -> None:
    content = content_of()
    content["weight"] = {
        key.replace(".weight_g", ".parametrizations.weight.original0").replace(
            ".weight_v", ".parametrizations.weight.original1"
        ): tensor
        for key, tensor in content["weight"].items()
    } | {"enc_q.pre.weight": torch.zeros(32, 1025, 1).half()}
    assert "dec.ups.0.parametrizations.weight.original0" in content["weight"]
    assert read_upload(saved(content, tmp_path)).weights.keys() == weights_of(make_model()).keys()


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        ({"version": "v1"}, ['the file says version "v1", its weights are v2']),
        ({"f0": 0}, ['the file says f0 "0", its weights are True']),
        ({"sr": "48k"}, ['the file says sr "48000", its weights are 40000']),
        ({"sr": 40_000, "f0": True}, []),
    ],
)
def test_weights_go_before_what_the_file_says_of_itself(
    change: dict[str, Any], notes: list[str], tmp_path: Path
) -> None:
    voice = read_upload(saved(content_of() | change, tmp_path))
    assert list(voice.notes) == notes
    assert (voice.config.version, voice.config.f0, voice.config.sample_rate) == ("v2", True, 40_000)


def test_the_least_a_file_has_is_weight_and_config(tmp_path: Path) -> None:
    content = content_of()
    config = [*content["config"][:15], 3, 16, "40k"]
    voice = read_upload(saved({"weight": content["weight"], "config": tuple(config)}, tmp_path))
    assert (voice.config.speakers, voice.config.sample_rate, voice.notes) == (5, 40_000, ())


def test_a_training_checkpoint_is_refused_with_what_to_upload_instead(tmp_path: Path) -> None:
    assert "training checkpoint" in refused(saved(training_content(), tmp_path))


@pytest.mark.parametrize("vocoder", ["MRF HiFi-GAN", "RefineGAN", "Vocos", 7, None])
def test_other_vocoders_are_refused_by_name(vocoder: Any, tmp_path: Path) -> None:
    message = refused(saved(applio_content() | {"vocoder": vocoder}, tmp_path))
    assert f'vocoder "{vocoder}", which cannot be served' in message


def test_a_vocoder_without_its_name_is_known_by_its_blocks(tmp_path: Path) -> None:
    content = content_of()
    content["weight"]["dec.mrfs.0.0.convs1.0.weight_g"] = torch.zeros(1).half()
    assert 'vocoder "MRF HiFi-GAN"' in refused(saved(content, tmp_path))


@pytest.mark.parametrize("content", [[1], {"a": 1}, {"weight": {}}, {"weight": [1]}, {"weight": {"a": 1}}, None, 3])
def test_something_else_is_no_voice(content: Any, tmp_path: Path) -> None:
    assert "under the key weight" in refused(saved(content, tmp_path))


@pytest.mark.parametrize(
    ("key", "tensor", "message"),
    [
        ("dec.conv_pre.bias", None, r"dec.conv_pre.bias (shape [64]) is missing"),
        ("dec.conv_pre.bias", torch.zeros(65), "dec.conv_pre.bias has shape [65] instead of [64]"),
        ("dec.extra", torch.zeros(1), '"dec.extra" is no part of an RVC voice'),
        (
            "dec.conv_pre.bias",
            torch.full((64,), float("inf")),
            "values in dec.conv_pre.bias that cannot be computed with",
        ),
        ("dec.ups.0.weight_v", torch.full((64, 32, 16), 1e-30), "a weight norm in dec.ups.0.weight that cannot"),
        ("dec.ups.0.weight_v", torch.zeros(64, 32, 16), "a weight norm in dec.ups.0.weight that cannot"),
        ("dec.conv_pre.bias", torch.zeros(64, dtype=torch.int64), '"dec.conv_pre.bias" of type torch.int64'),
        ("dec.conv_pre.bias", torch.zeros(64).to_sparse(), "_rebuild_sparse_tensor"),
        ("enc_p.emb_phone.weight", torch.zeros(32, 512), "512 channels"),
        ("enc_p.emb_phone.weight", None, "lacks the tensor enc_p.emb_phone.weight"),
        ("emb_g.weight", torch.zeros(5), "lacks the tensor emb_g.weight"),
        ("enc_p.emb_pitch.weight", None, "is no part of an RVC voice of this kind"),
        ("dec.conv_pre.bias", torch.zeros(1).expand(64), "instead"),
    ],
)
def test_a_wrong_tensor_is_named(key: str, tensor: torch.Tensor | None, message: str, tmp_path: Path) -> None:
    content = content_of()
    if tensor is None:
        del content["weight"][key]
    else:
        content["weight"][key] = tensor
    if message == "instead":  # one value for many: sound, if odd
        assert read_upload(saved(content, tmp_path)).weights[key].is_contiguous()
    else:
        assert message in refused(saved(content, tmp_path))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (3, "wide", "config[3] (hidden_channels)"),
        (6, 10**9, "config[6] (layers)"),
        (6, 3, "enc_p.encoder.attn_layers.2.emb_rel_k (shape [1, 21, 16]) is missing"),
        (9, "2", 'resblocks of kind "2"'),
        (11, [[1, 3]] * 3, '"dec.resblocks.0.convs1.2.bias" is no part'),
        (12, [10, 10, 2], "differ in number"),
        (12, [10, [10], 2, 2], "config[12] (upsample_rates)"),
        (12, [10] * 9, "config[12] (upsample_rates)"),
        (17, 44_100, "400 samples of 10 ms, not 441"),
        (17, None, "config[17] (sample_rate)"),
        (17, torch.zeros(3), "config[17] (sample_rate)"),
    ],
)
def test_an_unusable_config_is_refused_by_position(position: int, value: Any, message: str, tmp_path: Path) -> None:
    content = content_of()
    content["config"][position] = value
    assert message in refused(saved(content, tmp_path))


@pytest.mark.parametrize("config", [None, {}, [], list(range(17)), "config"])
def test_a_config_of_another_length_is_refused(config: Any, tmp_path: Path) -> None:
    assert "config of 18 values" in refused(saved(content_of() | {"config": config}, tmp_path))


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = make_voice(tmp_path / "voice.pth", USUAL)
    with pytest.raises(PayloadTooLarge, match="at most 1000 are taken") as caught:
        read_upload(path, max_bytes=1000)
    assert caught.value.param == "file"
