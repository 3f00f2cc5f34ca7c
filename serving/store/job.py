"""A job, its options and its items, as they are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from serving.store.records import Normalization
from serving.store.webhooks import Outcome

JobKind = Literal["text", "list"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

ACTIVE = ("queued", "running")
"""States of jobs and items with work left."""

AUDIO = "items"
"""Folder of the items' audio in a job's directory."""


class JobOptions(BaseModel):
    """How a job speaks; ``seed`` is of the whole job, None where every item is to be new each time."""

    model_config = ConfigDict(frozen=True)

    model: str
    voice: str
    language: str | None
    response_format: str
    speed: float
    seed: int
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    text_normalization: Normalization = "auto"


@dataclass(frozen=True)
class NewItem:
    """A text to speak; what else it does not say is as the job has it."""

    text: str
    voice: str | None = None
    language: str | None = None
    text_normalization: Normalization | None = None


@dataclass(frozen=True)
class NewWebhook:
    """Where the job's owner is to be told of its end, and what that is signed with: ``whsec_`` and base64."""

    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Job:
    """One record; see ``JobRow``. ``directory`` is its folder on the volume.

    ``webhook`` is what became of the latest message to ``webhook_url``; None while there is nothing to say.
    """

    id: str
    tenant: str
    name: str
    kind: str
    state: str
    options: JobOptions
    directory: Path
    items: int
    succeeded: int
    failed: int
    characters: int
    characters_done: int
    samples: int
    input_tokens: int
    output_tokens: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    webhook_url: str | None
    webhook: Outcome | None

    @property
    def active(self) -> bool:
        return self.state in ACTIVE
