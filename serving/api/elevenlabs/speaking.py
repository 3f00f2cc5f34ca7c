"""What the text routes of this API have in common: who speaks, how, and what is said about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from serving.api.caller import tenant
from serving.api.context import Context
from serving.api.elevenlabs.schemas import VoiceSettings
from serving.engines.base import EngineInfo, SpeechRequest, TextNormalization, Voice
from serving.errors import NotFound
from serving.selection import MODEL_ALIASES, normal_language, resolve_voice

THEIRS = "eleven_"
"""What ElevenLabs' own model names begin with: each means the model this server has."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice of the loaded model, the language it speaks, and how it reads numbers."""

    info: EngineInfo
    voice: Voice
    language: str
    text_normalization: TextNormalization = "auto"

    def request(
        self,
        text: str,
        settings: VoiceSettings | None,
        seed: int | None,
        *,
        heard_in_s: float | None = None,
        revision: str | None = None,
    ) -> SpeechRequest:
        """The engine's request; ``heard_in_s`` and ``revision`` as there."""
        settings = settings or VoiceSettings()
        return SpeechRequest(
            text=text,
            voice=self.voice,
            language=self.language,
            speed=settings.speed or 1.0,
            seed=seed,
            sampling=settings.sampling(),
            heard_in_s=heard_in_s,
            revision=revision,
            text_normalization=self.text_normalization,
        )

    def headers(self, ignored: Iterable[str], settings: VoiceSettings | None, revision: str | None) -> dict[str, str]:
        """Headers that say what spoke (``revision`` if that is known), and what was asked for and not done."""
        warnings = [f"{name} is not followed" for name in ignored]
        if self.voice.references and not self.info.clones:
            warnings.append(f"engine {self.info.name} does not clone: a preset speaks instead of the reference")
        if settings and not self.info.samples:
            given = [name for name in ("stability", "similarity_boost") if getattr(settings, name) is not None]
            warnings += [f"voice_settings.{name} is ignored by engine {self.info.name}" for name in given]
        return {
            "X-Kubevoice-Engine": self.info.name,
            "X-Kubevoice-Model": f"{self.info.model}@{revision or self.info.revision}",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            **({"X-Kubevoice-Warning": "; ".join(warnings)} if warnings else {}),
        }


async def speaker(context: Context, voice_id: str, model_id: str | None, language_code: str | None) -> Speaker:
    """Raises NotFound for an unknown model or voice, InvalidRequest for a language that is not spoken."""
    info = await context.info()
    check_model(model_id, info)
    settings = context.settings.voices
    try:
        voice = await asyncio.to_thread(
            resolve_voice, voice_id, info=info, settings=settings, voices=context.voices, tenant=tenant()
        )
    except NotFound as error:
        raise NotFound(error.message, "voice_id", "voice_not_found") from None
    language = normal_language(language_code, info) if language_code else voice.language or settings.language
    return Speaker(info, voice, language)


def check_model(name: str | None, info: EngineInfo) -> None:
    """Raise NotFound unless ``name`` is the loaded model, an alias of it, or one of ElevenLabs' own."""
    if name and name != info.model and name not in MODEL_ALIASES and not name.startswith(THEIRS):
        raise NotFound(
            f"model {name!r} is not served here; GET /elevenlabs/v1/models lists the models",
            "model_id",
            "model_not_found",
        )
