import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Workers of pytest-xdist that each take all cores wait for each other."""
    torch.set_num_threads(1)
