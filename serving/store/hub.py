"""Models from the Hugging Face hub, published on the volume in one step."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from serving.errors import Conflict, InvalidRequest, ModelFilesError, StorageError
from serving.files import refusing
from serving.store.digests import ExpectedDigests
from serving.store.hub_transfer import RETRY_WAITS_S, Progress, RemoteFile, download, explained, size_of
from serving.store.licences import XTTS_LICENCE
from serving.store.manifest import read_manifest, verify_manifest
from serving.store.models import ModelRevision, ModelStore
from serving.store.volume import STAGING

logger = logging.getLogger(__name__)

XTTS_REPOSITORY = "coqui/XTTS-v2"
XTTS_FILES = ("config.json", "model.pth", "vocab.json", "speakers_xtts.pth")

COMMIT = re.compile(r"[0-9a-f]{12,40}")
REVISION_CHARS = 12
"""Characters of the commit id that name a revision directory."""

SPARE_BYTES = 64 * 1024 * 1024
"""Space left free beside the model: the records and their journal live on the same volume."""


@dataclass(frozen=True)
class Snapshot:
    """One commit of a repository and the files wanted from it."""

    source: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def revision(self) -> str:
        return self.commit[:REVISION_CHARS]


@dataclass(frozen=True)
class Pulled:
    """What a pull ended with; ``downloaded`` is False when the revision was there and intact already.

    ``promoted`` says whether it made the revision current, ``model.current`` whether it is that now.
    """

    model: ModelRevision
    downloaded: bool
    promoted: bool


def pull(
    models: ModelStore,
    *,
    accept_licence: bool,
    kind: str = "xtts",
    name: str = "xtts_v2",
    repository: str = XTTS_REPOSITORY,
    revision: str = "main",
    files: Sequence[str] = XTTS_FILES,
    sha256: Mapping[str, str] | None = None,
    keep_current: bool = False,
    progress: Progress | None = None,
    endpoint: str | None = None,
    retry_waits_s: Sequence[float] = RETRY_WAITS_S,
) -> Pulled:
    """Bring ``files`` of ``repository`` at ``revision`` (branch, tag or commit) to the volume and make them current.

    ``sha256`` is what the caller expects of some of them, checked besides the hub's own hashes. With ``keep_current``
    a revision that is current and does not come from ``repository``, such as a fine-tuned one, stays it.
    HF_ENDPOINT, HF_TOKEN and the proxy variables are honoured. Raises InvalidRequest, NotFound, ModelFilesError (hub
    unreachable, access refused, hash mismatch), StorageError (disk full) or Conflict (the same pull runs elsewhere);
    in every case nothing is published, and what was transferred is kept for the next run.
    """
    if not accept_licence:
        raise InvalidRequest(f"the licence of the weights ({XTTS_LICENCE}) has to be accepted", "accept_licence")
    expected = ExpectedDigests(sha256 or {}, files)
    by_hand = instructions(models, kind, name, repository, files)
    found = _intact(models, kind, name, revision) if COMMIT.fullmatch(revision) else None
    if found is None:
        with explained(repository, revision, by_hand):
            snapshot = resolve(repository, revision, files, endpoint)
        found = _intact(models, kind, name, snapshot.commit)
    if found is not None:
        expected.check_manifest(read_manifest(found.path))
        promote = not found.current and not (keep_current and _from_elsewhere(models, kind, name, repository))
        if promote:
            models.promote(kind, name, found.revision)
        return Pulled(models.get(kind, name, found.revision), downloaded=False, promoted=promote)
    for file in snapshot.files:
        if file.sha256 is not None:
            expected.check(file.name, file.sha256, "on the hub")
    with partial_files(models, f"pull-{kind}-{name}-{snapshot.revision}") as partial:
        require_space(models, snapshot, partial)
        for file in snapshot.files:
            with explained(repository, revision, by_hand):
                download(file, partial / file.name, progress, retry_waits_s)
            if file.sha256 is None:
                expected.check_file(partial / file.name)
        promote = not (keep_current and _from_elsewhere(models, kind, name, repository))
        _publish(models, kind, name, snapshot, partial, promote=promote)
    return Pulled(models.get(kind, name, snapshot.revision), downloaded=True, promoted=promote)


def instructions(models: ModelStore, kind: str, name: str, repository: str, files: Sequence[str]) -> str:
    """How to install the files of a model without a network, as the end of a sentence."""
    directory = models.volume.models(kind, name) / "<revision>"
    return (
        f"without a network place {', '.join(files)} of {repository} in {directory}/, where <revision> is a name of "
        "your choice and the pointer file 'current' beside it is optional"
    )


def _intact(models: ModelStore, kind: str, name: str, commit: str) -> ModelRevision | None:
    """The revision of ``commit`` on the volume, if every byte of it is as its manifest says."""
    model = _find(models, kind, name, commit[:REVISION_CHARS])
    if model is None:
        return None
    try:
        verify_manifest(model.path, hashes=True)
    except ModelFilesError as error:
        logger.warning("pulling %s/%s@%s again: %s", kind, name, model.revision, error)
        return None
    return model


def _from_elsewhere(models: ModelStore, kind: str, name: str, repository: str) -> bool:
    """Whether the current revision can serve and was not pulled from ``repository``."""
    try:
        current = models.current(kind, name)
        source = "" if current is None else str(read_manifest(current.path).facts.get("source", ""))
    except ModelFilesError:  # no pointer that can be followed, or a revision without a manifest, made by hand
        return False
    return current is not None and not source.endswith(f"/{repository}")


def _find(models: ModelStore, kind: str, name: str, revision: str) -> ModelRevision | None:
    wanted = (kind, name, revision)
    return next((model for model in models.list() if (model.kind, model.name, model.revision) == wanted), None)


def resolve(repository: str, revision: str, files: Sequence[str], endpoint: str | None) -> Snapshot:
    """Ask the hub for the commit behind ``revision`` and for the sizes and hashes of ``files``."""
    from huggingface_hub import HfApi, constants, hf_hub_url

    api = HfApi(endpoint=endpoint)
    info = api.model_info(
        repository, revision=revision, files_metadata=True, timeout=float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
    )
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    missing = [name for name in files if name not in siblings or siblings[name].size is None]
    if info.sha is None or missing:
        raise ModelFilesError(f"repository {repository} at {revision} has no {', '.join(missing) or 'commit'}")
    return Snapshot(
        f"{api.endpoint}/{repository}",
        info.sha,
        tuple(
            RemoteFile(
                name=sibling.rfilename,
                url=hf_hub_url(repository, sibling.rfilename, revision=info.sha, endpoint=endpoint),
                bytes=sibling.size or 0,
                sha256=sibling.lfs.sha256 if sibling.lfs else None,
                blob_id=sibling.blob_id,
            )
            for sibling in map(siblings.__getitem__, files)
        ),
    )


@contextlib.contextmanager
def partial_files(models: ModelStore, name: str) -> Iterator[Path]:
    """A directory that outlives a failed run, held by one process at a time, removed after success."""
    models.volume.create()
    directory = models.volume.root / STAGING / name
    with contextlib.ExitStack() as held:
        with refusing(directory):
            directory.mkdir(exist_ok=True)
            lock = held.enter_context((directory / ".lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict("another process is pulling this model at the moment; wait for it to finish") from None
        yield directory
        with refusing(directory):
            shutil.rmtree(directory)


def require_space(models: ModelStore, snapshot: Snapshot, partial: Path) -> None:
    """Raise StorageError unless what ``partial`` lacks of ``snapshot`` fits on the volume."""
    missing = sum(max(0, file.bytes - size_of(partial / file.name)) for file in snapshot.files) + SPARE_BYTES
    free = models.volume.free_bytes()
    if missing > free:
        raise StorageError(
            f"the model needs {missing / 1e6:.0f} MB more and {models.volume.root} has {free / 1e6:.0f} MB free; "
            "free some space or choose another data directory (KUBEVOICE_DATA)"
        )


def _publish(models: ModelStore, kind: str, name: str, snapshot: Snapshot, partial: Path, *, promote: bool) -> None:
    facts = {
        "source": snapshot.source,
        "commit": snapshot.commit,
        "licence": XTTS_LICENCE,
        "pulled_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    models.volume.discard(models.volume.models(kind, name) / snapshot.revision)
    with models.publish(kind, name, snapshot.revision, facts, promote=promote) as staging:
        for file in snapshot.files:
            share(partial / file.name, staging / file.name)


def share(file: Path, target: Path) -> None:
    """Give ``file`` a second name: an interruption of the publication takes ``target`` away and leaves the download."""
    try:
        os.link(file, target)
    except OSError:  # the filesystem has no hard links
        file.rename(target)
