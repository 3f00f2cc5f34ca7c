from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.factories.rvc import make_voice
from tests.serving.engines.rvc.hostile import CANARY


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Workers of pytest-xdist that each take all cores wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture
def _nothing_happens(tmp_path: Path) -> Iterator[None]:
    """No payload runs, and nothing but the upload lies where it lay."""
    CANARY.unlink(missing_ok=True)
    yield
    assert not CANARY.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"voice.pth"}


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a voice with nothing wrong."""
    return make_voice(tmp_path_factory.mktemp("sound") / "voice.pth").read_bytes()
