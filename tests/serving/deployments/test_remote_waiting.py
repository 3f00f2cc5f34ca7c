"""Who waits for the first audio, and who is refused meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from serving.deployments.admission import Gate
from serving.deployments.remote import RemoteSpeech
from serving.errors import Overloaded
from tests.serving.deployments.scripted import TEXT, HeldCall, ScriptedCall, ScriptedHandle, chunk, request


async def test_a_request_too_many_waiting_is_refused_until_one_is_heard() -> None:
    held = HeldCall(chunk(), chunk())
    remote = RemoteSpeech(ScriptedHandle(held, ScriptedCall(chunk())), Gate(1))  # type: ignore[arg-type]
    speech = remote.stream(request("Held."))
    waiting = asyncio.create_task(anext(speech))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await anext(remote.stream(request("Refused.")))
    held.go.set()
    await waiting
    with pytest.raises(Overloaded):  # what came is not encoded yet
        await anext(remote.stream(request("Refused.")))
    await anext(speech)
    await anext(remote.stream(request("Welcome.")))


async def test_a_client_that_leaves_while_its_first_audio_is_encoded_waits_no_more() -> None:
    calls = ScriptedCall(chunk(), chunk()), ScriptedCall(chunk())
    remote = RemoteSpeech(ScriptedHandle(*calls), Gate(1))  # type: ignore[arg-type]
    speech = remote.stream(request("Left."))
    await anext(speech)
    assert remote.refusal() is not None
    await speech.aclose()
    assert remote.refusal() is None
    await anext(remote.stream(request("Welcome.")))


async def test_what_has_begun_is_not_refused_while_others_wait() -> None:
    held = HeldCall(chunk())
    pieces = [ScriptedCall(chunk(), chunk()) for _ in range(10)]
    remote = RemoteSpeech(ScriptedHandle(*pieces[:2], held, *pieces[2:]), Gate(1))  # type: ignore[arg-type]
    begun = remote.stream(request(TEXT))
    await anext(begun)
    await anext(begun)
    waiting = asyncio.create_task(anext(remote.stream(request("Held."))))
    await asyncio.sleep(0)
    assert len([piece async for piece in begun]) > 3
    held.go.set()
    await waiting


async def test_the_rest_of_a_text_is_not_refused_while_others_wait() -> None:
    held = HeldCall(chunk())
    remote = RemoteSpeech(ScriptedHandle(held, ScriptedCall(chunk())), Gate(1))  # type: ignore[arg-type]
    waiting = asyncio.create_task(anext(remote.stream(request("Held."))))
    await asyncio.sleep(0)
    first = await anext(remote.stream(dataclasses.replace(request("And on."), heard_in_s=0.0)))
    assert len(first.pcm)
    held.go.set()
    await waiting
