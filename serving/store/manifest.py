"""``manifest.json``: the sha256 and size of every file of a model revision, and where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import ModelFilesError
from serving.files import refusing, write_atomic

MANIFEST = "manifest.json"
BLOCK_BYTES = 1024 * 1024


class ManifestFile(BaseModel):
    """One file: ``sha256`` in lower-case hex and its size."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """The files by their path below the directory, and free-form facts (source, licence, created_at) beside them."""

    model_config = ConfigDict(frozen=True, extra="allow")

    files: dict[str, ManifestFile]

    @property
    def facts(self) -> Mapping[str, object]:
        return self.model_extra or {}


def sha256_file(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Hex sha256 of a file; ``progress`` is told the bytes read since its last call. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def write_manifest(directory: Path, facts: Mapping[str, object]) -> Manifest:
    """Hash every file below ``directory`` and write its manifest; raises StorageError if the volume refuses."""
    assert "files" not in facts, "the files are found, not given"
    with refusing(directory):
        paths = sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / MANIFEST)
        files = {
            path.relative_to(directory).as_posix(): ManifestFile(sha256=sha256_file(path), bytes=path.stat().st_size)
            for path in paths
        }
    manifest = Manifest.model_validate({"files": files, **facts})
    write_atomic(directory / MANIFEST, manifest.model_dump_json(indent=2).encode())
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """The manifest of ``directory``; raises ModelFilesError that names the file if it is missing or broken."""
    path = directory / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelFilesError(f"cannot read {path}: {error.strerror}; pull or publish the model again") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelFilesError(f"{path} is broken ({where}: {first['msg']}); pull or publish the model again") from None
    for name in manifest.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ModelFilesError(f"{path} lists {name!r}, a file outside its directory; publish the model again")
    return manifest


def verify_manifest(directory: Path, *, hashes: bool) -> Manifest:
    """Compare the files with the manifest: their sizes, and their sha256 too if ``hashes``.

    Sizes are compared whenever a model is chosen to serve; hashing 2 GB at each start would double it, so that is left
    to the pull and to ``kubevoice doctor --deep``.
    Raises ModelFilesError that names the first file that is missing or differs.
    """
    manifest = read_manifest(directory)
    for name, expected in manifest.files.items():
        _verify_file(directory / name, expected, hashes=hashes)
    return manifest


def _verify_file(path: Path, expected: ManifestFile, *, hashes: bool) -> None:
    try:
        size = path.stat().st_size
        if size != expected.bytes:
            raise _mismatch(path, f"it has {size} bytes where the manifest says {expected.bytes}")
        if hashes and sha256_file(path) != expected.sha256:
            raise _mismatch(path, "its sha256 is not the one in the manifest")
    except OSError as error:
        raise _mismatch(path, error.strerror or str(error)) from error


def _mismatch(path: Path, reason: str) -> ModelFilesError:
    return ModelFilesError(f"cannot use {path}: {reason}; pull or publish the model again")
