"""Crash-safe files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from serving.errors import StorageError
from serving.files import fsync_tree, refusing, write_atomic


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_a_file_is_written_and_replaced_with_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "pointer"
    write_atomic(path, b"one")
    write_atomic(path, b"two" * 100_000)

    assert path.read_bytes() == b"two" * 100_000
    assert names(tmp_path) == ["pointer"]


def test_a_reader_sees_one_whole_version_or_the_other(tmp_path: Path) -> None:
    path = tmp_path / "pointer"
    versions = {b"a" * 200_000, b"b" * 200_000}
    write_atomic(path, b"a" * 200_000)
    done = threading.Event()

    def write() -> None:
        for _ in range(20):
            for version in versions:
                write_atomic(path, version)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_bytes() in versions
    writer.join()


def test_a_refused_write_keeps_the_old_file_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    (path / "inside").mkdir(parents=True)  # a file cannot replace a directory

    with pytest.raises(StorageError, match="folder") as caught:
        write_atomic(path, b"data")
    assert "check the free space" in str(caught.value)
    assert names(tmp_path) == ["folder"]


def test_a_missing_directory_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        write_atomic(tmp_path / "missing" / "file", b"data")


def test_a_write_that_is_interrupted_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pointer"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_atomic(path, b"new")

    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["pointer"]


def test_a_block_of_file_work_refuses_as_a_storage_error_and_lets_other_errors_through(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"), refusing(tmp_path):
        (tmp_path / "missing").read_bytes()
    with pytest.raises(KeyError), refusing(tmp_path):
        raise KeyError("not about files")


def test_every_file_and_directory_of_a_tree_is_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x")
    synced: set[Path] = set()
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    fsync_tree(tmp_path)

    assert synced == {tmp_path, *tmp_path.rglob("*")}
