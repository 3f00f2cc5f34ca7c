"""Request and response bodies, field for field as OpenAI defines them, plus documented extensions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import PydanticCustomError

from serving.api.conversion_schemas import ConversionFields
from serving.engines.pronunciation import MOST_OF_REQUEST, Pronunciation
from serving.store.quality import QualityReport

VoiceName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class VoiceReference(BaseModel):
    """The object form of ``voice``."""

    model_config = ConfigDict(extra="forbid")

    id: VoiceName


class SpeechBody(BaseModel):
    """Body of ``POST /v1/audio/speech``."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"model": "tts-1", "input": "Hello from kubevoice.", "voice": "alloy"},
                {"model": "auto", "input": "Guten Morgen!", "voice": "default", "language": "de", "speed": 1.25},
                {"model": "auto", "input": "Raw samples.", "voice": "default", "response_format": "pcm", "seed": 7},
                {"model": "auto", "input": "Events.", "voice": {"id": "alloy"}, "stream_format": "sse"},
            ]
        },
    )

    model: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="A model id from GET /v1/models, or an alias: auto, tts-1, tts-1-hd, gpt-4o-mini-tts"
    )
    input: Annotated[str, StringConstraints(min_length=1)] = Field(description="The text to speak")
    voice: VoiceName | VoiceReference = Field(
        description="A preset, a voice id or name from GET /v1/audio/voices, `default`, or one of OpenAI's voice names"
    )
    instructions: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        None, description="Accepted for compatibility; no engine here follows instructions (a response header says so)"
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        "mp3", description="All are 24 kHz mono; pcm is signed 16-bit little-endian"
    )
    speed: float = Field(1.0, ge=0.25, le=4.0, allow_inf_nan=False, description="1.0 is the voice's own pace")
    stream_format: Literal["audio", "sse"] = Field(
        "audio", description="audio streams the bytes of the file; sse streams speech.audio.delta events"
    )

    language: Annotated[str, StringConstraints(min_length=2, max_length=16)] | None = Field(
        None, description="Extension: language of the text; default: the voice's, else KUBEVOICE_VOICES__LANGUAGE"
    )
    seed: int | None = Field(None, ge=0, le=2**32 - 1, description="Extension: the same seed gives the same audio")
    temperature: float | None = Field(None, gt=0, le=2.0, description="Extension: XTTS sampling temperature")
    top_k: int | None = Field(None, ge=1, le=1024, description="Extension: XTTS top-k")
    top_p: float | None = Field(None, gt=0, le=1.0, description="Extension: XTTS top-p")
    repetition_penalty: float | None = Field(None, ge=1.0, le=20.0, description="Extension: XTTS repetition penalty")

    profile: VoiceName | None = Field(
        None,
        description="Extension: a profile's id or name; says what the request does not; default: the tenant's",
    )
    text_normalization: Literal["auto", "on", "off"] = Field(
        "auto", description="Extension: whether numbers, dates and the like are read out in words; auto is on"
    )
    pronunciations: Annotated[list[Pronunciation], Field(max_length=MOST_OF_REQUEST)] | None = Field(
        None, description="Extension: words and what is said in their place; they go before the voice's own"
    )
    conversion: ConversionFields | None = Field(
        None,
        description="Extension: the speech is converted into this voice while it is made; 24 kHz unless it says a rate",
    )

    @field_validator("voice", mode="wrap")
    @classmethod
    def _say_both_forms(cls, value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            # pydantic's own error is about only one of the two forms, and its path names the form.
            raise PydanticCustomError("voice", 'give a name of 1 to 128 characters, or {"id": "..."}') from None

    @property
    def voice_name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id


class PendingRevision(BaseModel):
    """The revision that was promoted and does not speak yet: it is being loaded, or cannot be."""

    revision: str
    state: Literal["loading", "failed"]


class ModelCard(BaseModel):
    """One entry of ``GET /v1/models``; ``root`` is the model that an alias stands for.

    ``revision`` is what speaks; ``pending`` is null where that is what was promoted last.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "kubevoice"
    root: str
    engine: str
    revision: str
    device: str
    languages: list[str]
    clones_voices: bool
    pending: PendingRevision | None = None


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class VoiceCard(BaseModel):
    """One voice; those of an ``audio_sample`` have ``created_at`` (Unix s), ``reference_seconds`` and ``quality``."""

    id: str
    object: Literal["audio.voice"] = "audio.voice"
    name: str
    type: Literal["preset", "alias", "audio_sample"]
    language: str | None = None
    description: str | None = None
    created_at: int | None = None
    reference_seconds: float | None = None
    quality: QualityReport | None = None


class VoiceList(BaseModel):
    object: Literal["list"] = "list"
    voices: list[VoiceCard]


class DeletedVoice(BaseModel):
    id: str
    object: Literal["audio.voice.deleted"] = "audio.voice.deleted"
    deleted: bool = True


class Health(BaseModel):
    status: Literal["ok", "ready"]


class Ready(Health):
    """``engine`` and the rest are null where nothing has run yet; ``detail`` says what a request has to wait for."""

    engine: str | None = None
    model: str | None = None
    revision: str | None = None
    device: str | None = None
    detail: str | None = None


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """Every error of this API."""

    error: ErrorDetail
