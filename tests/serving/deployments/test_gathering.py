"""Chunks that are made longer once the listener has enough, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest

from serving.deployments.gathering import LONGEST_S, SHARE, gathered
from serving.engines.base import SpeechChunk
from serving.errors import EngineError

RATE = 100


class Script:
    """An engine's chunks at moments of the script: pairs of seconds at which one is made and of its length."""

    def __init__(self, *steps: tuple[float, float], broken: bool = False, reasons: bool = False) -> None:
        self.steps, self.broken, self.reasons = steps, broken, reasons
        self.now = 0.0
        self.closed = False

    async def chunks(self) -> AsyncGenerator[SpeechChunk, None]:
        try:
            for index, (moment, seconds) in enumerate(self.steps):
                self.now = moment
                pcm = np.full(round(seconds * RATE), index / len(self.steps), np.float32)
                yield SpeechChunk(pcm, RATE, 1, 2, "stop" if self.reasons else None)
            if self.broken:
                raise EngineError("the engine failed")
        finally:
            self.closed = True

    def heard(self, heard_in_s: float = 0.0) -> list[tuple[float, SpeechChunk]]:
        """When which chunk left."""

        async def listen() -> list[tuple[float, SpeechChunk]]:
            chunks = gathered(self.chunks(), heard_in_s, clock=lambda: self.now)
            return [(self.now, chunk) async for chunk in chunks]

        return asyncio.run(listen())


def steady(pace: float, number: int = 60, seconds: float = 0.5) -> Script:
    return Script(*((index * seconds / pace, seconds) for index in range(1, number + 1)))


def test_all_audio_and_all_tokens_come_in_order_and_in_fewer_chunks() -> None:
    script = steady(1.5)
    heard = [chunk for _, chunk in script.heard()]
    assert len(heard) < 0.7 * len(script.steps)
    assert np.array_equal(
        np.concatenate([chunk.pcm for chunk in heard]), np.repeat(np.arange(60, dtype=np.float32) / 60, 50)
    )
    assert sum(chunk.input_tokens for chunk in heard) == 60
    assert sum(chunk.output_tokens for chunk in heard) == 120


def test_the_first_chunk_leaves_at_once_and_none_is_longer_than_it_may_be() -> None:
    moment, first = steady(4).heard()[0]
    assert (moment, first.seconds) == (0.125, 0.5)
    assert max(chunk.seconds for _, chunk in steady(4, seconds=0.9).heard()) <= LONGEST_S


@pytest.mark.parametrize("pace", [1.05, 1.5, 3.0, 10.0])
def test_the_listener_never_waits_for_what_was_held_back(pace: float) -> None:
    runs_out = None
    for moment, chunk in steady(pace).heard():
        assert runs_out is None or moment <= runs_out
        runs_out = max(moment, runs_out or 0.0) + chunk.seconds


def test_an_engine_slower_than_real_time_has_nothing_held_back() -> None:
    script = steady(0.8)
    assert [moment for moment, _ in script.heard()] == [moment for moment, _ in script.steps]


def test_an_engine_that_stalls_is_heard_no_sooner_than_half_of_what_was_there_is_played() -> None:
    (_, first), (sent, second), (late, _) = Script((0.1, 4.0), (0.2, 1.0), (0.3, 1.0), (9.0, 0.5)).heard()
    assert (first.seconds, sent, second.seconds, late) == (4.0, 0.3, 2.0, 9.0)
    _, (late, held) = Script((0.1, 4.0), (0.2, 0.5), (9.0, 0.5)).heard()
    assert (late, held.seconds) == (9.0, 1.0)
    assert held.seconds - 0.5 <= SHARE * 4.0


def test_a_piece_that_is_heard_later_begins_with_longer_chunks() -> None:
    assert steady(3).heard(heard_in_s=10.0)[0][1].seconds == LONGEST_S


def test_a_sentences_end_leaves_at_once_with_its_reason() -> None:
    heard = Script((0.1, 4.0), (0.2, 0.25), (0.3, 0.25), reasons=True).heard()
    assert [(chunk.seconds, chunk.finish_reason) for _, chunk in heard] == [
        (4.0, "stop"),
        (0.25, "stop"),
        (0.25, "stop"),
    ]


def test_a_failure_goes_on_to_the_caller_and_the_engine_is_closed() -> None:
    script = Script((0.1, 4.0), (0.2, 0.5), broken=True)
    heard: list[float] = []

    async def listen() -> None:
        async for chunk in gathered(script.chunks(), clock=lambda: script.now):
            heard.append(chunk.seconds)

    with pytest.raises(EngineError):
        asyncio.run(listen())
    assert heard == [4.0, 0.5]  # what was made before is heard
    assert script.closed


def test_a_caller_that_leaves_closes_the_engines_stream() -> None:
    script = steady(2)

    async def leave() -> None:
        chunks = gathered(script.chunks(), clock=lambda: script.now)
        await anext(chunks)
        await chunks.aclose()

    asyncio.run(leave())
    assert script.closed
