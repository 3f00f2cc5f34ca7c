"""The clips of a recording are there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.errors import StorageError
from serving.store.volume import Volume
from training.dataset.clips import Made
from training.dataset.facts import ClipFacts
from training.dataset.folders import FACTS, WORK, Folders


def made(folder: Path) -> Made:
    (folder / "c.wav").write_bytes(b"RIFF and more")
    facts = ClipFacts(id="c", recording="a.wav", text="One.", speaker="anna", language="en", file="clips/key/c.wav")
    dropped = ClipFacts(id="d", recording="a.wav", text="", speaker="anna", language="en")
    return Made([facts, dropped.dropped("no_text", "nothing")], [np.ones(512, np.float32)])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    written = folders.write("key", made)
    found = folders.read("key")
    assert found is not None
    assert found.clips == written.clips
    np.testing.assert_array_equal(found.embeddings, written.embeddings)
    assert not (tmp_path / WORK).exists()


@pytest.mark.parametrize("name", ["c.wav", FACTS, "speakers.npy"])
@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_a_folder_that_lacks_something_is_as_good_as_none(tmp_path: Path, name: str, damage: str) -> None:
    folders = Folders(tmp_path)
    folders.write("key", made)
    path = tmp_path / "clips/key" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:10])
    assert folders.read("key") is None
    folders.remove("key")
    folders.write("key", made)
    assert folders.read("key") is not None


def test_nothing_is_left_of_a_recording_that_was_not_finished(tmp_path: Path) -> None:
    def fail(folder: Path) -> Made:
        made(folder)
        raise StorageError("the volume is full")

    folders = Folders(tmp_path)
    with pytest.raises(StorageError):
        folders.write("key", fail)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_nothing_names_go_to_the_trash(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.create()
    dataset = volume.dataset("acme", "anna")
    dataset.mkdir(parents=True)
    folders = Folders(dataset)
    for key in ("old", "new"):
        folders.write(key, made)
    folders.keep(["new"], volume)
    assert [path.name for path in (dataset / "clips").iterdir()] == ["new"]
    assert [path.name.split("-")[0] for path in (tmp_path / ".trash").iterdir()] == ["old"]
