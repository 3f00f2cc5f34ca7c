"""One file from the Hugging Face hub: resumed where it broke off, checked against the hub's hash.

``huggingface_hub.hf_hub_download`` throws a partial file away when it fails, so the transfer itself is done here, on
the library's session, headers and errors: 1.9 GB over a weak line must survive a dropped connection and a killed
process.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import InvalidRequest, ModelFilesError, NotFound
from serving.files import refusing
from serving.store.manifest import sha256_file

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

logger = logging.getLogger(__name__)

RETRY_WAITS_S = (1.0, 2.0, 4.0, 8.0)
"""Pauses before a broken transfer is taken up again; the count starts anew whenever bytes arrived."""

PASSING_STATUSES = (408, 429, 500, 502, 503, 504)

Progress = Callable[[str, int, int], None]
"""Called with the file's name, its bytes so far and its size."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of one commit. ``sha256`` is known for large files (LFS), ``blob_id`` is git's SHA-1 of small ones."""

    name: str
    url: str
    bytes: int
    sha256: str | None
    blob_id: str | None


def download(file: RemoteFile, partial: Path, progress: Progress | None, retry_waits_s: Sequence[float]) -> None:
    """Complete ``partial``, taking a broken transfer up again where it ended, and check it.

    Raises the errors of ``huggingface_hub`` and ``httpx2`` for what the hub answers, StorageError when the volume
    refuses the bytes, ModelFilesError when they are not those that the hub states.
    """
    import httpx2

    waits = list(retry_waits_s)
    while True:
        before = size_of(partial)
        try:
            _transfer(file, partial, progress)
        except httpx2.HTTPError as error:
            if size_of(partial) > before:
                waits = list(retry_waits_s)
            if not waits or not _passing(error):
                raise
            logger.warning("%s: %s; resuming at byte %d", file.name, error, size_of(partial))
            time.sleep(waits.pop(0))
        else:
            break
    _check(file, partial)


def _passing(error: httpx2.HTTPError) -> bool:
    """Whether the same request may succeed in a moment: a broken line, or a hub that is busy."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING_STATUSES
    return isinstance(error, httpx2.TransportError)


def _transfer(file: RemoteFile, partial: Path, progress: Progress | None) -> None:
    """One request for the bytes of ``file`` that ``partial`` lacks."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, but exported lazily
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    done = size_of(partial)
    if done == file.bytes and partial.exists():
        _report(progress, file, done)
        return
    # A compressed body has other offsets than the file, so ranges need the identity encoding.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if 0 < done < file.bytes:
        headers["Range"] = f"bytes={done}-"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", file.url, headers=headers, timeout=timeout) as response:
        hf_raise_for_status(response)
        resumed = response.status_code == 206
        _write(file, partial, response.iter_bytes(), done if resumed else 0, progress)


def _write(file: RemoteFile, partial: Path, blocks: Iterator[bytes], done: int, progress: Progress | None) -> None:
    """Append ``blocks`` after the first ``done`` bytes of ``partial``."""
    with refusing(partial):
        out = partial.open("ab" if done else "wb", buffering=0)
    with out:
        for block in blocks:
            with refusing(partial):
                out.write(block)
            done += len(block)
            _report(progress, file, done)
            if done > file.bytes:
                return


def _report(progress: Progress | None, file: RemoteFile, done: int) -> None:
    if progress is not None:
        progress(file.name, done, file.bytes)


def _check(file: RemoteFile, path: Path) -> None:
    """Refuse bytes that are not the hub's; they are removed, so that the next run fetches them anew."""
    size = size_of(path)
    if size < file.bytes:
        raise ModelFilesError(f"{file.name} ended after {size} of {file.bytes} bytes; run the pull again to resume")
    if size == file.bytes and matches(file, path):
        return
    path.unlink(missing_ok=True)
    what = "hash" if size == file.bytes else "size"
    raise ModelFilesError(
        f"{file.name} arrived damaged: its {what} is not the one that the hub states; nothing was published, run the "
        "pull again"
    )


def matches(file: RemoteFile, path: Path) -> bool:
    """Whether the bytes at ``path`` are those that the hub states."""
    if file.sha256 is not None:
        return sha256_file(path) == file.sha256
    data = path.read_bytes()
    # Git's object id: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == file.blob_id


@contextlib.contextmanager
def explained(repository: str, revision: str, by_hand: str) -> Iterator[None]:
    """Turn what the hub library raises into one sentence; ``by_hand`` says how to do without a network."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except HFValidationError as error:
        raise InvalidRequest(f"{repository!r} is not a repository of the form owner/name", "repository") from error
    except HfHubHTTPError as error:
        raise _refusal(error, repository, revision) from error
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        reason = str(error) or type(error).__name__
        raise ModelFilesError(
            f"the hub cannot be reached for {repository} ({reason}); run the pull again to resume, or {by_hand}"
        ) from error


def _refusal(error: HfHubHTTPError, repository: str, revision: str) -> ModelFilesError | NotFound:
    from huggingface_hub.errors import RevisionNotFoundError

    status = error.response.status_code
    if isinstance(error, RevisionNotFoundError):
        return NotFound(f"repository {repository} has no revision {revision!r}", "revision")
    if status == 404:
        return NotFound(f"the hub has no repository {repository}, or lacks a file of it at {revision}", "repository")
    if status in (401, 403):
        return ModelFilesError(
            f"the hub refuses {repository} (HTTP {status}): it is private, gated or does not exist; accept its terms "
            "on its page and set HF_TOKEN to a token that may read it"
        )
    return ModelFilesError(f"the hub answered HTTP {status} for {repository}; try again later")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
