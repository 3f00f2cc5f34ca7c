"""Does an exported model load where XTTS models are loaded, and does it speak?"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serving.engines.base import Voice
from serving.engines.xtts import XttsEngine
from serving.engines.xtts.checkpoint import (
    RELEASED_WIDTH,
    SPEAKERS,
    WIDTH_KEY,
    load_checkpoint,
    quiet_transformers,
    read_config,
    vocoder_arguments,
)
from serving.engines.xtts.conditioning import SILENCE
from serving.engines.xtts.weights import read_pickle
from serving.errors import KubevoiceError, ModelFilesError
from serving.store.manifest import verify_manifest
from training.xtts.samples import engine_of, say
from training.xtts.snapshot import apart

TEXT = "1, 2, 3, 4, 5!"
"""coqui's front end makes words of it, in every language but one; the point of a sentence would make ordinals."""

TEXTS = {"hi": "एक, दो, तीन, चार, पाँच!"}

SEEDS = (1, 2, 3)
"""Speech is drawn, and now and then one does not end; a model that ends none of three is broken."""

PACKAGES = ("kubevoice", "coqui-tts", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class SpokenVoice:
    """What a preset said: ``seconds`` of audio with the highest sample ``peak``, by ``seed``."""

    name: str
    language: str
    seconds: float
    peak: float
    seed: int


@dataclass(frozen=True, slots=True)
class VerifiedFacts:
    """``weights`` tensors were loaded strictly by coqui's ``Xtts``, and ``voices`` spoke on ``device``."""

    weights: int
    voices: list[SpokenVoice]
    device: str
    versions: dict[str, str]
    verified_at: str


def verify_export(directory: Path, device: torch.device) -> VerifiedFacts:
    """Check the export in ``directory``: hashes, a strict load in coqui's ``Xtts``, speech of every new voice.

    Nothing is written there. coqui's load takes two copies of the model in the host's memory, the engine one on
    ``device``. Raises ModelFilesError that says what fails.
    """
    manifest = verify_manifest(directory, hashes=True)
    languages = _languages(directory, manifest.facts)
    with apart(torch.device("cpu")):
        weights = _load_in_coqui(directory, languages)
    with apart(device):
        voices = asyncio.run(_speak(directory, languages, device))
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return VerifiedFacts(weights, voices, str(device), versions, now)


def _languages(directory: Path, facts: Mapping[str, object]) -> dict[str, str]:
    """The language of each new voice, from the manifest."""
    voices = facts.get("voices")
    try:
        assert isinstance(voices, list)
        languages = {str(voice["name"]): str(voice["language"]) for voice in voices}
        assert languages
    except (AssertionError, KeyError, TypeError):
        raise ModelFilesError(f"the manifest of {directory} names no new voices; export the model again") from None
    return languages


def _load_in_coqui(directory: Path, voices: Mapping[str, str]) -> int:
    """Load ``directory`` strictly as coqui's own tools do; returns how many tensors there are."""
    file = directory / "model.pth"
    state = read_pickle(file)
    if not isinstance(state, dict) or set(state) != {"model"}:  # coqui rewrites a file with a pickled configuration
        raise ModelFilesError(f'{file} holds more than its "model"; export the model again')
    weights: dict[str, torch.Tensor] = state["model"]
    surplus = next((key for key in weights if key.startswith(("gpt.gpt_inference.", "gpt.gpt.wte."))), None)
    if surplus is not None:
        raise ModelFilesError(f"{file} has {surplus}, which exists for sampling only; export the model again")
    config = read_config(directory)
    config.model_args.gpt_number_text_tokens = None  # coqui builds the decoder once instead of twice, with the same end
    try:
        with quiet_transformers():
            model = _coqui(weights)(config)
            model.load_checkpoint(config, checkpoint_dir=str(directory), eval=True, strict=True)
        known = set(model.speaker_manager.speakers)
    except Exception as error:
        # coqui tries again with layers that exist for sampling only; what it says then is about those.
        reason = " ".join(str(error.__context__ or error).split())[:300]
        raise ModelFilesError(f"coqui's Xtts cannot load {directory}: {reason}; export the model again") from error
    if missing := voices.keys() - known:
        raise ModelFilesError(f"{directory / SPEAKERS} lacks the voice {min(missing)!r}; export the model again")
    return len(weights)


def _coqui(weights: Mapping[str, torch.Tensor]) -> Any:
    """coqui's class; with a vocoder as narrow as ``weights`` where that is not the released width."""
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.models.xtts import Xtts

    width = weights[WIDTH_KEY].shape[0] if WIDTH_KEY in weights else RELEASED_WIDTH
    if width == RELEASED_WIDTH:
        return Xtts

    class NarrowXtts(Xtts):  # type: ignore[misc]
        def init_models(self) -> None:
            super().init_models()
            self.hifigan_decoder = HifiDecoder(**vocoder_arguments(self.args, width))

    return NarrowXtts


async def _speak(directory: Path, languages: Mapping[str, str], device: torch.device) -> list[SpokenVoice]:
    async with engine_of(load_checkpoint(directory, device)) as engine:
        return [await _speak_one(engine, directory, name, language) for name, language in languages.items()]


async def _speak_one(engine: XttsEngine, directory: Path, name: str, language: str) -> SpokenVoice:
    for seed in SEEDS:
        try:
            speech, ended = await say(engine, TEXTS.get(language, TEXT), language, Voice(name, preset=name), seed)
        except KubevoiceError as error:
            raise ModelFilesError(f"the voice {name!r} of {directory} does not speak: {error}") from error
        peak = float(np.abs(speech.pcm).max(initial=0.0))
        if not np.isfinite(peak) or peak < SILENCE:
            raise ModelFilesError(f"the voice {name!r} of {directory} is silent or broken (peak {peak}); train again")
        if ended:
            return SpokenVoice(name, language, speech.seconds, peak, seed)
    raise ModelFilesError(f"the voice {name!r} of {directory} does not end a sentence of five words; train again")
