from __future__ import annotations

from pathlib import Path

import pytest

from tests.factories.training_run import make_run, run_here


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs of two steps, with one sample, that nothing interrupted."""
    directory = make_run(tmp_path_factory.mktemp("finished"), samples=1)
    assert run_here(directory) == 0
    return directory
