"""What is sent and told about jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from serving.api.job_webhooks import JobWebhook, WebhookField
from serving.api.pages import Page
from serving.api.schemas import VoiceName
from serving.store.records import Normalization

Language = Annotated[str, StringConstraints(min_length=2, max_length=16)]
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class JobFields(BaseModel):
    """How a job speaks; fields of its body, or of its form beside the file."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=64, description="Of your choice; default: the id")
    model: VoiceName = Field("auto", description="A model id from GET /v1/models, or an alias")
    voice: VoiceName = Field("default", description="A preset, a voice id or name, `default`, or one of OpenAI's names")
    language: Language | None = Field(None, description="Default: the voice's, else KUBEVOICE_VOICES__LANGUAGE")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field("mp3", description="24 kHz mono")
    speed: float = Field(1.0, ge=0.25, le=4.0, allow_inf_nan=False, description="1.0 is the voice's own pace")
    seed: int | None = Field(None, ge=0, le=2**32 - 1, description="Default: one is chosen for the whole job")
    temperature: float | None = Field(None, gt=0, le=2.0, description="XTTS sampling temperature")
    top_k: int | None = Field(None, ge=1, le=1024, description="XTTS top-k")
    top_p: float | None = Field(None, gt=0, le=1.0, description="XTTS top-p")
    repetition_penalty: float | None = Field(None, ge=1.0, le=20.0, description="XTTS repetition penalty")
    profile: VoiceName | None = Field(None, description="A profile's id or name; default: the tenant's")
    text_normalization: Normalization = Field(
        "auto", description="Whether numbers, dates and the like are read out in words; auto is on"
    )
    webhook: WebhookField = Field(None, description="Is told when the job has ended; JSON in a form")


class JobItemBody(BaseModel):
    """One text; what it says besides goes before what the job says."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1)
    voice: VoiceName | None = None
    language: Language | None = None
    text_normalization: Normalization | None = None


class JobBody(JobFields):
    """Body of ``POST /v1/jobs``: a ``text`` or ``items``."""

    text: str | None = Field(None, min_length=1, description="One long text, such as a book; its audio is one file")
    items: list[JobItemBody] | None = Field(None, min_length=1, description="Texts; each has its own audio file")

    @model_validator(mode="after")
    def _one_of_both(self) -> JobBody:
        if (self.text is None) == (self.items is None):
            raise ValueError("give either text or items")
        return self


def body_schema() -> dict[str, Any]:
    """The schema of ``JobBody`` by itself: FastAPI collects only those of bodies that it reads."""
    schema = JobBody.model_json_schema()
    item = schema.pop("$defs")["JobItemBody"]
    schema["properties"]["items"]["anyOf"][0]["items"] = item
    return schema


class JobCounts(BaseModel):
    total: int
    succeeded: int
    failed: int


class JobUsage(BaseModel):
    input_tokens: int
    output_tokens: int
    audio_seconds: float


class JobCard(BaseModel):
    """One job. ``progress`` is 0 to 1 by characters; ``eta_seconds`` is at the mean pace so far, null until known.

    A job ``failed`` when any item did; the others' audio is there. ``expires_at`` is when it is deleted by itself.
    """

    id: str
    object: Literal["job"] = "job"
    name: str
    kind: Literal["text", "list"]
    state: State
    options: dict[str, Any]
    items: JobCounts
    progress: float
    eta_seconds: float | None
    usage: JobUsage
    webhook: JobWebhook | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    expires_at: int | None


class JobList(Page[JobCard]):
    pass


class JobItemCard(BaseModel):
    """One text of a job; ``seconds`` of audio are at the path ``audio``, null until it is spoken.

    ``attempts`` are those that failed.
    """

    number: int
    object: Literal["job.item"] = "job.item"
    state: State
    text: str
    voice: str | None
    language: str | None
    text_normalization: Normalization | None
    attempts: int
    error: str | None
    seconds: float | None
    audio: str | None


class JobItemList(Page[JobItemCard]):
    pass


class DeletedJob(BaseModel):
    id: str
    object: Literal["job.deleted"] = "job.deleted"
    deleted: bool = True
