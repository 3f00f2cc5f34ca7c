"""Matrix products and convolutions with weights laid out once for the machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

ROWS = 128
"""Rows that the layout is chosen for; others work as well."""

CPU_INFO = Path("/proc/cpuinfo")


class Linear:
    """``x @ weight.T + bias`` for ``weight`` [out, in] and ``bias`` [out], in the weight's own dtype.

    On a CPU the weight is kept in oneDNN's blocked layout, as torch's compiler does it: measured on 16 rows in float32
    it is three times as fast as the plain layout, which is rearranged in every call.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = _pack(weight) if can_pack(weight) else weight.contiguous()
        self._product: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] = (
            _packed_product if can_pack(weight) else functional.linear
        )
        self._bias = bias.contiguous()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out]."""
        return self._product(x, self._weight, self._bias)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """``x @ weight.T + bias`` for a ``weight`` that is used once, or too rarely to be kept in another layout.

    On a CPU by oneDNN, which is up to 2.5 times as fast in float32 on AMD processors as the library that torch takes.
    """
    if can_pack(weight) and x.dtype == weight.dtype:
        return _packed_product(x, weight, bias)
    return functional.linear(x, weight, bias)


def can_pack(weight: torch.Tensor) -> bool:
    """Whether this build of torch has oneDNN's layout for ``weight``; the operators are torch's own, but unofficial."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return weight.dtype in {torch.float32, torch.bfloat16} and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def _pack(weight: torch.Tensor) -> torch.Tensor:
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS)
    return packed


def _packed_product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class PackedConvolution:
    """``conv2d`` with ``weight`` [out, in, height, width] and ``bias`` [out], for channels last.

    On a CPU the weight is kept in oneDNN's layout, which torch makes again in every call: the wider the layer and the
    smaller the image the longer that takes, up to a fifth of the whole. ``like`` [batch, in, height, width] is a usual
    input's size, which the layout is chosen for; others work as well.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        like: tuple[int, int, int, int],
        *,
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> None:
        self.nbytes = int(weight.nbytes + (0 if bias is None else bias.nbytes))
        self._bias = bias
        self._padding, self._groups = padding, groups
        self._packs = can_pack(weight) and weight.dtype == torch.float32
        self._weight = weight.contiguous(memory_format=torch.channels_last)
        if self._packs:
            self._weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
                weight.contiguous().to_mkldnn(), padding, (1, 1), (1, 1), groups, like
            )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[B, in, height, width] to [B, out, ...]."""
        if not self._packs:
            return functional.conv2d(x, self._weight, self._bias, padding=self._padding, groups=self._groups)
        made: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, self._padding, (1, 1), (1, 1), self._groups, "none", [], ""
        )
        return made


class BatchedLinear:
    """``x[:, i] @ weight[i]`` for every i at once, of ``weight`` [count, in, out].

    Intel's MKL takes 0.8 times as long for it as oneDNN's grouped convolution on Intel's processors, and is not trusted
    with others (see ``linear``). ``rows`` is a usual number of them.
    """

    def __init__(self, weight: torch.Tensor, rows: int) -> None:
        count, inputs, out = weight.shape
        self.nbytes = int(weight.nbytes)
        self._count, self._out = count, out
        self._weight: torch.Tensor | None = None
        if can_pack(weight) and not mkl_knows_this_processor():
            kernels = weight.mT.reshape(count * out, inputs, 1, 1)
            self._convolution = PackedConvolution(kernels, None, (1, count * inputs, 1, rows), groups=count)
        else:
            self._weight = weight.contiguous()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, count, in], contiguous, to [rows, count, out]."""
        if self._weight is not None:
            return torch.bmm(x.transpose(0, 1), self._weight).transpose(0, 1)
        return self._convolution(x.flatten(1)[None].mT[:, :, None])[0, :, 0].mT.unflatten(1, (self._count, self._out))


@functools.cache
def mkl_knows_this_processor() -> bool:
    """Whether Intel's library, which torch takes for products of plain matrices, uses all the processor has."""
    try:
        return torch.backends.mkl.is_available() and "GenuineIntel" in CPU_INFO.read_text("utf-8")
    except OSError:
        return False


class PackedLinear(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
    """Stands in for a ``torch.nn.Linear`` in a module that is only used, not trained."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        bias = torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias
        self._product = Linear(layer.weight.detach(), bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._product(x)


def pack_linears(module: torch.nn.Module) -> None:
    """Replace every linear layer inside ``module`` whose weight ``can_pack``."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.Linear) and can_pack(child.weight):
            setattr(module, name, PackedLinear(child))
        else:
            pack_linears(child)
