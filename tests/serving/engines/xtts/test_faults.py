"""What is refused, what fails, and what a health check sees of it."""

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from serving.engines.base import Sampling, Voice
from serving.engines.xtts import XttsEngine
from serving.errors import (
    ConfigurationError,
    EngineError,
    InvalidRequest,
    ModelFilesError,
    NotFound,
    Unavailable,
)
from tests.factories.xtts import cached_checkpoint
from tests.serving.engines.xtts.asking import ADA, LONG, idle, request, speak, until


@pytest.mark.parametrize(
    ("change", "error", "param"),
    [
        ({"language": "xx"}, InvalidRequest, "language"),
        ({"text": " "}, InvalidRequest, "input"),
        ({"text": "14 बैटरी", "language": "hi"}, InvalidRequest, "input"),
        ({"text": "Bylo 12.", "language": "cs"}, InvalidRequest, "input"),
        ({"voice": Voice("v", preset="Nobody")}, NotFound, "voice"),
        ({"voice": Voice("v")}, InvalidRequest, "voice"),
        ({"speed": 0.0}, InvalidRequest, "speed"),
        ({"sampling": Sampling(top_k=-5)}, InvalidRequest, "top_k"),
    ],
)
async def test_bad_requests_name_their_field_and_spare_the_next_one(
    engine: XttsEngine, change: dict[str, Any], error: type[Exception], param: str
) -> None:
    with pytest.raises(error) as caught:
        await speak(engine, request(**change))
    assert getattr(caught.value, "param", None) == param
    assert await speak(engine, request())


async def test_a_failing_model_is_an_engine_error_and_spares_the_next_request(
    engine: XttsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(engine._decoder, "prefill", broken)
        with pytest.raises(EngineError, match="XTTS failed"):
            await speak(engine, request())
    assert await speak(engine, request())


async def test_check_passes_idle_and_busy_and_fails_once_closed() -> None:
    engine = XttsEngine.load(cached_checkpoint(), model="tiny", revision="r1", device="cpu")
    await engine.check()
    async with contextlib.aclosing(engine.stream(request(LONG))) as stream:
        await anext(stream)
        await engine.check()
    await engine.close()
    await engine.close()
    with pytest.raises(Unavailable, match="closed"):
        await engine.check()
    with pytest.raises(Unavailable, match="closed"):
        await speak(engine, request())


@pytest.mark.parametrize("left", [False, True])
async def test_a_long_preparation_is_work_and_no_fault_of_the_device(
    engine: XttsEngine, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    entered, released = threading.Event(), threading.Event()

    def slow(_: Voice) -> None:
        entered.set()
        assert released.wait(60)

    await idle(engine)
    monkeypatch.setattr("serving.engines.xtts.engine.PROBE_S", 0.2)
    monkeypatch.setattr(engine._conditioner, "latents", slow)
    preparing = asyncio.create_task(engine.prepare(ADA))
    assert await asyncio.to_thread(entered.wait, 60)
    if left:  # whoever asked for it
        preparing.cancel()
        await asyncio.wait([preparing])
    await engine.check()
    with monkeypatch.context() as patch:
        patch.setattr("serving.engines.xtts.engine.STALLED_S", 0.0)
        with pytest.raises(Unavailable, match="no progress"):
            await engine.check()
    released.set()
    await asyncio.wait([preparing])
    await until(lambda: not engine._preparing)
    await engine.check()


async def test_check_fails_when_the_device_fails(engine: XttsEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    await idle(engine)
    with monkeypatch.context() as patch:
        patch.setattr(engine._decoder, "computes", broken)
        with pytest.raises(Unavailable, match="does not compute"):
            await engine.check()
        patch.setattr(engine._decoder, "computes", lambda: False)
        with pytest.raises(Unavailable, match="not finite"):
            await engine.check()
    await engine.check()


def test_load_refuses_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError):
        XttsEngine.load(cached_checkpoint(), model="tiny", revision="r1", device="cuda")
    with pytest.raises(ModelFilesError, match=r"config\.json is missing"):
        XttsEngine.load(tmp_path, model="tiny", revision="r1", device="cpu")
