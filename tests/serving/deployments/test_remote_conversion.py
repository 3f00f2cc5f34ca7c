"""RemoteConverter over handles that follow a script, since no real replica dies on cue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError

from serving.deployments import remote_conversion
from serving.deployments.remote_conversion import RemoteConverter
from serving.engines.conversion import ConversionOptions, ConversionVoice, ConversionVoiceFacts
from serving.engines.rvc.windows import Window
from serving.errors import EngineError, InvalidRequest, ModelFilesError, Overloaded

VOICE = ConversionVoice("rvc_1", Path("/models/rvc/rvc_1/r1"), 40000)
SOUND = np.ones(4, np.float32)
FACTS = ConversionVoiceFacts("v2", 40000, f0=True, speakers=1)


class Response:
    """Stands where Serve's response stands: gives or raises what it has been made with, when ``go`` is set."""

    def __init__(self, result: object) -> None:
        self._result = result
        self.go = asyncio.Event()
        self.go.set()
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, object]:
        return self._wait().__await__()

    async def _wait(self) -> object:
        await self.go.wait()
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def cancel(self) -> None:
        self.cancelled = True


class Method:
    def __init__(self, call: Callable[..., Response]) -> None:
        self.remote = call


class ScriptedHandle:
    def __init__(self, *results: object) -> None:
        self.responses = [result if isinstance(result, Response) else Response(result) for result in results]
        self.calls: list[tuple[object, ...]] = []
        self.voices: list[str] = []
        self.convert = self.ingest = Method(self._call)

    def options(self, *, multiplexed_model_id: str) -> ScriptedHandle:
        self.voices.append(multiplexed_model_id)
        return self

    def _call(self, *arguments: object) -> Response:
        self.calls.append(arguments)
        return self.responses[len(self.calls) - 1]


def converter(handle: ScriptedHandle, waiting: int = 2) -> RemoteConverter:
    return RemoteConverter(handle, waiting)  # type: ignore[arg-type]


def window(index: int = 0) -> Window:
    return Window(index, 0, 100, 16000, np.zeros(48000, np.float32))


async def convert(remote: RemoteConverter, index: int = 0) -> object:
    return await remote.convert(window(index), VOICE, ConversionOptions(), 7)


def of_a_replica(cause: Exception) -> Exception:
    error: Exception = RayTaskError("convert", "trace", cause)  # type: ignore[no-untyped-call]
    return error


async def test_a_window_goes_to_the_replicas_that_know_its_voice() -> None:
    handle = ScriptedHandle(SOUND)
    assert await convert(converter(handle)) is SOUND
    assert handle.voices == ["rvc_1"]
    assert handle.calls[0][1:4] == (VOICE, ConversionOptions(), 7)


@pytest.mark.parametrize("index", [0, 3])
async def test_a_window_whose_replica_dies_is_converted_by_another_once(index: int) -> None:
    handle = ScriptedHandle(ActorDiedError(), SOUND)
    assert await convert(converter(handle), index) is SOUND
    assert handle.calls[0] == handle.calls[1]
    with pytest.raises(EngineError, match="conversion replica died"):
        await convert(converter(ScriptedHandle(ActorDiedError(), ActorDiedError())), index)


@pytest.mark.parametrize("error", [InvalidRequest("this voice has no pitch", "pitch"), ModelFilesError("torn")])
async def test_what_a_replica_raises_comes_back_as_it_was(error: Exception) -> None:
    for index in (0, 1):
        with pytest.raises(type(error)) as caught:
            await convert(converter(ScriptedHandle(of_a_replica(error))), index)
        assert caught.value is error


async def test_a_bug_in_a_replica_is_an_engine_error_without_its_trace() -> None:
    with pytest.raises(EngineError, match="ValueError: boom") as caught:
        await convert(converter(ScriptedHandle(of_a_replica(ValueError("boom")))))
    assert "trace" not in caught.value.message


async def test_a_recording_too_many_is_refused_until_one_has_begun() -> None:
    held = Response(SOUND)
    held.go.clear()
    handle = ScriptedHandle(held, SOUND, SOUND)
    remote = converter(handle, waiting=1)
    waiting = asyncio.create_task(convert(remote))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="conversion replicas"):
        await convert(remote)
    assert await convert(remote, 5) is SOUND, "one that has begun is not refused"
    held.go.set()
    await waiting
    assert await convert(remote) is SOUND


@pytest.mark.parametrize(
    "refusal",
    [BackPressureError(num_queued_requests=3, max_queued_requests=3), of_a_replica(Overloaded("64 windows wait", 2))],
)
async def test_replicas_that_are_full_refuse_the_first_window_and_are_asked_again_with_later_ones(
    refusal: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_conversion, "AGAIN_S", 0.0)
    with pytest.raises(Overloaded):
        await convert(converter(ScriptedHandle(refusal)))
    handle = ScriptedHandle(refusal, refusal, SOUND)
    assert await convert(converter(handle), 1) is SOUND
    assert len(handle.calls) == 3


async def test_who_stops_waiting_stops_the_replicas_work() -> None:
    held = Response(SOUND)
    held.go.clear()
    remote = converter(ScriptedHandle(held, SOUND), waiting=1)
    waiting = asyncio.create_task(convert(remote))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert held.cancelled
    assert await convert(remote) is SOUND, "its place in the queue is free again"


async def test_an_upload_is_looked_at_in_a_replica_and_not_repeated(tmp_path: Path) -> None:
    handle = ScriptedHandle(FACTS)
    assert await converter(handle).ingest(tmp_path / "a", None, tmp_path) == FACTS
    assert handle.calls == [(tmp_path / "a", None, tmp_path)]
    with pytest.raises(EngineError, match="died"):
        await converter(ScriptedHandle(ActorDiedError())).ingest(tmp_path, None, tmp_path)


async def test_audio_that_has_just_come_is_proof_enough() -> None:
    remote = converter(ScriptedHandle(SOUND))
    await convert(remote)
    await remote.check()  # the handle has no way to ask a replica
