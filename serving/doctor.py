"""What can keep kubevoice from speaking on this machine, checked for real and reported as data."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from serving.errors import KubevoiceError
from serving.files import write_atomic
from serving.settings import Settings
from serving.store.database import MIGRATIONS, SQLITE_FILE, Database
from serving.store.hub import XTTS_FILES, XTTS_REPOSITORY, instructions
from serving.store.manifest import MANIFEST, verify_manifest
from serving.store.models import ModelStore
from serving.store.shared_parts import COMMAND, CONTENT_ENCODER, RMVPE
from serving.store.volume import Volume

Status = Literal["ok", "warning", "failed"]

PACKAGES = ("ray", "torch", "torchaudio", "coqui-tts", "transformers")
LOW_SPACE_BYTES = 5 * 1000**3
"""XTTS takes 2 GB, and twice that while a new revision replaces it."""

NETWORK_FILESYSTEMS = ("nfs", "cifs", "smb", "ceph", "lustre", "gluster", "9p", "fuse.", "afs", "beegfs", "gpfs")
DRIVER_FILE = Path("/proc/driver/nvidia/version")

ABSENT_WEIGHTS: dict[str, Status] = {"xtts": "failed", "auto": "warning", "espeak": "ok"}
"""How bad it is for each setting of ``engine``."""


@dataclass(frozen=True)
class Check:
    """One finding; ``remedy`` says what to do about a warning or a failure."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def examine(settings: Settings, *, deep: bool = False) -> Iterator[Check]:
    """Run every check in turn, each as soon as the one before was taken; ``deep`` hashes the weights."""
    checks: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("python", check_python),
        ("packages", check_packages),
        ("device", lambda: check_device(settings)),
        ("embedded voice", lambda: check_embedded_voice(settings)),
        ("volume", lambda: check_volume(settings)),
        ("filesystem", lambda: check_filesystem(settings)),
        ("database", lambda: check_database(settings)),
        ("weights", lambda: check_weights(settings, deep=deep)),
        ("conversion", lambda: check_conversion(settings)),
    )
    for name, check in checks:
        yield _guarded(name, check)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except KubevoiceError as error:
        detail, _, remedy = error.message.partition("; ")
        return Check(name, "failed", detail, remedy)
    except Exception as error:  # noqa: BLE001 - a check that breaks is a finding, and the others still count
        return Check(name, "failed", f"{type(error).__name__}: {error}", "see the message; reinstalling often helps")


def check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("python", "ok", version)
    return Check("python", "failed", version, "use Python 3.11, 3.12 or 3.13")


def check_packages() -> Check:
    """torch and torchaudio are imported, because wheels of different builds install together and fail only then."""
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Check("packages", "failed", f"not installed: {', '.join(missing)}", "reinstall kubevoice")
    try:
        for module in ("torch", "torchaudio"):
            importlib.import_module(module)
    except (ImportError, OSError) as error:
        return Check(
            "packages", "failed", f"torch cannot be imported: {error}", "install torch and torchaudio from one index"
        )
    return Check("packages", "ok", ", ".join(found))


def check_device(settings: Settings) -> Check:
    """The device that XTTS would take; what XTTS computes is compared between a GPU and the CPU."""
    import torch

    wanted = settings.xtts.device
    with warnings.catch_warnings():  # torch tells of an old driver by a warning; here it is a finding
        warnings.simplefilter("ignore")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not count and not DRIVER_FILE.exists()):
        return Check("device", "ok", f"CPU, {torch.get_num_threads()} threads")
    device = torch.device("cuda" if wanted == "auto" else wanted)
    if (device.index or 0) >= count:
        status: Status = "warning" if wanted == "auto" or settings.xtts.fallback_cpu else "failed"
        return Check(
            "device",
            status,
            f"{wanted} is not there: torch {torch.__version__} can use {count} GPUs{_driver()}",
            "install a driver for this CUDA build, or a torch build for the driver; or set KUBEVOICE_XTTS__DEVICE=cpu",
        )
    properties = torch.cuda.get_device_properties(device)
    detail = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}{_driver()}"
    return _compared(device, detail, fallback_cpu=settings.xtts.fallback_cpu)


def _compared(device: Any, detail: str, *, fallback_cpu: bool) -> Check:
    from serving.engines.xtts.probe import faults, operations

    compared = len(operations(device))
    found = list(faults(str(device)))
    if not found:
        return Check("device", "ok", f"{detail}; {compared} operations of XTTS equal the CPU's")
    detail += f": {found[0]}" + (f" (and {len(found) - 1} more of {compared} operations)" if found[1:] else "")
    remedy = "use another torch build, or KUBEVOICE_XTTS__DEVICE=cpu"
    if fallback_cpu:
        return Check("device", "warning", f"{detail}; XTTS runs on the CPU", remedy)
    return Check("device", "failed", detail, remedy)


def _driver() -> str:
    return f", {DRIVER_FILE.read_text().splitlines()[0].strip()}" if DRIVER_FILE.exists() else ""


def check_embedded_voice(settings: Settings) -> Check:
    """espeak-ng speaks a word, and the word is neither silence nor a click; left alone where only XTTS may speak."""
    import numpy as np

    from serving.engines.base import SpeechRequest, Voice

    if settings.engine == "xtts":
        return Check("embedded voice", "ok", "not used: engine is set to xtts")
    try:
        from serving.engines.espeak import EspeakEngine
    except ModuleNotFoundError:
        status: Status = "failed" if settings.engine == "espeak" else "warning"
        return Check("embedded voice", status, "espeak-ng is not installed", "pip install 'kubevoice[espeak]'")

    async def speak() -> tuple[float, float]:
        engine = EspeakEngine()
        try:
            request = SpeechRequest("kubevoice is ready", Voice("default"), "en")
            chunks = [chunk async for chunk in engine.stream(request)]
        finally:
            await engine.close()
        pcm = np.concatenate([chunk.pcm for chunk in chunks])
        return sum(chunk.seconds for chunk in chunks), float(np.abs(pcm).max())

    seconds, peak = asyncio.run(speak())
    if seconds < 0.5 or peak < 0.01:
        detail = f"{seconds:.1f} s of audio with peak {peak:.3f}"
        return Check("embedded voice", "failed", detail, "reinstall espeakng-loader")
    return Check("embedded voice", "ok", f"espeak-ng spoke {seconds:.1f} s")


def check_volume(settings: Settings) -> Check:
    """A file is written, fsynced, renamed and removed, as every publication does."""
    root = settings.data
    if not root.is_dir():
        parent = next(path for path in (root, *root.parents) if path.exists())
        if parent.is_dir() and os.access(parent, os.W_OK):
            return Check("volume", "ok", f"{root} is made at the first start")
        return Check(
            "volume", "failed", f"{root} cannot be made", f"make {parent} a writable directory or set KUBEVOICE_DATA"
        )
    probe = root / f".doctor-{os.getpid()}"
    write_atomic(probe, b"probe")
    probe.unlink()
    free = Volume(root).free_bytes()
    detail = f"{root} is writable, {free / 1e9:.1f} GB free"
    if free < LOW_SPACE_BYTES:
        return Check("volume", "warning", detail, f"free some space: {LOW_SPACE_BYTES / 1e9:.0f} GB are advisable")
    return Check("volume", "ok", detail)


def check_filesystem(settings: Settings) -> Check:
    kind = filesystem_of(settings.data, Path("/proc/self/mounts").read_text())
    if kind.startswith(NETWORK_FILESYSTEMS) and settings.database.url is None:
        return Check(
            "filesystem",
            "warning",
            f"{kind} is a network filesystem and the records are in SQLite on it, which can damage them",
            "set KUBEVOICE_DATABASE__URL to a PostgreSQL database",
        )
    return Check("filesystem", "ok", kind)


def filesystem_of(path: Path, mounts: str) -> str:
    """The type of the filesystem that holds ``path``, by a table of the form of /proc/self/mounts."""
    best, kind = -1, "unknown"
    resolved = path.resolve()
    for line in mounts.splitlines():
        _, point, found, *_ = line.split(" ")
        mount = Path(point.replace("\\040", " "))
        if resolved.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), found
    return kind


def check_database(settings: Settings) -> Check:
    """Reachable, and of the shape of this version; nothing is changed."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    url = settings.database.url
    if url is None and not (settings.data / SQLITE_FILE).exists():
        return Check("database", "ok", f"SQLite in {settings.data} is made at the first start")
    database = Database.for_volume(url.get_secret_value() if url else None, settings.data)
    try:
        with database.reading() as session:
            current = MigrationContext.configure(session.connection()).get_current_revision()
    finally:
        database.close()
    scripts = ScriptDirectory(str(MIGRATIONS))
    kind = database.url.get_backend_name()
    if current == scripts.get_current_head():
        return Check("database", "ok", f"{kind} at migration {current}")
    if current in {None, *(script.revision for script in scripts.walk_revisions())}:
        return Check("database", "warning", f"{kind} at migration {current}", "kubevoice reindex migrates it")
    remedy = "run that version or restore a backup"
    return Check("database", "failed", f"{kind} at migration {current} of a newer kubevoice", remedy)


def check_weights(settings: Settings, *, deep: bool) -> Check:
    models = ModelStore(Volume(settings.data))
    name = settings.xtts.model
    current = models.current("xtts", name)
    if current is None:
        status = ABSENT_WEIGHTS[settings.engine]
        by_hand = instructions(models, "xtts", name, XTTS_REPOSITORY, XTTS_FILES)
        remedy = f"kubevoice models pull, or {by_hand}" if status != "ok" else ""
        return Check("weights", status, f"no XTTS weights in {models.volume.models('xtts', name)}", remedy)
    if not (current.path / MANIFEST).exists():
        remedy = "kubevoice models pull gets weights that can be verified"
        return Check("weights", "warning", f"{current.path} has no manifest, so it cannot be verified", remedy)
    verify_manifest(current.path, hashes=deep)
    how = "hashes" if deep else "sizes"
    return Check("weights", "ok", f"{name}@{current.revision}, {current.bytes / 1e9:.2f} GB, {how} match the manifest")


def check_conversion(settings: Settings) -> Check:
    """What voice conversion finds on the volume, and which methods of pitch that leaves."""
    volume = Volume(settings.data)
    if settings.rvc.enabled == "false":
        return Check("conversion", "ok", "voice conversion is switched off")
    if missing := CONTENT_ENCODER.missing(volume):
        status: Status = "failed" if settings.rvc.enabled == "true" else "ok"
        return Check("conversion", status, f"off: {missing}", COMMAND)
    if missing := RMVPE.missing(volume):
        return Check("conversion", "ok", f"content encoder found; pitch by fcpe and crepe; {missing}", COMMAND)
    return Check("conversion", "ok", "content encoder and rmvpe found")
