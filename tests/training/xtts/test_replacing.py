from pathlib import Path

import pytest

from serving.errors import StorageError
from training.xtts.replacing import replacing


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def interrupted_while_writing(folder: Path) -> None:
    (folder / "new").touch()
    raise KeyboardInterrupt


def test_a_folder_appears_when_it_is_filled(tmp_path: Path) -> None:
    with replacing(tmp_path / "deep" / "target") as folder:
        (folder / "file").write_text("new")
        assert not (tmp_path / "deep" / "target").exists()
    assert names(tmp_path / "deep") == ["target", "target/file"]


def test_what_was_there_is_gone_afterwards(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with replacing(tmp_path / "target") as folder:
            (folder / name).touch()
    assert names(tmp_path) == ["target", "target/new"]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    with replacing(tmp_path / "target") as folder:
        (folder / "old").touch()
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "target") as folder:
        interrupted_while_writing(folder)
    assert names(tmp_path) == ["target", "target/old"]


@pytest.mark.parametrize("left", [".target.new", ".another.new"])
def test_what_a_killed_process_left_is_swept_away(tmp_path: Path, left: str) -> None:
    (tmp_path / left / "torn").mkdir(parents=True)
    with replacing(tmp_path / "target") as folder:
        (folder / "file").touch()
    assert names(tmp_path) == ["target", "target/file"]


def test_a_volume_that_refuses_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"), replacing(tmp_path / "file" / "target"):
        pass
