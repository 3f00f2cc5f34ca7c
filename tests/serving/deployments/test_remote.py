"""RemoteSpeech over a real handle, in Ray Serve's in-process testing mode where a cluster is not the point."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError

from serving.deployments.remote import SEGMENT_CHARS, RemoteSpeech, split_request, translated_errors
from serving.engines.base import SpeechChunk, SpeechRequest, Voice
from serving.errors import EngineError, InvalidRequest, Overloaded

TEXT = " ".join(f"This is sentence number {index}." for index in range(60))


def request(text: str = TEXT, seed: int | None = 5) -> SpeechRequest:
    return SpeechRequest(text=text, voice=Voice("f1"), language="en", seed=seed)


def test_a_long_text_is_cut_between_sentences_and_loses_nothing() -> None:
    pieces = list(split_request(request()))
    assert len(pieces) > 3
    assert " ".join(piece.text for piece in pieces) == TEXT
    assert all(len(piece.text) <= SEGMENT_CHARS and piece.text.endswith(".") for piece in pieces)


def test_pieces_have_different_seeds_that_follow_from_the_requests() -> None:
    assert [piece.seed for piece in split_request(request(seed=2**32 - 1))][:3] == [2**32 - 1, 0, 1]
    assert {piece.seed for piece in split_request(request(seed=None))} == {None}


class ScriptedCall:
    """Stands where Serve's response generator stands: yields chunks, then fails or ends, and remembers a cancel."""

    def __init__(self, *script: SpeechChunk | Exception) -> None:
        self.script: Iterator[SpeechChunk | Exception] = iter(script)
        self.cancelled = False
        self.refused: Exception | None = None

    def __aiter__(self) -> ScriptedCall:
        return self

    async def __anext__(self) -> SpeechChunk:
        step = next(self.script, None)
        if step is None:
            raise StopAsyncIteration
        if isinstance(step, Exception):
            self.refused = step
            raise step
        return step

    def cancel(self) -> None:
        if isinstance(self.refused, BackPressureError):
            raise self.refused  # as Serve does
        self.cancelled = True


class ScriptedHandle:
    """A deployment handle whose calls follow a script, since no real replica dies on cue."""

    def __init__(self, *calls: ScriptedCall) -> None:
        self.calls = list(calls)
        self.sent: list[str] = []
        self.stream = self

    def options(self, **_: object) -> ScriptedHandle:
        return self

    def remote(self, piece: SpeechRequest, _token: str | None) -> ScriptedCall:
        self.sent.append(piece.text)
        return self.calls[len(self.sent) - 1]


def chunk(value: float = 0.5) -> SpeechChunk:
    return SpeechChunk(np.full(10, value, np.float32), 24000)


def stream(handle: ScriptedHandle, text: str = "One.") -> AsyncGenerator[SpeechChunk, None]:
    return RemoteSpeech(handle).stream(request(text))  # type: ignore[arg-type]


async def test_a_replica_that_dies_before_its_first_chunk_is_replaced() -> None:
    handle = ScriptedHandle(ScriptedCall(ActorDiedError()), ScriptedCall(chunk(), chunk()))
    assert len([piece async for piece in stream(handle)]) == 2
    assert handle.sent == ["One.", "One."]


async def test_a_replica_that_dies_while_it_speaks_is_an_error_and_not_repeated() -> None:
    handle = ScriptedHandle(ScriptedCall(chunk(), ActorDiedError()), ScriptedCall(chunk()))
    chunks = stream(handle)
    await anext(chunks)
    with pytest.raises(EngineError, match="died"):
        await anext(chunks)
    assert handle.sent == ["One."]


async def test_leaving_cancels_the_piece_being_read_and_the_one_fetched_ahead() -> None:
    calls = [ScriptedCall(chunk(), chunk()) for _ in range(10)]
    chunks = stream(ScriptedHandle(*calls), TEXT)
    await anext(chunks)
    await anext(chunks)
    await chunks.aclose()
    assert [call.cancelled for call in calls[:3]] == [True, True, False]


async def test_at_most_one_piece_is_fetched_ahead() -> None:
    handle = ScriptedHandle(*(ScriptedCall(chunk(), chunk()) for _ in range(10)))
    chunks = stream(handle, TEXT)
    await anext(chunks)
    await anext(chunks)
    assert len(handle.sent) == 2
    await chunks.aclose()


def test_errors_of_replicas_come_back_as_they_were_raised() -> None:
    cause = InvalidRequest("language 'xx' is not spoken", param="language")
    with pytest.raises(InvalidRequest) as failure, translated_errors():
        raise RayTaskError("stream", "trace", cause)  # type: ignore[no-untyped-call]
    assert failure.value.param == "language"


def test_an_engine_bug_is_an_engine_error_without_a_trace() -> None:
    with pytest.raises(EngineError, match="ValueError: boom") as failure, translated_errors():
        raise RayTaskError("stream", "a long trace", ValueError("boom"))  # type: ignore[no-untyped-call]
    assert "trace" not in str(failure.value)


def test_a_full_queue_is_overload() -> None:
    with pytest.raises(Overloaded), translated_errors():
        raise BackPressureError(num_queued_requests=3, max_queued_requests=3)


async def test_a_refused_request_is_overload_and_nothing_else() -> None:
    refusal = BackPressureError(num_queued_requests=3, max_queued_requests=3)
    with pytest.raises(Overloaded):
        await anext(stream(ScriptedHandle(ScriptedCall(refusal))))
