"""``profile.json``, the record of a voice beside its audio, from which the table can be rebuilt."""

from __future__ import annotations

import logging
import re
import unicodedata
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from serving.errors import InvalidRequest
from serving.store.quality import QualityReport
from serving.store.volume import safe_name

PROFILE = "profile.json"
VOICE_ID = re.compile(r"voice_[0-9a-f]{24}")
NAME_CHARS = 64
TEXT_CHARS = {"language": 35, "description": 2000, "consent": 2000}
"""Longest values; 35 is the room that RFC 5646 (4.4.1) recommends for a language tag."""

log = logging.getLogger(__name__)


def is_storable(text: str) -> bool:
    """False for what a database refuses in a text: NUL and lone surrogates."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def normal_name(name: str) -> str:
    """One spelling (Unicode NFC) for names that look the same."""
    return unicodedata.normalize("NFC", name)


def clean_name(name: str) -> str:
    """The name of a voice in its one spelling; raises InvalidRequest if it cannot be used."""
    name = normal_name(name)
    usable = (
        1 <= len(name) <= NAME_CHARS
        and _is_letter_or_digit(name[0])
        and all(_is_letter_or_digit(c) or unicodedata.category(c)[0] == "M" or c in " ._'()-" for c in name)
        and ".." not in name
    )
    if not usable:
        raise InvalidRequest(
            f"name {name[:80]!r} cannot be used; take 1 to {NAME_CHARS} letters, digits, spaces and ._'()-, "
            "starting with a letter or digit and without two dots in a row",
            param="name",
        )
    if VOICE_ID.fullmatch(name):
        raise InvalidRequest(f"name {name!r} looks like a voice id; choose another", param="name")
    return name


def _is_letter_or_digit(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "L" or category == "Nd"


def _safe_tenant(tenant: str) -> str:
    return safe_name(tenant, "tenant")


def _clean_text(text: str | None, info: ValidationInfo) -> str | None:
    field = info.field_name
    assert field is not None
    limit = TEXT_CHARS[field]
    if text is not None and (len(text) > limit or not is_storable(text)):
        raise InvalidRequest(f"{field} cannot be used; give at most {limit} printable characters", param=field)
    return text


Text = Annotated[str | None, AfterValidator(_clean_text)]


class VoiceFile(BaseModel):
    """The facts of a voice, with the same names as in the table; building one raises InvalidRequest for a bad one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(pattern=VOICE_ID)]
    tenant: Annotated[str, AfterValidator(_safe_tenant)]
    name: Annotated[str, AfterValidator(clean_name)]
    language: Text = None
    description: Text = None
    consent: Text = None
    reference_count: Annotated[int, Field(ge=1)]
    reference_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    quality: QualityReport | None = None
    created_at: AwareDatetime


def read_profile(path: Path) -> VoiceFile | None:
    """The profile at ``voices/<tenant>/<id>/profile.json``; None, and a line in the log, if it cannot be used."""
    try:
        profile = VoiceFile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError, InvalidRequest) as error:
        log.warning("cannot use %s: %s", path, error)
        return None
    if (profile.tenant, profile.id) != (path.parent.parent.name, path.parent.name):
        log.warning("cannot use %s: it is the profile of voice %s of tenant %s", path, profile.id, profile.tenant)
        return None
    return profile
