"""Files of tensors are what the safetensors library reads and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from serving.errors import ModelFilesError
from training.xtts.tensors import NAMES, read_tensors, write_tensors


def test_the_library_reads_every_type_and_shape(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {str(dtype): (torch.randn(3, 5, 2) * 9).to(dtype) for dtype in NAMES}
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.empty(0, 4), "strided": torch.randn(6, 4).T[::2]}
    write_tensors(tmp_path / "file", tensors)
    for read in (load_file(tmp_path / "file"), read_tensors(tmp_path / "file")):
        assert read.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert read[name].dtype == tensor.dtype
            assert torch.equal(read[name], tensor), name


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", {"a": torch.zeros(100)})
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:200])
    with pytest.raises(ModelFilesError, match=str(tmp_path / "file")):
        read_tensors(tmp_path / "file")
