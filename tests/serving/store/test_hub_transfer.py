"""One file over a line that breaks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from huggingface_hub.errors import GatedRepoError

from serving.errors import ModelFilesError, StorageError
from serving.store.hub_transfer import RemoteFile, download
from tests.serving.store.hub_server import COMMIT, FILES, REPOSITORY, Hub, running

DATA = FILES["model.pth"]


def remote(hub: Hub) -> RemoteFile:
    url = f"{hub.endpoint}/{REPOSITORY}/resolve/{COMMIT}/model.pth"
    return RemoteFile("model.pth", url, len(DATA), hashlib.sha256(DATA).hexdigest(), None)


def test_a_broken_transfer_is_taken_up_again_within_one_run(tmp_path: Path) -> None:
    seen: list[int] = []
    with running(Hub(break_after=300_000)) as hub:

        def mend(name: str, done: int, total: int) -> None:
            seen.append(done)
            if done == 300_000:
                hub.break_after = None

        download(remote(hub), tmp_path / "part", mend, (0.01,))

    assert (tmp_path / "part").read_bytes() == DATA
    assert hub.sent["model.pth"] == len(DATA)
    assert [request[1] for request in hub.requests] == [None, "bytes=300000-"]
    assert seen == sorted(seen)


def test_a_server_that_ignores_ranges_starts_the_file_over(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(DATA[:1000])
    with running(Hub(ignore_ranges=True)) as hub:
        download(remote(hub), tmp_path / "part", None, ())
    assert (tmp_path / "part").read_bytes() == DATA


def test_a_partial_file_longer_than_the_file_starts_over(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(DATA + b"more")
    with running(Hub()) as hub:
        download(remote(hub), tmp_path / "part", None, ())
    assert (tmp_path / "part").read_bytes() == DATA


def test_a_complete_partial_file_is_only_checked(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(DATA)
    with running(Hub()) as hub:
        download(remote(hub), tmp_path / "part", None, ())
    assert hub.requests == []


def test_a_body_longer_than_the_hub_stated_is_cut_off_and_refused(tmp_path: Path) -> None:
    with running(Hub(stored={"model.pth": DATA * 3})) as hub, pytest.raises(ModelFilesError, match="size"):
        download(remote(hub), tmp_path / "part", None, ())
    assert not (tmp_path / "part").exists()


def test_a_volume_that_refuses_the_bytes_is_a_storage_error(tmp_path: Path) -> None:
    with running(Hub()) as hub, pytest.raises(StorageError, match="cannot write"):
        download(remote(hub), tmp_path / "missing" / "part", None, ())


def test_a_busy_hub_is_asked_again(tmp_path: Path) -> None:
    with running(Hub(refusals=[(503, ""), (429, "")])) as hub:
        download(remote(hub), tmp_path / "part", None, (0.01, 0.01))
    assert (tmp_path / "part").read_bytes() == DATA
    assert len(hub.requests) == 3


def test_a_refusal_for_good_is_not_asked_again(tmp_path: Path) -> None:
    with running(Hub(refuse=(403, "GatedRepo"))) as hub, pytest.raises(GatedRepoError):
        download(remote(hub), tmp_path / "part", None, (0.01, 0.01))
    assert len(hub.requests) == 1
