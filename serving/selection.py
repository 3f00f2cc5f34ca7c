"""Which engine serves, and which voice a name means: one rule for the server and the command line."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from serving.engines.base import EngineInfo, SpeechEngine, Voice
from serving.engines.conversion import ConversionEngine
from serving.errors import InvalidRequest, KubevoiceError, ModelFilesError, NotFound, Unavailable
from serving.settings import Settings
from serving.settings_groups import VoiceSettings
from serving.store.models import ModelRevision, ModelStore, verify_xtts
from serving.store.shared_parts import require_content_encoder, shared_directory
from serving.store.voices import VoiceProfile, VoiceStore

logger = logging.getLogger(__name__)

DEFAULT_TENANT = "default"

OPENAI_VOICES = (
    "alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin", "cedar",
)  # fmt: skip
"""OpenAI's own voice names; each stands for a preset of the loaded model, in order."""

SUBTAG = re.compile(r"[A-Za-z0-9]{1,8}")
"""A part of a language tag (RFC 5646)."""

MODEL_ALIASES = ("auto", "tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15")
"""Model names that mean the model this server has."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine to load, the weights it takes, and why."""

    engine: str
    weights: ModelRevision | None
    reason: str


def choose_engine(settings: Settings, models: ModelStore) -> EngineChoice:
    """Apply ``settings.engine`` to what is on the volume; ``xtts`` never falls back silently.

    Raises ModelFilesError when XTTS is asked for and its weights are missing or do not have their manifest's sizes.
    """
    if settings.engine == "espeak":
        return EngineChoice("espeak", None, "engine is set to espeak")
    try:
        weights = models.current("xtts", settings.xtts.model)
        if weights is None:
            directory = models.volume.models("xtts", settings.xtts.model)
            raise ModelFilesError(f"no XTTS weights in {directory}; run: kubevoice models pull")
        verify_xtts(weights.path)
    except ModelFilesError as error:
        if settings.engine == "xtts":
            raise
        return EngineChoice("espeak", None, error.message)
    return EngineChoice("xtts", weights, f"XTTS weights found in {weights.path}")


def open_engine(settings: Settings, models: ModelStore) -> SpeechEngine:
    """Load the chosen engine; takes seconds to a minute for XTTS, so never call it on an event loop."""
    choice = choose_engine(settings, models)
    logger.info("engine %s: %s", choice.engine, choice.reason)
    if choice.weights is None:
        try:
            from serving.engines.espeak import EspeakEngine
        except ModuleNotFoundError:
            raise Unavailable(
                "the espeak engine is not installed: pip install 'kubevoice[espeak]', or give XTTS its weights with: "
                "kubevoice models pull"
            ) from None
        return EspeakEngine()
    return open_revision(settings, choice.weights, settings.xtts.slots)


def open_revision(settings: Settings, weights: ModelRevision, slots: int | None) -> SpeechEngine:
    """Load XTTS from ``weights``; takes seconds to a minute, so never call it on an event loop.

    Raises ModelFilesError for files that cannot be used, ConfigurationError for a device without room for ``slots``.
    """
    from serving.engines.xtts import XttsEngine, XttsOptions

    xtts = settings.xtts
    return XttsEngine.load(
        weights.path,
        model=weights.name,
        revision=weights.revision,
        device=xtts.device,
        fallback_cpu=xtts.fallback_cpu,
        options=XttsOptions(
            slots=slots,
            decoder_precision=xtts.decoder_precision,
            vocoder_precision=xtts.vocoder_precision,
            cuda_graphs=xtts.cuda_graphs,
            queue=xtts.queue,
            queue_age_s=xtts.queue_age_s,
        ),
    )


NO_CONVERSION = NotFound("voice conversion is switched off here: rvc.enabled is false", code="not_served")


def conversion_fault(settings: Settings, models: ModelStore) -> KubevoiceError | None:
    """Why no replicas convert voices here; None when some do, which wait for their weights if they are asked for."""
    if settings.rvc.enabled == "false":
        return NO_CONVERSION
    return conversion_weights_fault(models) if settings.rvc.enabled == "auto" else None


def conversion_weights_fault(models: ModelStore) -> ModelFilesError | None:
    """What voice conversion lacks on the volume, with the command that brings it."""
    try:
        require_content_encoder(models.volume)
    except ModelFilesError as error:
        return error
    return None


def open_converter(settings: Settings, models: ModelStore) -> ConversionEngine:
    """Load the converter; takes seconds, so never call it on an event loop."""
    from serving.engines.rvc.engine import RvcConverter, RvcOptions

    rvc = settings.rvc
    return RvcConverter.load(
        shared_directory(models.volume),
        device=rvc.device,
        fallback_cpu=rvc.fallback_cpu,
        options=RvcOptions(voice_bytes=rvc.voice_bytes, queue=rvc.queue, precision=rvc.precision),
    )


def resolve_voice(
    name: str, *, info: EngineInfo, settings: VoiceSettings, voices: VoiceStore, tenant: str = DEFAULT_TENANT
) -> Voice:
    """What ``name`` means here: an alias, a preset, one of OpenAI's names, a voice id or a voice name.

    Reads the records, so call it off the event loop. Raises NotFound that names the field ``voice``.
    """
    name = settings.aliases.get(name, name)
    if name == "default":
        name = settings.aliases.get(settings.default, settings.default)
    preset = _preset(name, info)
    if preset is not None:
        own = voices.preset(tenant, preset)
        return Voice(id=preset, preset=preset, pronunciations=own.pronunciations)
    if name == "default" or name in OPENAI_VOICES:
        raise InvalidRequest(
            f"voice {name!r} stands for a preset and model {info.model} has none; upload a voice with "
            "POST /v1/audio/voices, or name one in KUBEVOICE_VOICES__DEFAULT or KUBEVOICE_VOICES__ALIASES",
            param="voice",
        )
    try:
        return voice_of(voices.get(tenant, name))
    except NotFound:
        raise NotFound(
            f"there is no voice {name!r}; GET /v1/audio/voices lists the voices", "voice", "voice_not_found"
        ) from None


def normal_language(code: str, info: EngineInfo) -> str:
    """``code`` as the loaded model spells it; a region that it does not know stays: "en-GB" is read so.

    Raises InvalidRequest that names the field ``language``.
    """
    known = {language.lower(): language for language in info.languages}
    base, *region = code.split("-")
    for candidate in (code.lower(), base.lower()):
        if candidate in known:
            more = region if candidate != code.lower() and all(map(SUBTAG.fullmatch, region)) else []
            return "-".join([known[candidate], *more])
    if kin := next((language for code, language in known.items() if code.partition("-")[0] == base.lower()), None):
        return kin  # "zh" where the model says "zh-cn"
    raise InvalidRequest(
        f"language {code[:20]!r} is not spoken by {info.model}; GET /v1/models lists its languages", "language"
    )


def reserved_names(info: EngineInfo, settings: VoiceSettings) -> frozenset[str]:
    """Names an uploaded voice cannot take, in lower case, since they mean something already."""
    return frozenset(name.lower() for name in ("default", *OPENAI_VOICES, *info.presets, *settings.aliases))


def voice_of(profile: VoiceProfile) -> Voice:
    """The engine's view of a stored voice."""
    return Voice(
        id=profile.id,
        language=profile.language,
        references=profile.references,
        conditioning=profile.conditioning,
        pronunciations=profile.pronunciations,
    )


def _preset(name: str, info: EngineInfo) -> str | None:
    if not info.presets:
        return None
    if name == "default":
        return info.presets[0]
    if name in OPENAI_VOICES:
        return info.presets[OPENAI_VOICES.index(name) % len(info.presets)]
    return next((preset for preset in info.presets if preset.lower() == name.lower()), None)
