"""Which revision serves, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving.cli import app
from serving.store.models import ModelStore
from serving.store.volume import Volume
from tests.serving.store.test_promotion import fill, make_export


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    """A volume with two revisions of the model of the settings, of which r2 serves."""
    models = ModelStore(Volume(tmp_path))
    models.volume.create()
    for revision in ("r1", "r2"):
        with models.publish("xtts", "xtts_v2", revision, {}) as directory:
            fill(directory, revision)
    return models


def invoke(models: ModelStore, *arguments: str) -> Result:
    runner = CliRunner(env={"KUBEVOICE_DATA": str(models.volume.root)})
    return runner.invoke(app, ["models", *arguments])


def test_a_revision_is_promoted_and_rolled_back(models: ModelStore) -> None:
    assert invoke(models, "promote", "r1").stdout == "xtts/xtts_v2@r1 is current\n"
    assert invoke(models, "rollback").stdout == "xtts/xtts_v2@r2 is current\n"
    assert invoke(models, "rollback", "r1").stdout == "xtts/xtts_v2@r1 is current\n"
    refused = invoke(models, "rollback")
    assert refused.exit_code == 2
    assert "promote the one you want" in refused.stderr


def test_what_a_run_exported_last_is_promoted(models: ModelStore) -> None:
    make_export(models, "narrator-1", run="narrator")
    answer = invoke(models, "promote", "--run", "acme/narrator")
    assert answer.stdout == "xtts/xtts_v2@narrator-1 is current\n"
    assert invoke(models, "promote", "--run", "acme/narrator", "--name", "other").exit_code == 0
    assert [(model.name, model.revision) for model in models.list() if model.current] == [
        ("other", "narrator-1"),
        ("xtts_v2", "narrator-1"),
    ]


def test_a_run_without_a_tenant_is_the_default_ones(models: ModelStore) -> None:
    assert "run default/narrator has exported nothing" in invoke(models, "promote", "--run", "narrator").stderr


@pytest.mark.parametrize("arguments", [(), ("r1", "--run", "acme/narrator"), ("r9",)])
def test_what_cannot_be_meant_is_refused(models: ModelStore, arguments: tuple[str, ...]) -> None:
    refused = invoke(models, "promote", *arguments)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: ")
    assert [model.revision for model in models.list() if model.current] == ["r2"]
