"""Bodies as ElevenLabs defines them; what no engine here does is accepted and named in ``X-Kubevoice-Warning``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from serving.engines.base import Sampling

STABILITY, SIMILARITY = 0.5, 0.75
"""ElevenLabs' defaults, at which the sampling is XTTS's own."""


class VoiceSettings(BaseModel):
    """How a voice speaks. What XTTS samples by follows from it, so that ElevenLabs' defaults are XTTS's.

    ``stability`` lowers the temperature (1.0 at 0, 0.75 at 0.5, 0.5 at 1), ``similarity_boost`` narrows top-p (1.0 at
    0, 0.85 at 0.75, 0.8 at 1).
    """

    model_config = ConfigDict(extra="ignore")

    stability: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    similarity_boost: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    style: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    use_speaker_boost: bool | None = None
    speed: float | None = Field(None, ge=0.25, le=4, allow_inf_nan=False)

    def sampling(self) -> Sampling:
        """What is not said is the model's own."""
        return Sampling(
            temperature=None if self.stability is None else 1.0 - 0.5 * self.stability,
            top_p=None if self.similarity_boost is None else 1.0 - 0.2 * self.similarity_boost,
        )


class SpeechFields(BaseModel):
    """Body of ``POST /elevenlabs/v1/text-to-speech/{voice_id}``."""

    model_config = ConfigDict(
        extra="ignore",  # newer clients send fields that did not exist yet
        protected_namespaces=(),
        json_schema_extra={"examples": [{"text": "Hello.", "voice_settings": {"stability": 0.5, "speed": 1.1}}]},
    )

    text: Annotated[str, StringConstraints(min_length=1)]
    model_id: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, description="The loaded model, an alias of it, or any of ElevenLabs' own names (`eleven_...`)"
    )
    language_code: Annotated[str, StringConstraints(min_length=2, max_length=16)] | None = None
    voice_settings: VoiceSettings | None = None
    seed: int | None = Field(None, ge=0, le=2**32 - 1)
    pronunciation_dictionary_locators: list[dict[str, object]] | None = Field(None, max_length=3)
    previous_text: str | None = None
    next_text: str | None = None
    previous_request_ids: list[str] | None = None
    next_request_ids: list[str] | None = None
    use_pvc_as_ivc: bool | None = None
    apply_text_normalization: Literal["auto", "on", "off"] = "auto"
    apply_language_text_normalization: bool | None = None

    def ignored(self) -> Iterator[str]:
        """Fields that ask for what is not done."""
        context = ("previous_text", "next_text", "previous_request_ids", "next_request_ids")
        for name in ("pronunciation_dictionary_locators", *context):
            if getattr(self, name):
                yield name
        yield from (f"voice_settings.{name}" for name in self._ignored_settings())

    def _ignored_settings(self) -> Iterator[str]:
        if self.voice_settings and self.voice_settings.style:
            yield "style"


class VoiceItem(BaseModel):
    """One voice; ``preset`` voices are "premade", uploaded ones "cloned"."""

    voice_id: str
    name: str
    category: Literal["premade", "cloned"]
    description: str | None = None
    labels: dict[str, str] = {}
    settings: VoiceSettings | None = None
    preview_url: str | None = None
    available_for_tiers: list[str] = []
    high_quality_base_model_ids: list[str] = []
    samples: list[dict[str, str]] | None = None
    is_owner: bool = True
    created_at_unix: int | None = None


class VoiceItems(BaseModel):
    voices: list[VoiceItem]


class VoicePage(VoiceItems):
    """``next_page_token`` is where the next page begins."""

    has_more: bool
    total_count: int
    next_page_token: str | None = None


class AddedVoice(BaseModel):
    voice_id: str
    requires_verification: bool = False


class Done(BaseModel):
    status: Literal["ok"] = "ok"


class Language(BaseModel):
    language_id: str
    name: str


class ModelItem(BaseModel):
    """One model."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    name: str
    description: str
    can_do_text_to_speech: bool
    can_do_voice_conversion: bool
    can_be_finetuned: bool
    can_use_style: bool = False
    can_use_speaker_boost: bool = False
    serves_pro_voices: bool = False
    token_cost_factor: float = 1.0
    requires_alpha_access: bool = False
    maximum_text_length_per_request: int
    languages: list[Language]


class ErrorDetail(BaseModel):
    status: str
    message: str
    param: str | None = None


class FieldError(BaseModel):
    loc: list[str | int]
    msg: str
    type: str


class ErrorAnswer(BaseModel):
    """Every error of this API: one sentence, or with status 422 the fields that cannot be used."""

    detail: ErrorDetail | list[FieldError]
