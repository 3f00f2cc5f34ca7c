"""A voice as one file: a zip with recordings, dictionary, what is known of it, and nothing of where it came from.

The same voice gives the same bytes: entries are stored, in order, and have no times. Latents are not in it, nor ids nor
the tenant: whoever imports it computes the first and gets new ones of the others.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import InvalidRequest
from serving.files import refusing
from serving.store.profile import Text
from serving.store.quality import QualityReport
from serving.store.voice_consents import VoiceConsentStore, kept_elsewhere
from serving.store.voices import PRONUNCIATIONS, VoiceProfile

MANIFEST = "manifest.json"
VERSION = 1
MOST_RECORDINGS = 25
"""Of a voice."""

MANIFEST_BYTES = 256 * 1024
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""

IN_LIST = b"PK\x01\x02"
"""What an entry of a zip's list begins with. ``zipfile`` takes some 600 bytes of memory for one, of 46."""

MOST_LISTED = 1000
"""Far above a voice's: sound may have these bytes by chance."""

FIELD = "file"
"""What the archive is called in requests."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["kubevoice-voice"] = "kubevoice-voice"
    version: Literal[1] = 1
    name: Annotated[str, Field(max_length=64)]
    language: Text = None
    description: Text = None
    consent: Text = None
    quality: QualityReport | None = None
    files: Annotated[dict[str, _Entry], Field(min_length=1, max_length=MOST_RECORDINGS + 1)]


@dataclass(frozen=True, slots=True)
class ArchivedVoice:
    """``references`` are WAV files, whose sound nobody has looked at yet when they come from a zip."""

    name: str
    language: str | None
    description: str | None
    consent: str | None
    quality: QualityReport | None
    references: tuple[bytes, ...]
    pronunciations: bytes | None = None
    """The JSON of its dictionary, as it lies on the volume."""


def archived(profile: VoiceProfile, consents: VoiceConsentStore) -> ArchivedVoice:
    """The voice of ``profile`` with its recordings, read from the volume; raises StorageError where that fails.

    Of a consent among ``consents`` there are the facts in words: its recording stays.
    """
    references = []
    for path in profile.references:
        with refusing(path):
            references.append(path.read_bytes())
    with refusing(profile.pronunciations):
        pronunciations = profile.pronunciations.read_bytes() if profile.pronunciations.exists() else None
    return ArchivedVoice(
        profile.name,
        profile.language,
        profile.description,
        consents.in_words(profile.tenant, profile.consent),
        profile.quality,
        tuple(references),
        pronunciations,
    )


def pack(voice: ArchivedVoice) -> bytes:
    """The zip of ``voice``; raises InvalidRequest for one that has more recordings than a zip takes."""
    if len(voice.references) > MOST_RECORDINGS:
        raise InvalidRequest(
            f"{voice.name} has {len(voice.references)} recordings; a file takes {MOST_RECORDINGS}", "voice"
        )
    files = {f"references/{index}.wav": data for index, data in enumerate(voice.references)}
    if voice.pronunciations is not None:
        files[PRONUNCIATIONS] = voice.pronunciations
    manifest = _Manifest(
        name=voice.name,
        language=voice.language,
        description=voice.description,
        consent=voice.consent,
        quality=voice.quality,
        files={name: _Entry(bytes=len(data), sha256=_sha256(data)) for name, data in files.items()},
    )
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, data in ((MANIFEST, manifest.model_dump_json(indent=2).encode()), *files.items()):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16  # of Unix, wherever this runs
            archive.writestr(info, data)
    return sink.getvalue()


def unpack(data: bytes) -> ArchivedVoice:
    """The voice in a zip that ``pack`` wrote. Raises InvalidRequest, naming the entry, for every other file.

    A ``consent`` that looks like an id is one of another server, and is told in words: it is never looked up here.
    Memory is that of ``data`` twice over, whatever the zip says of itself.
    """
    if data.count(IN_LIST) > MOST_LISTED:
        raise _refused("it lists far more files than a voice has")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _checked(archive.infolist(), len(data))
            files = {name: _content(archive, info) for name, info in entries.items()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise _refused(f"it is not a whole zip file ({error})") from error
    manifest = _manifest(files.pop(MANIFEST))
    _compare(manifest.files, files)
    pronunciations = files.pop(PRONUNCIATIONS, None)
    return ArchivedVoice(
        manifest.name,
        manifest.language,
        manifest.description,
        kept_elsewhere(manifest.consent),
        manifest.quality,
        tuple(files[name] for name in _reference_names(len(files))),
        pronunciations,
    )


def _checked(infos: Sequence[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, if they can be those of a voice; nothing has been read of them."""
    entries: dict[str, zipfile.ZipInfo] = {}
    allowed = {MANIFEST, PRONUNCIATIONS, *_reference_names(MOST_RECORDINGS)}
    for info in infos:
        if info.filename not in allowed:
            raise _refused(f"its entry {info.filename[:80]!r} is none of a voice")
        if info.filename in entries:
            raise _refused(f"its entry {info.filename} is there twice")
        if info.flag_bits & 1 or info.compress_type != zipfile.ZIP_STORED:
            raise _refused(f"its entry {info.filename} is compressed or encrypted; zip it with: zip -0")
        entries[info.filename] = info
    if MANIFEST not in entries:
        raise _refused(f"it has no {MANIFEST}")
    if entries[MANIFEST].file_size > MANIFEST_BYTES:
        raise _refused(f"its entry {MANIFEST} is larger than {MANIFEST_BYTES:,} bytes")
    if sum(info.file_size for info in entries.values()) > size:
        raise _refused("its entries are together larger than it is")
    return entries


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, EOFError) as error:
        raise _refused(f"its entry {info.filename} is damaged") from error


def _manifest(data: bytes) -> _Manifest:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _refused(f"its {MANIFEST} is not JSON") from error
    if not isinstance(found, dict) or found.get("format") != "kubevoice-voice":
        raise _refused(f"its {MANIFEST} is not that of a voice")
    if found.get("version") != VERSION:
        raise _refused(
            f"its {MANIFEST} has version {str(found.get('version'))[:20]} and this server reads {VERSION}; update it"
        )
    try:
        return _Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:80]
        raise _refused(f"{place} of its {MANIFEST} is not usable: {first['msg'][:120]}") from error


def _compare(said: Mapping[str, _Entry], files: Mapping[str, bytes]) -> None:
    for name in sorted({*said, *files}):
        if name not in said:
            raise _refused(f"its entry {name} is not in its {MANIFEST}")
        if name not in files:
            raise _refused(f"it has no {name[:80]!r}, which its {MANIFEST} names")
        if len(files[name]) != said[name].bytes or _sha256(files[name]) != said[name].sha256:
            raise _refused(f"its entry {name} is not what its {MANIFEST} says: another size or sha256")
    references = files.keys() - {PRONUNCIATIONS}
    if not references or references != set(_reference_names(len(references))):
        raise _refused("its recordings are not numbered from 0 on")


def _reference_names(count: int) -> list[str]:
    return [f"references/{index}.wav" for index in range(count)]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"{FIELD} is not the export of a voice: {why}", FIELD)
