"""The tables, as SQLAlchemy declarative models; ``migrations/`` creates them and must agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Normalization = Literal["auto", "on", "off"]

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
"""Constraints need names that both databases know, or a later migration cannot drop them."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite itself would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        assert value is None or value.tzinfo is not None, "naive datetime"
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is None:
            return value and value.replace(tzinfo=UTC)
        return value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class VoiceRow(Base):
    """A cloned voice; its audio is on the volume below ``voices/<tenant>/<id>/``."""

    __tablename__ = "voices"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    language: Mapped[str | None] = mapped_column(String(35))
    description: Mapped[str | None] = mapped_column(Text)
    consent: Mapped[str | None] = mapped_column(Text)
    reference_count: Mapped[int] = mapped_column(Integer)
    reference_seconds: Mapped[float] = mapped_column(Double)
    quality: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ConversionModelRow(Base):
    """A voice to convert into; its files are on the volume below ``models/rvc/<id>/<revision>/``."""

    __tablename__ = "conversion_models"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    revision: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(8))
    sample_rate: Mapped[int] = mapped_column(Integer)
    f0: Mapped[bool] = mapped_column()
    speakers: Mapped[int] = mapped_column(Integer)
    index_vectors: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[int] = mapped_column(BigInteger)
    notes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class LaunchedRow:
    """What a launcher has been asked to do, and what was last seen of it.

    ``attempt`` counts the times it was asked for, ``attempted_at`` is the last of them; with the id it names the
    launcher's run. ``phase`` is how far asking has come: starting, started, cancelling, finished. ``state`` and
    ``reason`` are what a reader is told.
    """

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column(Integer)
    attempted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    phase: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DatasetRow(LaunchedRow, Base):
    """A dataset; its files are on the volume below ``datasets/<tenant>/<id>/``."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    files: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[int] = mapped_column(BigInteger)


class TrainingRunRow(LaunchedRow, Base):
    """A training run; its files are on the volume below ``training/<tenant>/<id>/``.

    ``request_key`` is the client's Idempotency-Key, ``request_digest`` the SHA-256 of what came with it.
    """

    __tablename__ = "training_runs"
    __table_args__ = (UniqueConstraint("tenant", "request_key"),)

    dataset_id: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(64))
    revision: Mapped[str | None] = mapped_column(String(64))
    settings: Mapped[dict[str, object]] = mapped_column(JSON)
    request_key: Mapped[str | None] = mapped_column(String(255))
    request_digest: Mapped[str] = mapped_column(String(64))


class ProfileRow(Base):
    """A speech profile that a tenant made; ``manner`` is how to speak."""

    __tablename__ = "profiles"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str | None] = mapped_column(Text)
    manner: Mapped[dict[str, object]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ProfileDefaultRow(Base):
    """The profile that a tenant speaks by where a request names none: an id, of a built-in one too."""

    __tablename__ = "profile_defaults"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    profile_id: Mapped[str] = mapped_column(String(64))


class ApiKeyRow(Base):
    """An API key. Of its text there are only ``digest``, an HMAC-SHA256 in hex, and the last characters, ``hint``."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("digest"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    hint: Mapped[str] = mapped_column(String(8))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    limits: Mapped[dict[str, int]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobRow(Base):
    """A job: many texts to speak. Its audio is on the volume below ``jobs/<tenant>/<id>/``.

    ``items`` of it ``succeeded`` and ``failed``; ``samples`` of audio are made, of ``characters_done`` of its
    ``characters``. ``claimed_at`` is when an item was last taken up, at first ``created_at``: turns go by it.
    Messages to ``webhook_url`` are signed with ``webhook_secret``.
    """

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("tenant", "request_key"), Index("ix_jobs_state", "state"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    options: Mapped[dict[str, object]] = mapped_column(JSON)
    request_key: Mapped[str | None] = mapped_column(String(255))
    request_digest: Mapped[str] = mapped_column(String(64))
    items: Mapped[int] = mapped_column(Integer)
    succeeded: Mapped[int] = mapped_column(Integer)
    failed: Mapped[int] = mapped_column(Integer)
    characters: Mapped[int] = mapped_column(BigInteger)
    characters_done: Mapped[int] = mapped_column(BigInteger)
    samples: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    claimed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    webhook_url: Mapped[str | None] = mapped_column(Text)
    webhook_secret: Mapped[str | None] = mapped_column(String(128))


class JobItemRow(Base):
    """One text of a job, by its ``number`` from 1.

    Whoever holds ``lease`` works on it until ``lease_until``; one that waits is not taken up before that time.
    ``attempts`` failed, ``lost`` ended without a word. ``audio`` is the name of its file, ``sentences`` are
    [text, samples] in order.
    """

    __tablename__ = "job_items"
    __table_args__ = (Index("ix_job_items_job_id_state", "job_id", "state"),)

    job_id: Mapped[str] = mapped_column(String(64), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    voice: Mapped[str | None] = mapped_column(String(128))
    language: Mapped[str | None] = mapped_column(String(35))
    text_normalization: Mapped[Normalization | None] = mapped_column(String(8))
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer)
    lost: Mapped[int] = mapped_column(Integer)
    lease: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Text)
    audio: Mapped[str | None] = mapped_column(String(64))
    samples: Mapped[int] = mapped_column(BigInteger)
    sentences: Mapped[list[list[object]]] = mapped_column(JSON)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)


class WebhookMessageRow(Base):
    """That a job has ended, to be told to its ``webhook_url``.

    ``attempts`` failed, but for the last of one that was delivered; ``error`` is what was wrong with the latest. Nobody
    tries before ``due_at``, which is when the ``lease`` of whoever tries now ends. ``tenant`` is the job's and
    ``receiver`` the host and port of its ``webhook_url``: places are shared by them, and turns go by ``claimed_at``.
    """

    __tablename__ = "webhook_messages"
    __table_args__ = (
        Index("ix_webhook_messages_state_tenant_attempts_due_at", "state", "tenant", "attempts", "due_at"),
        Index("ix_webhook_messages_tenant_claimed_at", "tenant", "claimed_at"),
        Index("ix_webhook_messages_job_id", "job_id"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(64), ForeignKey("jobs.id", ondelete="CASCADE"))
    tenant: Mapped[str] = mapped_column(String(64), server_default=text("''"))
    receiver: Mapped[str] = mapped_column(Text, server_default=text("''"))
    payload: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    claimed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease: Mapped[str | None] = mapped_column(String(64))


class AuditRow(Base):
    """Who changed what, and whether it went well; see ``serving.store.audit``."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_tenant_at", "tenant", "at"), Index("ix_audit_at", "at"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(64))
    object_id: Mapped[str | None] = mapped_column(String(255))
    request_id: Mapped[str | None] = mapped_column(String(128))
    outcome: Mapped[str] = mapped_column(String(16))
    detail: Mapped[dict[str, object]] = mapped_column(JSON)
