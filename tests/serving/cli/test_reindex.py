"""The tables come back from the volume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from serving.audio.wav import wav_bytes
from serving.cli import app
from serving.store.conversion_models import ConversionModelStore
from serving.store.database import Database
from serving.store.volume import Volume


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

    assert (result.exit_code, result.stdout) == (0, "1 voices, 0 conversion models, 0 datasets, 0 training runs\n")
    assert runner.invoke(app, ["voices", "list", "--json", "--data", data]).stdout == before


def test_conversion_models_survive_it_as_well(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.create()
    database = Database.for_volume(None, tmp_path)
    database.migrate()
    store = ConversionModelStore(volume, database)

    def fill(directory: Path) -> dict[str, object]:
        (directory / "weights.safetensors").write_bytes(b"weights")
        return {"version": "v2", "sample_rate": 48000, "f0": False, "speakers": 1}

    model = store.add(tenant="default", name="ada", fill=fill)
    database.close()
    for file in tmp_path.glob("kubevoice.db*"):
        file.unlink()

    result = CliRunner().invoke(app, ["reindex", "--data", str(tmp_path)])

    assert (result.exit_code, result.stdout) == (0, "0 voices, 1 conversion models, 0 datasets, 0 training runs\n")
    assert store.list("default") == [model]
    database.close()
