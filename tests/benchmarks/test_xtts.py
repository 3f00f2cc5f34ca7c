"""The benchmark itself, with a tiny model: what it says of a full-size one is worth nothing if this does not hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.coqui import POSITIONS, Coqui, fixed_checkpoint
from tests.factories.xtts import cached_checkpoint

KEYS = [
    "device",
    "concurrency",
    "decode_ratio",
    "request_ratio",
    "audio_s_per_s",
    "first_audio_p50_ms",
    "first_audio_p95_ms",
    "peak_memory_mb",
    "parity_max_rel",
]


def test_both_engines_are_measured_and_compared() -> None:
    options = ["--size", "tiny", "--concurrency", "2", "--tokens", "20", "--device", "cpu", "--threads", "1"]
    # In a process of its own: what other tests freed would serve it, and its memory would not grow.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.xtts", *options], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert list(result) == KEYS
    assert (result["device"], result["concurrency"]) == ("CPU, 1 threads", 2)
    assert 0 < result["first_audio_p50_ms"] <= result["first_audio_p95_ms"]
    assert min(result[key] for key in KEYS[2:]) > 0
    assert result["parity_max_rel"] < 1e-5


def test_an_utterance_has_the_wanted_length_and_the_shared_checkpoint_stays_as_it_is(tmp_path: Path) -> None:
    shared = torch.load(cached_checkpoint() / "model.pth", mmap=True, weights_only=True)["model"][POSITIONS].clone()
    coqui = Coqui(fixed_checkpoint("tiny", 33, tmp_path / "copy"), "tiny", torch.device("cpu"))
    for text in ("Short.", "A much longer sentence that would take the voice a while to say."):
        for greedy in (False, True):
            assert len(coqui.speak(text, "Berta", "de", 33, greedy=greedy).audio) == 33 * 4 * 24000 // 22050 * 256
    after = torch.load(cached_checkpoint() / "model.pth", mmap=True, weights_only=True)["model"][POSITIONS]
    assert torch.equal(after, shared)
