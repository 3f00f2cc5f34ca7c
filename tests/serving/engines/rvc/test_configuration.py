import math

import pytest
from pydantic import ValidationError

from serving.engines.rvc.configuration import RvcConfig
from tests.factories.rvc import VARIANTS, Variant, make_model, weights_of

V2_40K = RvcConfig(
    version="v2",
    f0=True,
    speakers=109,
    sample_rate=40_000,
    inter_channels=192,
    hidden_channels=192,
    filter_channels=768,
    heads=2,
    layers=6,
    kernel_size=3,
    resblock_kernels=(3, 7, 11),
    resblock_dilations=((1, 3, 5),) * 3,
    upsample_rates=(10, 10, 2, 2),
    upsample_channels=512,
    upsample_kernels=(16, 16, 4, 4),
    speaker_channels=256,
)
V1_48K = V2_40K.model_copy(
    update={
        "version": "v1",
        "sample_rate": 48_000,
        "upsample_rates": (10, 6, 2, 2, 2),
        "upsample_kernels": (16, 16, 4, 4, 4),
    }
)


@pytest.mark.parametrize(
    ("config", "f0", "tensors"), [(V2_40K, True, 457), (V2_40K, False, 446), (V1_48K, True, 516), (V1_48K, False, 503)]
)
def test_released_voices_have_as_many_tensors(config: RvcConfig, f0: bool, tensors: int) -> None:
    shapes = config.model_copy(update={"f0": f0}).shapes()
    assert len(shapes) == tensors
    assert 27.3e6 < sum(math.prod(shape) for shape in shapes.values()) < 28.8e6


def test_shapes_are_those_of_released_voices() -> None:
    shapes = V2_40K.shapes()
    assert shapes["enc_p.emb_phone.weight"] == (192, 768)
    assert shapes["enc_p.encoder.attn_layers.5.emb_rel_k"] == (1, 21, 96)
    assert shapes["flow.flows.6.enc.res_skip_layers.2.weight_v"] == (192, 192, 1)
    assert shapes["dec.ups.3.weight_v"] == (64, 32, 4)
    assert shapes["dec.ups.3.weight_g"] == (64, 1, 1)
    assert [shapes[f"dec.noise_convs.{at}.weight"] for at in range(4)] == [
        (256, 1, 80),
        (128, 1, 8),
        (64, 1, 4),
        (32, 1, 1),
    ]
    assert "dec.conv_post.bias" not in shapes
    assert (V2_40K.hop, V1_48K.hop) == (400, 480)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_shapes_are_those_of_the_reference(variant: Variant) -> None:
    config = RvcConfig(
        version=variant.version,
        f0=variant.f0,
        speakers=5,
        sample_rate=variant.rate,
        inter_channels=16,
        hidden_channels=32,
        filter_channels=64,
        heads=2,
        layers=2,
        kernel_size=3,
        resblock_kernels=(3, 7, 11),
        resblock_dilations=((1, 3, 5),) * 3,
        upsample_rates=tuple(variant.upsampling[0]),
        upsample_channels=64,
        upsample_kernels=tuple(variant.upsampling[1]),
        speaker_channels=16,
    )
    assert config.shapes() == {key: tuple(tensor.shape) for key, tensor in weights_of(make_model(variant)).items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 44_100}, "400 samples of 10 ms, not 441"),
        ({"upsample_kernels": (16, 16, 4)}, "differ in number"),
        ({"upsample_kernels": (15, 16, 4, 4)}, "does not fit its rate"),
        ({"upsample_rates": (10, 8, 5, 1), "upsample_kernels": (16, 16, 5, 1)}, "odd stride"),
        ({"upsample_channels": 520}, "halved"),
        ({"heads": 5}, "n_heads"),
        ({"resblock_kernels": (3, 7, 10)}, "resblock kernel"),
        ({"upsample_channels": 100_000}, "upsample_channels"),
        ({"layers": True}, "layers"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RvcConfig.model_validate(V2_40K.model_dump() | change)
