"""RemoteSpeech over a real handle, in Ray Serve's in-process testing mode where a cluster is not the point."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator

import pytest
from ray import serve
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError
from ray.serve.schema import (  # type: ignore[attr-defined]
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ReplicaState,
    ServeStatus,
)

from serving.deployments.admission import Gate
from serving.deployments.remote import (
    SEED_STRIDE,
    SEGMENT_CHARS,
    RemoteSpeech,
    common,
    scaled_to_zero,
    split_request,
    translated_errors,
)
from serving.engines.base import EngineInfo, PendingRevision, SpeechChunk
from serving.errors import EngineError, InvalidRequest, Overloaded
from tests.serving.deployments.scripted import TEXT, HeldCall, ScriptedCall, ScriptedHandle, chunk, request

INFO = EngineInfo("xtts", "xtts_v2", "r1", 24000, ("en",), ("Ada", "Carl"), True, "cpu")
WORD = "x" * 395 + "."


def test_a_long_text_is_cut_between_sentences_and_loses_nothing() -> None:
    pieces = list(split_request(request()))
    assert len(pieces) > 3
    assert " ".join(piece.text for piece in pieces).replace("\n", " ") == TEXT
    assert all(len(piece.text) <= SEGMENT_CHARS and piece.text.endswith(".") for piece in pieces)


def test_pieces_have_different_seeds_that_follow_from_the_requests() -> None:
    seeds = [piece.seed for piece in split_request(request(seed=2**32 - 1))]
    assert seeds[:3] == [2**32 - 1, SEED_STRIDE - 1, 2 * SEED_STRIDE - 1]
    assert {piece.seed for piece in split_request(request(seed=None))} == {None}


def stream(handle: ScriptedHandle, text: str = "One.") -> AsyncGenerator[SpeechChunk, None]:
    return RemoteSpeech(handle, Gate(2)).stream(request(text))  # type: ignore[arg-type]


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


def test_what_a_call_by_grpc_raises_as_it_is_becomes_the_same_errors() -> None:
    with pytest.raises(EngineError, match="ValueError: boom"), translated_errors():
        raise ValueError("boom")
    with pytest.raises(InvalidRequest, match="not spoken"), translated_errors():
        raise InvalidRequest("language 'xx' is not spoken", param="language")
    with pytest.raises(asyncio.CancelledError), translated_errors():
        raise asyncio.CancelledError


def test_a_full_queue_is_overload() -> None:
    with pytest.raises(Overloaded), translated_errors():
        raise BackPressureError(num_queued_requests=3, max_queued_requests=3)


async def test_a_refused_request_is_overload_and_nothing_else() -> None:
    refusal = BackPressureError(num_queued_requests=3, max_queued_requests=3)
    with pytest.raises(Overloaded):
        await anext(stream(ScriptedHandle(ScriptedCall(refusal))))


def test_line_breaks_stay_sentence_ends() -> None:
    (piece,) = split_request(request("Chapter One\nIt was a dark night"))
    assert piece.text == "Chapter One\nIt was a dark night"


def test_a_tail_without_words_is_left_out_and_a_text_without_words_is_left_to_the_engine() -> None:
    assert [piece.text for piece in split_request(request("x" * 395 + ". \U0001f389\U0001f389 !!!"))] == [
        "x" * 395 + "."
    ]
    assert [piece.text for piece in split_request(request("..."))] == ["..."]


async def test_each_piece_says_how_much_its_listener_has_still_to_hear() -> None:
    texts = ["x" * 299 + ".", "y" * 199 + ".", WORD, WORD]
    handle = ScriptedHandle(
        ScriptedCall(chunk(2.0), chunk(10.0)),  # 300 characters: 21 s were expected
        ScriptedCall(chunk(20.0)),  # 14 s were
        ScriptedCall(),
        ScriptedCall(chunk()),
    )
    chunks = stream(handle, "\n".join(texts))
    await anext(chunks)
    assert handle.heard_in_s == [None, pytest.approx(300 * 0.07, abs=0.5)]
    assert [piece.seconds async for piece in chunks] == [10.0, 20.0, 0.0005]
    assert handle.heard_in_s[2:] == [pytest.approx(2 + 10 + 20, abs=0.5)] * 2


async def test_a_listener_who_has_waited_for_the_audio_has_no_more_to_hear_than_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("serving.deployments.remote.time.monotonic", lambda: now[0])
    held = HeldCall(chunk(2.0))
    handle = ScriptedHandle(ScriptedCall(chunk(5.0)), held, ScriptedCall(ActorDiedError()), ScriptedCall(chunk()))
    chunks = stream(handle, "\n".join(["x" * 299 + ".", WORD, WORD]))
    await anext(chunks)
    now[0] += 30.0
    held.go.set()
    await anext(chunks)
    assert handle.heard_in_s[2] == pytest.approx(len(WORD) * 0.07)
    now[0] += 20.0
    await anext(chunks)
    assert handle.heard_in_s[3] == pytest.approx(len(WORD) * 0.07 - 20.0)  # to another replica


async def test_the_rest_of_a_text_stays_the_rest_of_a_text_in_pieces() -> None:
    handle = ScriptedHandle(*(ScriptedCall(chunk(1.0)) for _ in range(2)))
    rest = dataclasses.replace(request("\n".join([WORD, WORD])), heard_in_s=9.0)
    assert [piece async for piece in RemoteSpeech(handle, Gate(2)).stream(rest)]  # type: ignore[arg-type]
    assert handle.heard_in_s == [9.0, pytest.approx(9.0 + len(WORD) * 0.07, abs=0.5)]


def state(status: str, **replicas: int) -> ServeStatus:
    """What Serve says of a deployment ``Xtts``."""
    deployment = DeploymentStatusOverview(
        status=DeploymentStatus(status),
        status_trigger=DeploymentStatusTrigger.AUTOSCALING,
        replica_states={ReplicaState(name): count for name, count in replicas.items()},
        message="",
    )
    application = ApplicationStatusOverview(
        status=ApplicationStatus.RUNNING, message="", last_deployed_time_s=0.0, deployments={"Xtts": deployment}
    )
    return ServeStatus(applications={"kubevoice": application})


@pytest.mark.parametrize(
    ("status", "rests"),
    [
        (state("HEALTHY"), True),
        (state("HEALTHY", STOPPING=1), True),
        (state("DOWNSCALING", STOPPING=1), True),
        (state("UPSCALING", STARTING=1), True),
        (state("HEALTHY", STARTING=1), False),  # one was killed
        (state("HEALTHY", RUNNING=1), False),
        (state("UPDATING", STARTING=1), False),
        (state("UNHEALTHY", STARTING=1), False),
        (state("DEPLOY_FAILED"), False),
        (ServeStatus(), False),
    ],
)
def test_a_deployment_that_rests_is_told_from_one_that_cannot_start(
    monkeypatch: pytest.MonkeyPatch, status: ServeStatus, rests: bool
) -> None:
    monkeypatch.setattr(serve, "status", lambda: status)
    assert scaled_to_zero("kubevoice", "Xtts") is rests


async def test_all_pieces_of_a_text_are_for_the_revision_that_was_known_when_it_began() -> None:
    handle = ScriptedHandle(*(ScriptedCall(chunk()) for _ in range(10)))
    remote = RemoteSpeech(handle, Gate(64))  # type: ignore[arg-type]
    remote._info = INFO
    begun = remote.stream(request())
    await anext(begun)
    remote._info = dataclasses.replace(INFO, revision="r2")
    assert len([piece async for piece in begun]) > 1
    assert set(handle.revisions) == {"r1"}
    await anext(remote.stream(request()))
    assert handle.revisions[-1] == "r2"


async def test_a_text_ends_with_the_model_it_began_with_even_if_another_was_asked_for() -> None:
    says = dataclasses.replace(chunk(), revision="r2")
    handle = ScriptedHandle(*(ScriptedCall(says if index == 0 else chunk(), chunk()) for index in range(10)))
    remote = RemoteSpeech(handle, Gate(64))  # type: ignore[arg-type]
    remote._info = INFO
    assert len([piece async for piece in remote.stream(request())]) > 4
    assert handle.revisions[:3] == ["r1", "r2", "r2"]
    assert set(handle.revisions[1:]) == {"r2"}


def test_while_replicas_differ_what_is_said_is_true_of_all_of_them() -> None:
    behind = dataclasses.replace(INFO, presets=("Ada", "Carl"), pending=PendingRevision("r2", "loading"))
    ahead = dataclasses.replace(INFO, revision="r2", presets=("Dora", "Ada"))
    for answers in ([behind, ahead], [ahead, behind], [ahead, behind, ahead]):
        assert common(answers) == dataclasses.replace(behind, presets=("Ada",))
    assert common([ahead, ahead]) == ahead
    strangers = dataclasses.replace(ahead, presets=("Dora",))
    assert common([behind, strangers]) == behind
