"""Which revision serves and which ones did before, whatever dies between two writes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.errors import Conflict, ModelFilesError, NotFound, StorageError
from serving.files import write_atomic
from serving.store import pointer
from serving.store.pointer import KEPT, Pointer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with revisions r1 to r4 and no pointer."""
    for name in ("r1", "r2", "r3", "r4"):
        (tmp_path / "xtts" / "base" / name).mkdir(parents=True)
    return tmp_path / "xtts" / "base"


def promoted(model: Path, *revisions: str) -> Pointer:
    kept = Pointer(model)
    for revision in revisions:
        kept.move(revision, before=None)
    return kept


def fine(_: Path) -> None:
    """Every directory can serve."""


def state(kept: Pointer) -> tuple[str | None, list[str]]:
    return kept.read(), kept.history()


def test_what_was_current_before_is_remembered_and_given_back_in_order(model: Path) -> None:
    kept = promoted(model, "r1", "r2", "r3")
    assert state(kept) == ("r3", ["r1", "r2"])
    assert kept.move_back(None, fine) == "r2"
    assert state(kept) == ("r2", ["r1"])
    assert kept.move_back(None, fine) == "r1"
    assert state(kept) == ("r1", [])
    with pytest.raises(NotFound, match=r"xtts model 'base' has no revision to go back to.*promote"):
        kept.move_back(None, fine)
    assert state(kept) == ("r1", [])


def test_a_promotion_after_a_rollback_is_rolled_back_to_where_it_came_from(model: Path) -> None:
    kept = promoted(model, "r1", "r2", "r3")
    kept.move_back(None, fine)
    kept.move("r4", before=None)
    assert state(kept) == ("r4", ["r1", "r2"])
    assert kept.move_back(None, fine) == "r2"


def test_what_is_current_already_is_promoted_without_a_trace(model: Path) -> None:
    kept = promoted(model, "r1", "r2", "r2")
    assert state(kept) == ("r2", ["r1"])
    assert kept.move_back("r2", fine) == "r2"
    assert state(kept) == ("r2", ["r1"])


def test_the_only_revision_of_a_model_without_a_pointer_is_remembered(model: Path) -> None:
    kept = Pointer(model)
    kept.move("r2", before="r1")
    assert state(kept) == ("r2", ["r1"])


def test_a_rollback_to_a_name_forgets_what_came_after_it(model: Path) -> None:
    kept = promoted(model, "r1", "r2", "r3", "r4")
    assert kept.move_back("r2", fine) == "r2"
    assert state(kept) == ("r2", ["r1"])
    with pytest.raises(NotFound, match=r"'r4' .* was not current before; promote it") as caught:
        kept.move_back("r4", fine)
    assert caught.value.param == "revision"
    assert state(kept) == ("r2", ["r1"])


def test_revisions_that_are_gone_are_passed_over(model: Path) -> None:
    kept = promoted(model, "r1", "r2", "r3", "r1", "r4")
    (model / "r1").rmdir()
    assert kept.move_back(None, fine) == "r3"
    (model / "r2").rmdir()
    with pytest.raises(NotFound):
        kept.move_back(None, fine)
    assert kept.read() == "r3"


def test_a_rollback_never_leads_to_what_serves(model: Path) -> None:
    kept = promoted(model, "r1", "r2", "r1")
    (model / "r2").rmdir()
    with pytest.raises(NotFound, match="has no revision to go back to"):
        kept.move_back(None, fine)


def test_a_revision_that_cannot_serve_is_not_gone_back_to(model: Path) -> None:
    kept = promoted(model, "r1", "r2")

    def refuse(directory: Path) -> None:
        raise ModelFilesError(f"{directory.name} is torn")

    with pytest.raises(ModelFilesError, match="r1 is torn"):
        kept.move_back(None, refuse)
    assert state(kept) == ("r2", ["r1"])


def test_the_history_is_bounded(model: Path) -> None:
    kept = promoted(model, *["r1", "r2"] * KEPT)
    assert len(kept.history()) == KEPT
    assert state(kept) == ("r2", ["r2", "r1"] * (KEPT // 2))


def test_a_torn_pointer_is_not_remembered_and_a_torn_history_is_read_as_far_as_it_goes(model: Path) -> None:
    kept = promoted(model, "r1", "r2")
    (model / "current").write_bytes(b"\xff\x00../r1")
    (model / "history").write_bytes(b"\xffr9\n../..\n\nr1\nr")
    kept.move("r3", before=None)
    assert state(kept) == ("r3", ["r1", "r"])
    assert kept.move_back(None, fine) == "r1"


@pytest.mark.parametrize("name", ["current", "history"])
def test_a_file_that_cannot_be_read_is_named(model: Path, name: str) -> None:
    promoted(model, "r1", "r2")
    (model / name).unlink()
    (model / name).mkdir()
    with pytest.raises(ModelFilesError, match=rf"cannot read .*base/{name}.*remove it"):
        Pointer(model).move("r3", before=None)


class Died(BaseException):
    """The process is no more."""


def dying_after(writes: int) -> Callable[[Path, bytes], None]:
    """``write_atomic`` of a process that is killed when it has written so many files."""
    left = writes

    def write(path: Path, data: bytes) -> None:
        nonlocal left
        if left == 0:
            raise Died
        left -= 1
        write_atomic(path, data)

    return write


def promote_r4(kept: Pointer) -> None:
    kept.move("r4", before=None)


def roll_back(kept: Pointer) -> None:
    kept.move_back(None, fine)


def roll_back_far(kept: Pointer) -> None:
    kept.move_back("r1", fine)


@pytest.mark.parametrize(("move", "new"), [(promote_r4, "r4"), (roll_back, "r2"), (roll_back_far, "r1")])
def test_a_process_that_dies_between_writes_leaves_the_state_before_or_after(
    move: Callable[[Pointer], None], new: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards the revision that serves is the old or the new one, and a rollback leads back, never forward."""
    ends = set()
    for writes in range(4):
        for name in ("current", "history"):
            (model / name).unlink(missing_ok=True)
        kept = promoted(model, "r1", "r2", "r3")
        with monkeypatch.context() as patched:
            patched.setattr(pointer, "write_atomic", dying_after(writes))
            try:
                move(kept)
            except Died:
                died = True
            else:
                died = False
        serves, past = state(kept)
        ends.add((died, serves))
        assert serves in ("r3", new)
        before = {"r4": "r3", "r3": "r1" if new == "r1" and past == ["r1"] else "r2", "r2": "r1"}
        if serves in before:
            assert kept.move_back(None, fine) == before[serves]
        else:
            assert past == []
    assert ends >= {(True, "r3"), (False, new)}
    assert new == "r4" or (True, new) in ends  # whose last write is the pointer's


def test_a_volume_that_refuses_leaves_what_was(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = promoted(model, "r1", "r2")

    def full(path: Path, _: bytes) -> None:
        raise StorageError(f"cannot write {path}")

    with monkeypatch.context() as patched:
        patched.setattr(pointer, "write_atomic", full)
        with pytest.raises(StorageError):
            kept.move("r3", before=None)
        with pytest.raises(StorageError):
            kept.move_back(None, fine)
    assert state(kept) == ("r2", ["r1"])


def test_a_move_waits_for_another_and_gives_up_in_the_end(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = promoted(model, "r1", "r2")
    monkeypatch.setattr(pointer, "LOCK_WAIT_S", 0.1)
    held = os.open(model, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another process is promoting"):
            kept.move("r3", before=None)
    finally:
        os.close(held)
    kept.move("r3", before=None)
    assert state(kept) == ("r3", ["r1", "r2"])


def test_a_volume_without_locks_does_without(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert state(promoted(model, "r1", "r2")) == ("r2", ["r1"])
