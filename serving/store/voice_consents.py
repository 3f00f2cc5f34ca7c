"""Consents: a recording in which a speaker agrees that their voice is cloned, on the volume with the facts about it."""

from __future__ import annotations

import builtins
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from serving.errors import Conflict, InvalidRequest, NotFound, StorageError
from serving.files import refusing, write_atomic
from serving.store.profile import is_storable
from serving.store.volume import Volume, safe_name

CONSENT = "consent.json"
RECORDING = "recording"
"""What was sent, byte for byte: it is the proof."""

CONSENT_ID = re.compile(r"cons_[0-9a-f]{24}")
MEANT_AS_ID = re.compile(r"cons_\S*")
"""A voice's ``consent`` of this form is an id; anything else is the consent in words."""

LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
NAME_CHARS, TAG_CHARS = 64, 35

log = logging.getLogger(__name__)


def _clean_name(name: str) -> str:
    if not (1 <= len(name.strip()) <= NAME_CHARS and name.isprintable() and is_storable(name)):
        raise InvalidRequest(f"name {name[:80]!r} cannot be used; take 1 to {NAME_CHARS} printable characters", "name")
    return name.strip()


def _clean_tag(tag: str) -> str:
    if len(tag) > TAG_CHARS or not LANGUAGE_TAG.fullmatch(tag):
        raise InvalidRequest(f"language {tag[:80]!r} is no BCP 47 tag; send one such as en-US", "language")
    return tag


class VoiceConsent(BaseModel):
    """One consent; ``seconds``, ``bytes`` and ``sha256`` (hex) are those of its recording.

    Building one raises InvalidRequest for a name or language that cannot be used.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(pattern=CONSENT_ID)]
    tenant: str
    name: Annotated[str, AfterValidator(_clean_name)]
    language: Annotated[str, AfterValidator(_clean_tag)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    bytes: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created_at: AwareDatetime

    def in_words(self) -> str:
        """What is left of it where the recording does not go along, as in the export of a voice."""
        return (
            f"{self.name} agreed in a recording of {self.seconds:.1f} s ({self.language}), kept since "
            f"{self.created_at:%F %R} UTC as {self.id}, sha256 {self.sha256}"
        )


class VoiceConsentStore:
    """The consents of one volume, each a directory. Their ids sort by age, so that a page opens no others."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def add(self, tenant: str, name: str, language: str, recording: bytes, seconds: float) -> VoiceConsent:
        """Keep ``recording``. Raises InvalidRequest naming the field, StorageError; nothing is left then."""
        consent = VoiceConsent(
            id=f"cons_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}",
            tenant=safe_name(tenant, "tenant"),
            name=name,
            language=language,
            seconds=seconds,
            bytes=len(recording),
            sha256=hashlib.sha256(recording).hexdigest(),
            created_at=datetime.now(UTC),
        )
        with self._volume.publish(self.directory(consent)) as staging:
            (staging / RECORDING).write_bytes(recording)
            write_atomic(staging / CONSENT, _json(consent))
        return consent

    def get(self, tenant: str, consent_id: str, param: str = "consent_id") -> VoiceConsent:
        """The consent of that id; raises NotFound, about ``param``."""
        found = self._read(tenant, consent_id) if CONSENT_ID.fullmatch(consent_id) else None
        if found is None:
            raise _not_found(consent_id, param)
        return found

    def check(self, tenant: str, consent: str | None) -> None:
        """Raise NotFound naming ``consent`` if it is an id and there is no such consent; words are as they are."""
        if consent is not None and MEANT_AS_ID.fullmatch(consent):
            self.get(tenant, consent, "consent")

    def list(self, tenant: str, limit: int, after: str | None = None) -> builtins.list[VoiceConsent]:
        """At most ``limit`` consents, newest first, those behind the id ``after``; raises NotFound for that."""
        if after is not None:
            self.get(tenant, after, "after")
        found: builtins.list[VoiceConsent] = []
        for consent_id in self._ids(tenant):
            if len(found) == limit:
                break
            if after is not None and consent_id >= after:
                continue
            if (consent := self._read(tenant, consent_id)) is not None:
                found.append(consent)
        return found

    def rename(self, tenant: str, consent_id: str, name: str) -> VoiceConsent:
        """Give it another name; its recording stays. Raises NotFound, InvalidRequest."""
        found = self.get(tenant, consent_id)
        consent = VoiceConsent.model_validate({**found.model_dump(), "name": name})
        try:
            write_atomic(self.directory(consent) / CONSENT, _json(consent))
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):  # it was deleted meanwhile
                raise _not_found(consent_id, "consent_id") from error
            raise
        return consent

    def delete(self, tenant: str, consent_id: str, user: Callable[[str], str | None]) -> None:
        """Forget it and its recording, at once. Raises NotFound, and Conflict while ``user`` knows a voice of it.

        ``user`` is asked again when the consent cannot be found any more: a voice that is added looks for its consent
        after it can be found itself, so that of the two at least one sees the other.
        """
        consent = self.get(tenant, consent_id)

        def refuse_used() -> None:
            voice = user(consent.id)
            if voice is not None:
                raise Conflict(f"voice {voice} was made by consent {consent.id}; delete it first", "consent_id")

        refuse_used()  # one that is in use is not gone even for a moment
        if not self._volume.erase(self.directory(consent), refuse_used):
            raise _not_found(consent_id, "consent_id")

    def in_words(self, tenant: str, consent: str | None) -> str | None:
        """The ``consent`` of a voice as it can be understood elsewhere, where its id means nothing."""
        if consent is None or not MEANT_AS_ID.fullmatch(consent):
            return consent
        try:
            return self.get(tenant, consent).in_words()
        except NotFound:
            return f"by the recording {consent}, which was lost"

    def directory(self, consent: VoiceConsent) -> Path:
        """Where it lies."""
        return self._volume.consent(consent.tenant, consent.id)

    def _ids(self, tenant: str) -> Iterator[str]:
        """The tenant's, newest first."""
        folder = self._volume.root / "consents" / safe_name(tenant, "tenant")
        with refusing(folder):
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        yield from sorted((name for name in names if CONSENT_ID.fullmatch(name)), reverse=True)

    def _read(self, tenant: str, consent_id: str) -> VoiceConsent | None:
        """None, and a line in the log, for one that cannot be used; without a line for one that is not there."""
        path = self._volume.consent(tenant, consent_id) / CONSENT
        try:
            consent = VoiceConsent.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, InvalidRequest) as error:
            log.warning("cannot use %s: %s", path, error)
            return None
        if (consent.tenant, consent.id) != (tenant, consent_id):
            log.warning("cannot use %s: it is consent %s of tenant %s", path, consent.id, consent.tenant)
            return None
        return consent


def kept_elsewhere(consent: str | None) -> str | None:
    """The ``consent`` that another server told, in words where it is of the form of an id: none of ours is meant."""
    if consent is None or not MEANT_AS_ID.fullmatch(consent):
        return consent
    return f"by the recording {consent[:80]}, kept elsewhere"


def _json(consent: VoiceConsent) -> bytes:
    return consent.model_dump_json(indent=2).encode()


def _not_found(consent_id: str, param: str) -> NotFound:
    return NotFound(
        f"there is no consent {consent_id[:80]!r}; GET /v1/audio/voice_consents lists them", param, "consent_not_found"
    )
