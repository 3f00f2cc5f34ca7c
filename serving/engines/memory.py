"""Memory that is taken when it is used, and given back when it is not."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap

import torch


def untouched_zeros(*sizes: int) -> torch.Tensor:
    """float32 zeros of which only the pages that are written take memory.

    ``torch.zeros`` writes them all, and numpy asks for pages of 2 MB, one of which is taken for every row.
    """
    pages = mmap.mmap(-1, 4 * math.prod(sizes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.float32).view(sizes)


def give_back() -> None:
    """Return what was freed to the system, where it is kept: by the C library (glibc), 1.2 GB after XTTS has been
    loaded, and by torch for its GPUs."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
