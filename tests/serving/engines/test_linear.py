from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from serving.engines import linear
from serving.engines.linear import BatchedLinear, Linear, PackedConvolution, can_pack, pack_linears

WIDE, OUT = 256, 384


def layer(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(OUT, WIDE, generator=generator), torch.randn(OUT, generator=generator)
    return weight.to(dtype), bias.to(dtype)


def rows(*sizes: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*sizes, WIDE, generator=torch.Generator().manual_seed(1)).to(dtype)


def error(product: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> float:
    """Of ``product`` against the exact one, relative to the largest value there."""
    exact = functional.linear(x.double(), weight.double(), bias.double())
    assert product.shape == exact.shape
    return float((product.double() - exact).abs().max() / exact.abs().max())


def forbid_the_plain_product(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the weights are not packed")

    monkeypatch.setattr(functional, "linear", forbidden)


needs_packing = pytest.mark.skipif(not can_pack(torch.zeros(1, 1)), reason="this build of torch has no oneDNN")


@needs_packing
@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 31, 64, 127, 128, 129, 200])
def test_the_packed_product_is_the_plain_one_for_any_number_of_rows(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, bias = layer()
    x = rows(count)
    plain = functional.linear(x, weight, bias)
    with monkeypatch.context() as patch:
        forbid_the_plain_product(patch)
        product = Linear(weight, bias)(x)
    assert (product - plain).abs().max() < 1e-6 * plain.abs().max()
    assert error(product, x, weight, bias) < 1e-6
    assert error(product, x, weight, bias + 1e-3) > 1e-6


@needs_packing
@pytest.mark.parametrize("count", [1, 16, 200])
def test_bfloat16_is_exact_to_its_own_rounding(count: int) -> None:
    weight, bias = layer(torch.bfloat16)
    x = rows(count, dtype=torch.bfloat16)
    product = Linear(weight, bias)(x)
    assert product.dtype == torch.bfloat16
    assert error(product, x, weight, bias) < 2**-8


def test_leading_dimensions_stay() -> None:
    weight, bias = layer()
    x = rows(3, 5)
    assert Linear(weight, bias)(x).shape == (3, 5, OUT)
    assert Linear(weight, bias)(x[:, :1]).shape == (3, 1, OUT)
    assert error(Linear(weight, bias)(x), x, weight, bias) < 1e-6


def test_a_transposed_weight_and_rows_that_are_not_contiguous_are_taken_as_they_are() -> None:
    weight, bias = layer()
    x = rows(4, 2)[:, 0]
    product = Linear(weight.T.contiguous().T, bias)(x)
    assert not x.is_contiguous()
    assert error(product, x, weight, bias) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_onednn_the_product_is_the_same(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = layer(dtype)
    x = rows(16, dtype=dtype)
    packed = Linear(weight, bias)(x)
    monkeypatch.setattr(linear, "can_pack", lambda weight: False)
    plain = Linear(weight, bias)
    assert torch.equal(plain(x), functional.linear(x, weight, bias))
    assert (plain(x) - packed).abs().max() <= (1e-6 if dtype == torch.float32 else 2**-7) * packed.abs().max()


def test_what_onednn_has_no_layout_for_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = layer(torch.float64)
    assert not can_pack(weight)
    assert not can_pack(torch.empty(2, 2, device="meta"))
    assert error(Linear(weight, bias)(rows(3).double()), rows(3), weight, bias) < 1e-14
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not can_pack(layer()[0])


def test_the_linear_layers_of_a_module_are_replaced_and_compute_the_same() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(48, 64), torch.nn.GELU(), torch.nn.Sequential(torch.nn.Linear(64, 32, bias=False))
    ).requires_grad_(False)
    x = torch.randn(2, 7, 48)
    expected = module(x)
    pack_linears(module)
    assert not [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)]
    assert torch.allclose(module(x), expected, atol=1e-6)


@needs_packing
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_used_once_give_the_plain_product_of_any_rows(dtype: torch.dtype) -> None:
    weight, bias = layer(dtype)
    for x in (rows(3, dtype=dtype), rows(2, 65, dtype=dtype), rows(70, dtype=dtype)[::2]):
        assert error(linear.linear(x, weight, bias), x, weight, bias) < 1e-6


def image(channels: int, height: int, width: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, channels, height, width, generator=generator).contiguous(
        memory_format=torch.channels_last
    )


KERNELS: list[dict[str, Any]] = [{}, {"groups": 4}, {"padding": (1, 1)}, {"groups": 2, "padding": (1, 0)}]


@pytest.mark.parametrize("options", KERNELS)
@pytest.mark.parametrize("size", [(5, 40), (9, 12), (64, 3 * 8)])
@pytest.mark.parametrize("packs", [True, False])
def test_a_packed_convolution_is_the_plain_one_for_images_of_any_size(
    options: dict[str, Any], size: tuple[int, int], packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.randn(32, 16 // options.get("groups", 1), 3, 3, generator=torch.Generator().manual_seed(0))
    bias = torch.arange(32.0)
    if not packs:
        monkeypatch.setattr(linear, "can_pack", lambda weight: False)
    packed = PackedConvolution(weight, bias, (1, 16, 9, 40), **options)
    for x in (image(16, *size), image(16, *size, batch=3)):
        exact = functional.conv2d(x.double(), weight.double(), bias.double(), **options)
        made = packed(x)
        assert made.shape == exact.shape
        assert made.is_contiguous(memory_format=torch.channels_last)
        assert (made - exact).abs().max() < 2e-6 * exact.abs().max()


def test_a_packed_convolution_keeps_a_copy_and_tells_its_size() -> None:
    weight = torch.ones(16, 16, 1, 3)
    packed = PackedConvolution(weight, None, (1, 16, 1, 9))
    before = packed(image(16, 1, 9))
    weight.zero_()
    if can_pack(weight):
        assert torch.equal(packed(image(16, 1, 9)), before)
    assert packed.nbytes == 4 * 16 * 16 * 3


@pytest.mark.parametrize("way", ["mkl", "oneDNN", "neither"])
def test_a_batch_of_products_is_the_same_in_every_way(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "mkl_knows_this_processor", lambda: way == "mkl")
    if way == "neither":
        monkeypatch.setattr(linear, "can_pack", lambda weight: False)
    weight = torch.randn(7, 24, 40, generator=torch.Generator().manual_seed(0))
    product = BatchedLinear(weight, 9)
    assert hasattr(product, "_convolution") is (way == "oneDNN" and can_pack(weight))
    assert product.nbytes == weight.nbytes
    for rows in (1, 9, 30):
        x = torch.randn(rows, 7, 24, generator=torch.Generator().manual_seed(rows))
        exact = torch.einsum("rci,cio->rco", x.double(), weight.double())
        made = product(x)
        assert made.shape == exact.shape
        assert (made - exact).abs().max() < 2e-6 * exact.abs().max()


@pytest.mark.parametrize(
    ("cpuinfo", "knows"), [("vendor_id\t: GenuineIntel\n", True), ("vendor_id\t: AuthenticAMD\n", False), (None, False)]
)
def test_mkl_is_for_intel_s_processors(
    cpuinfo: str | None, knows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "CPU_INFO", tmp_path / "cpuinfo")
    if cpuinfo is not None:
        linear.CPU_INFO.write_text(cpuinfo)
    assert linear.mkl_knows_this_processor.__wrapped__() is (knows and torch.backends.mkl.is_available())
