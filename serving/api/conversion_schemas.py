"""Bodies of voice conversion: options under the names that RVC's users know, with their ranges."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from serving.engines.conversion import ConversionOptions, F0Method

MODEL_DESCRIPTION = "Id or name of a conversion model; GET /v1/conversion-models lists them"
LOWEST_RATE = 8000


class ConversionFields(BaseModel):
    """A conversion model and how to convert with it; zero means zero."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(description=MODEL_DESCRIPTION)
    pitch: float = Field(0.0, ge=-24, le=24, allow_inf_nan=False, description="Transposition in semitones")
    f0_method: F0Method = Field(
        "auto", description="How pitch is found; auto is rmvpe where its weights are on the volume, else fcpe"
    )
    index_rate: float = Field(
        0.75, ge=0, le=1, allow_inf_nan=False, description="How much of the sound comes from the voice's index"
    )
    filter_radius: int = Field(3, ge=0, le=7, description="Median filter over the pitch, in frames of 10 ms")
    rms_mix_rate: float = Field(
        0.25, ge=0, le=1, allow_inf_nan=False, description="Loudness: 0 follows the input, 1 is the voice's own"
    )
    protect: float = Field(
        0.33, ge=0, le=0.5, allow_inf_nan=False, description="Keeps breaths and consonants; 0.5 is off"
    )
    formant: float = Field(0.0, ge=-12, le=12, allow_inf_nan=False, description="Formant shift in semitones")
    speaker: int = Field(0, ge=0, le=2**31 - 1, description="Speaker of a model that has several")
    sample_rate: int | None = Field(
        None, ge=0, le=48000, description="Of the result, in Hz, from 8000; 0 is the model's own rate"
    )

    def options(self) -> ConversionOptions:
        """The engine's options."""
        return ConversionOptions(
            pitch=self.pitch,
            f0_method=self.f0_method,
            index_rate=self.index_rate,
            filter_radius=self.filter_radius,
            rms_mix_rate=self.rms_mix_rate,
            protect=self.protect,
            formant=self.formant,
            speaker=self.speaker,
        )


class ConversionParameters(ConversionFields):
    """What ``POST /v1/audio/conversions`` takes beside the recording, in the form or in the query."""

    seed: int | None = Field(None, ge=0, le=2**32 - 1, description="The same seed gives the same audio")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        "mp3", description="pcm is signed 16-bit little-endian; X-Kubevoice-Sample-Rate says its rate"
    )


class ConversionModelCard(BaseModel):
    """One conversion model; ``sample_rate`` Hz is what it makes, ``created_at`` Unix seconds.

    ``notes`` say where the upload's description of itself disagreed with its weights.
    """

    id: str
    object: Literal["conversion_model"] = "conversion_model"
    name: str
    version: str
    sample_rate: int
    f0: bool
    speakers: int
    index_vectors: int
    bytes: int
    notes: list[str]
    created_at: int


class ConversionModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ConversionModelCard]


class DeletedConversionModel(BaseModel):
    id: str
    object: Literal["conversion_model.deleted"] = "conversion_model.deleted"
    deleted: bool = True


def form_schema(fields: type[BaseModel] | None, files: dict[str, str], *, required: list[str]) -> dict[str, Any]:
    """The OpenAPI schema of a form with ``files`` (name and description) and the fields of a model."""
    described = fields.model_json_schema() if fields is not None else {"properties": {}}
    binary = {
        name: {"type": "string", "format": "binary", "description": description} for name, description in files.items()
    }
    return {"type": "object", "properties": {**binary, **described["properties"]}, "required": required}


def query_parameters(fields: type[BaseModel]) -> list[dict[str, Any]]:
    """OpenAPI parameters for the fields of a model; none is required, for a form may have them instead."""
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.get("description", "")}
        for name, schema in fields.model_json_schema()["properties"].items()
    ]
