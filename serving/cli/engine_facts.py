"""What the chosen engine would say of itself, told without loading gigabytes."""

from __future__ import annotations

import asyncio
import json

from serving.cli.context import model_store
from serving.engines.base import EngineInfo, SpeechEngine
from serving.errors import ModelFilesError, Unavailable
from serving.selection import choose_engine, open_engine
from serving.settings import Settings
from serving.store.models import ModelRevision

XTTS_RATE = 24000
NO_ENGINE = EngineInfo("none", "none", "", XTTS_RATE, languages=(), presets=(), clones=False, device="cpu")


def engine_facts(settings: Settings) -> EngineInfo:
    """Its presets and languages; none of either where no engine can be had yet, as before the first pull."""
    models = model_store(settings)
    try:
        weights = choose_engine(settings, models).weights
        return _of_xtts(weights) if weights else asyncio.run(_of_engine(open_engine(settings, models)))
    except (ModelFilesError, Unavailable):
        return NO_ENGINE


async def _of_engine(engine: SpeechEngine) -> EngineInfo:
    try:
        return await engine.info()
    finally:
        await engine.close()


def _of_xtts(weights: ModelRevision) -> EngineInfo:
    """From the small files beside the weights."""
    from serving.engines.xtts.weights import read_pickle

    config, speakers = weights.path / "config.json", weights.path / "speakers_xtts.pth"
    try:
        languages = tuple(map(str, json.loads(config.read_bytes())["languages"]))
        presets = tuple(map(str, read_pickle(speakers))) if speakers.exists() else ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(f"{config} or {speakers} is of another model; restore the original files") from error
    return EngineInfo("xtts", weights.name, weights.revision, XTTS_RATE, languages, presets, clones=True, device="cpu")
