"""Memory that nobody writes is not taken."""

import psutil
import torch

from serving.engines.memory import give_back, untouched_zeros


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def test_zeros_take_the_memory_of_the_rows_that_are_written() -> None:
    before = resident()
    zeros = untouched_zeros(1000, 512, 1024)  # 2 GB, rows of 2 MB
    assert resident() - before < 2**20
    zeros[:, 0] = 1.0  # 4 kB of each
    assert resident() - before < 40 * 2**20
    assert zeros[:, 0].eq(1.0).all()
    assert not zeros[7, 1:].any()
    assert zeros.shape == (1000, 512, 1024)


def test_a_tensor_keeps_its_pages() -> None:
    part = untouched_zeros(4, 1024)[2]
    part += 1
    assert torch.equal(part, torch.ones(1024))


def test_what_was_freed_goes_back_to_the_system() -> None:
    pieces = [torch.ones(16_000) for _ in range(3000)]  # 64 kB each: below malloc's threshold for pages of their own
    full = resident()
    keep = pieces[-1]
    del pieces
    give_back()
    assert full - resident() > 100 * 2**20
    assert keep.sum() == 16_000
