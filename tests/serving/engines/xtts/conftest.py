import asyncio
from collections.abc import Iterator

import pytest
import torch

from serving.engines.xtts import XttsEngine
from serving.engines.xtts.checkpoint import LoadedXtts, load_checkpoint
from serving.engines.xtts.decoder import Decoder
from tests.factories.xtts import cached_checkpoint


@pytest.fixture(scope="session")
def loaded() -> LoadedXtts:
    return load_checkpoint(cached_checkpoint(), torch.device("cpu"))


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    """The tiny checkpoint's; sequences live in a test's own ``SlotCache``."""
    return Decoder.take(load_checkpoint(cached_checkpoint(), torch.device("cpu")).model.gpt, torch.float32)


@pytest.fixture(scope="session")
def engine() -> Iterator[XttsEngine]:
    engine = XttsEngine.load(cached_checkpoint(), model="tiny", revision="r1", device="cpu")
    yield engine
    asyncio.run(engine.close())
