"""A replica takes up what is promoted, or keeps what it has."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.deployments import reload
from serving.deployments.reload import Reloader, prove
from serving.deployments.swapping import SwappingEngine
from serving.engines.base import PendingRevision, SpeechEngine
from serving.engines.espeak import EspeakEngine
from serving.errors import ConfigurationError
from serving.metrics import LocalMetrics
from serving.selection import open_revision
from serving.settings import Settings
from serving.settings_groups import XttsSettings
from serving.store.models import ModelRevision, ModelStore
from serving.store.volume import Volume
from tests.serving.deployments.revisions import LONG, NEW_PRESET, SHORT, checkpoint, heard, request

KIND, NAME = "xtts", "xtts_v2"


class Replica:
    """What a speech replica does about its model, one look at a time, on r1 of a volume."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(data=root, xtts=XttsSettings(device="cpu"))
        self.models = ModelStore(Volume(root))
        self.models.volume.create()
        self.metrics = LocalMetrics()

    async def start(self) -> None:
        torch.set_num_threads(1)
        self.publish("r1")
        weights = self.models.get(KIND, NAME, "r1")
        engine = open_revision(self.settings, weights, 4)
        self.engine = SwappingEngine(engine, await engine.info())
        self.reloader = Reloader(self.settings, self.models, self.engine, self.metrics)

    def publish(self, revision: str, files: str | None = None, change: Callable[[Path], None] | None = None) -> None:
        """Publish the ``files`` of r1 or r2 as the current ``revision``, changed before they are hashed."""
        with self.models.publish(KIND, NAME, revision, {}) as directory:
            checkpoint(files or revision, directory)
            if change is not None:
                change(directory)

    async def loads(self, outcome: str) -> float:
        line = f'kubevoice_model_loads_total{{engine="xtts",outcome="{outcome}"}} '
        lines = (await self.metrics.render()).decode().splitlines()
        return sum(float(found.removeprefix(line)) for found in lines if found.startswith(line))


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[Replica]:
    replica = Replica(tmp_path)
    await replica.start()
    yield replica
    await replica.engine.close()


async def test_a_promoted_revision_is_taken_up_with_its_presets_and_a_rollback_brings_the_old_one_back(
    replica: Replica,
) -> None:
    await replica.reloader.look()
    assert await replica.loads("loaded") == 0
    old = await heard(replica.engine, request(SHORT))
    replica.publish("r2")
    await replica.reloader.look()
    info = await replica.engine.info()
    assert (info.model, info.revision, info.pending) == (NAME, "r2", None)
    assert NEW_PRESET in info.presets
    assert len(await heard(replica.engine, request(SHORT, NEW_PRESET)))
    assert await replica.loads("loaded") == 1
    assert replica.engine._now.engine.stats().slots == 4  # as many as the one before
    replica.models.rollback(KIND, NAME)
    await replica.reloader.look()
    assert replica.engine.revision == "r1"
    assert np.abs(await heard(replica.engine, request(SHORT)) - old).max() <= 1e-4
    assert await replica.loads("loaded") == 1  # it was still there


async def test_a_third_revision_waits_for_the_listeners_of_the_first(replica: Replica) -> None:
    begun = replica.engine.stream(request(LONG))
    await anext(begun)
    replica.publish("r2")
    await replica.reloader.look()
    replica.publish("r3", "r1")
    await replica.reloader.look()
    info = await replica.engine.info()
    assert (info.revision, info.pending) == ("r2", PendingRevision("r3", "loading"))
    await begun.aclose()
    await replica.reloader.look()
    info = await replica.engine.info()
    assert (info.revision, info.pending) == ("r3", None)


def poison(directory: Path) -> None:
    state = torch.load(directory / "model.pth", weights_only=True)
    state["model"]["gpt.mel_head.weight"][0, 0] = float("nan")
    torch.save(state, directory / "model.pth")


def cut(directory: Path) -> None:
    whole = (directory / "model.pth").read_bytes()
    (directory / "model.pth").write_bytes(whole[: len(whole) // 2])


def silence(directory: Path) -> None:
    """It stops before it begins."""
    state = torch.load(directory / "model.pth", weights_only=True)
    state["model"]["gpt.mel_head.bias"][1025] = 1e4
    torch.save(state, directory / "model.pth")


@pytest.mark.parametrize(
    ("change", "reason"), [(poison, "not finite"), (cut, r"model\.pth"), (silence, "does not speak")]
)
async def test_a_revision_that_cannot_speak_is_said_once_and_the_old_one_goes_on(
    change: Callable[[Path], None], reason: str, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    replica.publish("r2", change=change)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await replica.reloader.look()
    info = await replica.engine.info()
    assert (info.revision, info.pending) == ("r1", PendingRevision("r2", "failed"))
    assert await replica.loads("failed") == 1
    (record,) = caplog.records
    assert re.search(f"\\(r2\\) cannot be taken up, r1 goes on speaking: .*{reason}", record.message)
    caplog.clear()
    await replica.engine.check()
    assert len(await heard(replica.engine, request(SHORT)))
    replica.publish("r3", "r2")
    await replica.reloader.look()
    assert replica.engine.revision == "r3"


async def test_files_that_were_torn_on_the_volume_are_named_and_a_rollback_clears_the_failure(
    replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    replica.publish("r2")
    cut(replica.models.path(KIND, NAME, "r2"))
    await replica.reloader.look()
    assert "r2/model.pth: it has" in caplog.text
    replica.models.rollback(KIND, NAME)
    await replica.reloader.look()
    info = await replica.engine.info()
    assert (info.revision, info.pending) == ("r1", None)


async def test_a_repaired_revision_is_tried_again_after_ever_longer_waits(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("serving.deployments.reload.time.monotonic", lambda: now[0])
    replica.publish("r2")
    weights = replica.models.path(KIND, NAME, "r2") / "model.pth"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    tries = []
    for _ in range(40):
        await replica.reloader.look()
        tries.append(await replica.loads("failed"))
        now[0] += 30.0
    assert tries[:8] == [1, 1, 2, 2, 2, 2, 3, 3]  # after 60 s, after 120 s
    assert tries[-1] == 5
    weights.write_bytes(whole)
    now[0] += reload.RETRY_MOST_S
    await replica.reloader.look()
    assert replica.engine.revision == "r2"


async def test_a_pointer_that_leads_nowhere_is_said_once_and_what_speaks_goes_on(
    replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    pointer = replica.settings.data / "models" / KIND / NAME / "current"
    pointer.write_text("gone\n")
    for _ in range(3):
        await replica.reloader.look()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "names 'gone'" in caplog.text
    assert len(await heard(replica.engine, request(SHORT)))
    replica.publish("r2")
    await replica.reloader.look()
    assert replica.engine.revision == "r2"


async def test_a_model_that_has_no_room_beside_the_old_one_gets_fewer_slots(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def with_little_room(settings: Settings, weights: ModelRevision, slots: int | None) -> SpeechEngine:
        asked.append(slots)
        if slots is not None and slots > 2:
            raise ConfigurationError(f"{slots} slots take 1 GB and cuda has less", "xtts.slots")
        return open_revision(settings, weights, 2)

    monkeypatch.setattr(reload, "open_revision", with_little_room)
    replica.publish("r2")
    await replica.reloader.look()
    assert asked == [4, None]
    assert replica.engine.revision == "r2"


async def test_what_speaks_is_proved(espeak: EspeakEngine) -> None:
    await prove(espeak)
