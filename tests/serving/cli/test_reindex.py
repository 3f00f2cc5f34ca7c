"""The voice table comes back from the volume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from serving.audio.wav import wav_bytes
from serving.cli import app


def test_voices_survive_the_loss_of_the_database(tmp_path: Path) -> None:
    runner, data = CliRunner(), str(tmp_path / "data")
    tone = (0.5 * np.sin(np.arange(32000) / 10)).astype(np.float32)
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone, 16000))
    runner.invoke(app, ["voices", "add", str(tmp_path / "a.wav"), "--name", "alice", "--data", data])
    before = runner.invoke(app, ["voices", "list", "--json", "--data", data]).stdout
    for file in (tmp_path / "data").glob("kubevoice.db*"):
        file.unlink()
    assert json.loads(runner.invoke(app, ["voices", "list", "--json", "--data", data]).stdout) == []

    result = runner.invoke(app, ["reindex", "--data", data])

    assert (result.exit_code, result.stdout) == (0, "1 voices\n")
    assert runner.invoke(app, ["voices", "list", "--json", "--data", data]).stdout == before
