"""From a training run to the volume's models: an export becomes a revision and serves."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from serving.errors import Conflict, ModelFilesError, NotFound
from serving.files import write_atomic
from serving.store.manifest import MANIFEST, Manifest, read_manifest, sha256_file, verify_manifest
from serving.store.models import ModelRevision, ModelStore, verify_xtts
from serving.store.training_files import EXPORT, read_status
from serving.store.volume import Volume, is_safe_name

VERIFIED = "verified"
"""The fact with which a trainer says that the stock XTTS loaded the export and spoke."""

LINKS_REFUSED = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES)
"""A filesystem without hard links, an export on another volume, or a kernel that protects others' files from them."""


def newest_export(volume: Volume, tenant: str, run: str) -> Path:
    """The export that the run's status names, else the latest complete one; raises NotFound without any."""
    directory = volume.training_run(tenant, run)
    status = read_status(directory)
    exports = directory / EXPORT
    if status is not None and status.export is not None and is_safe_name(status.export):
        named = exports / status.export
        if (named / MANIFEST).is_file():
            return named
    whole = [path.parent for path in exports.glob(f"*/{MANIFEST}") if is_safe_name(path.parent.name)]
    if not whole:
        state = "there is no such run"
        if directory.is_dir():
            state = f"it does so when it has succeeded, and is {status.state if status else 'not started'} now"
        raise NotFound(f"run {tenant}/{run} has exported nothing: {state}", param="run")
    return max(whole, key=lambda path: (path / MANIFEST).stat().st_mtime_ns)


def promote_export(models: ModelStore, export: Path, name: str) -> ModelRevision:
    """Publish ``export`` as a revision of XTTS model ``name`` and make it current; it is hashed once before.

    Files are linked where the volume can, else copied. An export that is published already, and is the same, is only
    made current. Raises ModelFilesError that names the file at fault, Conflict if another revision has its name, and
    StorageError; what serves stays the same then.
    """
    target = models.path("xtts", name, export.name)
    manifest = verify_export(export)
    if target.is_dir():
        if read_manifest(target).files != manifest.files:
            raise Conflict(
                f"revision {export.name!r} of {name!r} exists and is another one; export the run under another name",
                param="revision",
            )
    else:
        models.pin("xtts", name)
        _publish(models.volume, export, target, manifest)
    verify_xtts(target)
    models.promote("xtts", name, export.name)
    return models.get("xtts", name, export.name)


def verify_export(export: Path) -> Manifest:
    """Check every byte of an export. Raises ModelFilesError that names what is missing, changed or not verified."""
    stated = read_manifest(export)
    verified = stated.facts.get(VERIFIED)
    if not isinstance(verified, dict) or not verified:
        raise ModelFilesError(
            f"{export / MANIFEST} does not say {VERIFIED!r}: nothing has loaded this export and spoken; export it again"
        )
    verify_xtts(export)
    for file in stated.files:
        path = export / file
        if path.resolve() != export.resolve() / file or not path.is_file():
            raise ModelFilesError(f"{path} is a link to elsewhere or no file at all; export the run again")
    return verify_manifest(export, hashes=True)


def _publish(volume: Volume, export: Path, target: Path, manifest: Manifest) -> None:
    with volume.publish(target) as staging:
        for name, expected in manifest.files.items():
            placed = staging / name
            placed.parent.mkdir(parents=True, exist_ok=True)
            if not _linked(export / name, placed):
                shutil.copyfile(export / name, placed)
                if sha256_file(placed) != expected.sha256:
                    raise ModelFilesError(f"{export / name} was damaged while it was copied; promote it again")
        write_atomic(staging / MANIFEST, manifest.model_dump_json(indent=2).encode())


def _linked(file: Path, target: Path) -> bool:
    """Give ``file`` a second name; False where that cannot be."""
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno in LINKS_REFUSED:
            return False
        raise
    return True
