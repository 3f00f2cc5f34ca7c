"""What the routes know of the engine."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from serving.api import build_app, context
from serving.api.context import Context
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech


@pytest.fixture
def known(store: VoiceStore, settings: Settings) -> Context:
    app = build_app(ScriptedSpeech(), store, settings, LocalMetrics())
    return cast("Context", app.state.context)


async def presets(known: Context) -> tuple[str, ...]:
    return (await known.info()).presets


async def test_a_young_description_is_taken_and_an_older_one_is_asked_for_beside_the_request(
    known: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = cast("ScriptedSpeech", known.engine)
    assert await presets(known) == ("one", "two")
    engine.presets = ("three",)
    assert await presets(known) == ("one", "two")
    monkeypatch.setattr(context, "INFO_TTL_S", 0.0)
    assert await presets(known) == ("one", "two")
    await asyncio.sleep(0.01)
    assert await presets(known) == ("three",)


async def test_after_a_silence_a_request_waits_for_the_description_but_not_for_ever(
    known: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = cast("ScriptedSpeech", known.engine)
    await known.info()
    engine.presets = ("three",)
    for name in ("INFO_TTL_S", "INFO_OLD_S"):
        monkeypatch.setattr(context, name, 0.0)
    assert await presets(known) == ("three",)

    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(context, "INFO_WAIT_S", 0.01)
    monkeypatch.setattr(engine, "info", hang)
    assert await presets(known) == ("three",)
    assert known._refresh is not None
    known._refresh.cancel()
