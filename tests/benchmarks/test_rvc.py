"""The benchmark itself, with tiny models beside the plain pipeline: there the two have to agree."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import rvc, rvc_oracle

KEYS = ["device", "alone_ratio", "throughput_ratio_8", "switch_ratio", "parity_max_abs", "rtf"]


def test_both_pipelines_are_measured_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        rvc.main(["--size", "tiny", "--seconds", "2", "--device", "cpu", "--threads", "1"])
    finally:
        torch.set_num_threads(before)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result) == KEYS
    assert result["device"] == "CPU, 1 threads"
    assert min(result[key] for key in KEYS[1:]) > 0
    assert result["parity_max_abs"] < 1e-4


def test_an_environment_that_cannot_be_made_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.raises(SystemExit, match=r"could not make the environment .*--oracle-python"):
        rvc_oracle.oracle_python()


def test_an_oracle_that_ends_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended while it should open"):
        rvc_oracle.InferRvc(Path(sys.executable), tmp_path, 1, cpu=True)
