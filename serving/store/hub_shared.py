"""The networks that RVC voices or training runs share, from the Hugging Face hub to ``models/shared`` of the volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from serving.files import fsync_directory, fsync_tree, refusing
from serving.store.hub import Snapshot, partial_files, require_space, resolve, share
from serving.store.hub_transfer import RETRY_WAITS_S, Progress, download, explained, matches
from serving.store.manifest import write_manifest
from serving.store.models import ModelStore
from serving.store.shared_parts import PARTS, SharedPart


@dataclass(frozen=True)
class PulledPart:
    """What a pull ended with; ``downloaded`` is False when the files were there and intact already."""

    part: SharedPart
    directory: Path
    downloaded: bool


def pull_shared(
    models: ModelStore,
    *,
    parts: Sequence[SharedPart] = PARTS,
    revision: str = "main",
    progress: Progress | None = None,
    endpoint: str | None = None,
    retry_waits_s: Sequence[float] = RETRY_WAITS_S,
) -> list[PulledPart]:
    """Bring ``parts`` to the volume, each whole or not at all; what is there and intact stays.

    HF_ENDPOINT, HF_TOKEN and the proxy variables are honoured. Raises as ``serving.store.hub.pull`` does.
    """
    pulled = []
    for part in parts:
        directory = part.directory(models.volume)
        by_hand = f"without a network place {', '.join(part.files)} of {part.repository} in {directory}"
        with explained(part.repository, revision, by_hand):
            snapshot = resolve(part.repository, revision, part.files, endpoint)
        downloaded = not _intact(snapshot, directory)
        if downloaded:
            with partial_files(models, f"pull-shared-{part.name}-{snapshot.revision}") as partial:
                require_space(models, snapshot, partial)
                for file in snapshot.files:
                    with explained(part.repository, revision, by_hand):
                        download(file, partial / file.name, progress, retry_waits_s)
                _publish(models, part, snapshot, partial)
        pulled.append(PulledPart(part, directory, downloaded))
    return pulled


def _intact(snapshot: Snapshot, directory: Path) -> bool:
    return all((directory / file.name).is_file() and matches(file, directory / file.name) for file in snapshot.files)


def _publish(models: ModelStore, part: SharedPart, snapshot: Snapshot, partial: Path) -> None:
    """Put the files where replicas read them: a folder of its own at once, or a single file."""
    target = part.directory(models.volume)
    if not part.folder:
        (single,) = snapshot.files
        with refusing(target):
            target.mkdir(parents=True, exist_ok=True)
            fsync_tree(partial)
            (partial / single.name).replace(target / single.name)
            fsync_directory(target)
        return
    models.volume.discard(target)
    with models.volume.publish(target) as staging:
        for file in snapshot.files:
            share(partial / file.name, staging / file.name)
        write_manifest(staging, _facts(part, snapshot))


def _facts(part: SharedPart, snapshot: Snapshot) -> dict[str, object]:
    return {
        "source": snapshot.source,
        "commit": snapshot.commit,
        "licence": part.licence,
        "pulled_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
