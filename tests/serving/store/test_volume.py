from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.errors import Conflict, InvalidRequest, StorageError
from serving.store.volume import STAGING, TOP_FOLDERS, TRASH, Volume, safe_name
from tests.serving.store import writers

TRICKS = ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a..b", "a\0b", "a\n", "-rf", "a\\b", "a b", "ü", "x" * 65]


def make_volume(root: Path) -> Volume:
    volume = Volume(root / "data")
    volume.create()
    return volume


def in_small_filesystem(root: Path, then: str = "true") -> list[str]:
    """A command prefix that sees a tmpfs of 2 MB at ``root``, in a mount namespace that goes with the process."""
    root.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o size=2m none "$0" && {then} && exec "$@"'
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(root)]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not let a process have mounts of its own")
    return prefix


@pytest.mark.parametrize("value", TRICKS)
def test_a_name_that_is_not_one_plain_path_component_is_refused_by_field(value: str, tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: safe_name(value, "alias"), "alias"),
        (lambda: volume.models(value, "base"), "kind"),
        (lambda: volume.models("xtts", value), "model"),
        (lambda: volume.voice(value, "voice_1"), "tenant"),
        (lambda: volume.voice("acme", value), "voice"),
    ]
    for refused, param in refusals:
        with pytest.raises(InvalidRequest) as caught:
            refused()
        assert caught.value.param == param


@pytest.mark.parametrize("value", ["a", "xtts_v2", "v2.0.1-rc1", "0", "x" * 64])
def test_a_plain_name_stays_as_it_is(value: str) -> None:
    assert safe_name(value, "alias") == value


def test_create_makes_the_layout_and_may_be_repeated(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    volume.create()
    assert {path.name for path in volume.root.iterdir()} == set(TOP_FOLDERS)


def test_create_says_so_when_a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")
    with pytest.raises(StorageError, match="data"):
        Volume(tmp_path / "data").create()


def test_a_published_directory_appears_at_once_and_complete(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    target = volume.voice("acme", "voice_1")
    with volume.publish(target) as staging:
        (staging / "deep" / "er").mkdir(parents=True)
        (staging / "deep" / "er" / "a.wav").write_bytes(b"RIFF")
        assert not target.exists()
    assert (target / "deep" / "er" / "a.wav").read_bytes() == b"RIFF"
    assert list((volume.root / STAGING).iterdir()) == []


def test_an_error_while_publishing_leaves_nothing(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    target = volume.voice("acme", "voice_1")

    def publish_bad_audio() -> None:
        with volume.publish(target) as staging:
            (staging / "a.wav").write_bytes(b"RIFF")
            raise ValueError("bad audio")

    with pytest.raises(ValueError, match="bad audio"):
        publish_bad_audio()
    assert not target.exists()
    assert writers.files_below(volume.root) == []
    assert list((volume.root / STAGING).iterdir()) == []


def test_a_failed_download_is_not_reported_as_a_full_volume(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    for error in (ConnectionResetError(104, "reset"), TimeoutError("timed out"), OSError("no errno")):
        with pytest.raises(type(error)) as caught, volume.publish(volume.voice("acme", "voice_1")):
            raise error
        assert caught.value is error


def test_publishing_over_an_existing_directory_is_a_conflict(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    target = volume.voice("acme", "voice_1")
    with volume.publish(target) as staging:
        (staging / "a.wav").write_bytes(b"first")
    with pytest.raises(Conflict), volume.publish(target):
        pytest.fail("the block must not run")
    assert (target / "a.wav").read_bytes() == b"first"


def test_of_two_writers_of_one_directory_exactly_one_wins(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    target = volume.voice("acme", "voice_1")
    both_inside = threading.Barrier(2)

    def publish(content: bytes) -> str:
        try:
            with volume.publish(target) as staging:
                both_inside.wait()
                (staging / "a.wav").write_bytes(content)
        except Conflict:
            return "conflict"
        return "published"

    with ThreadPoolExecutor() as pool:
        assert sorted(pool.map(publish, [b"one", b"two"])) == ["conflict", "published"]
    assert (target / "a.wav").read_bytes() in (b"one", b"two")
    assert list((volume.root / STAGING).iterdir()) == []


def test_a_discarded_directory_is_gone_while_an_open_reader_finishes(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    target = volume.voice("acme", "voice_1")
    target.mkdir(parents=True)
    (target / "a.wav").write_bytes(b"RIFF" * 1000)
    with (target / "a.wav").open("rb") as reader:
        reader.read(4)
        volume.discard(target)
        assert not target.exists()
        assert volume.sweep(0) == 1
        assert len(reader.read()) == 3996


def test_discarding_what_is_not_there_is_fine(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    volume.discard(volume.voice("acme", "voice_1"))
    assert volume.sweep(0) == 0


def test_the_same_path_can_be_discarded_again_and_again(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    for _ in range(3):
        (volume.root / "voices" / "a.txt").write_text("again")
        volume.discard(volume.root / "voices" / "a.txt")
    assert volume.sweep(0) == 3


def test_sweep_counts_the_age_of_trash_from_its_deletion(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    old = volume.voice("acme", "voice_1")
    old.mkdir(parents=True)
    os.utime(old, (1, 1))
    volume.discard(old)
    assert volume.sweep(3600) == 0
    assert volume.sweep(0) == 1
    assert list((volume.root / TRASH).iterdir()) == []


def test_sweep_spares_a_staging_directory_whose_files_still_grow(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    staging = volume.root / STAGING / "pull"
    staging.mkdir()
    (staging / "model.pth").write_bytes(b"growing")
    os.utime(staging, (1, 1))
    assert volume.sweep(3600) == 0
    os.utime(staging / "model.pth", (1, 1))
    os.utime(staging, (1, 1))
    assert volume.sweep(3600) == 1


def test_sweep_removes_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a.txt").write_text("kept")
    (volume.root / TRASH / "link").symlink_to(kept)
    time.sleep(0.01)
    assert volume.sweep(0) == 1
    assert (kept / "a.txt").read_text() == "kept"


def test_a_killed_writer_leaves_only_staging_that_a_sweep_removes(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    with writers.start(writers.publish_and_hang, volume.root) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == "ready\n"
        writer.stdin.write("\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "writing\n"
        writer.kill()
    (left,) = writers.files_below(volume.root)
    assert left.startswith(f"{STAGING}/")
    assert volume.sweep(3600) == 0
    assert volume.sweep(0) == 1
    assert writers.files_below(volume.root) == []


def test_a_full_volume_is_a_storage_error_and_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    prefix = in_small_filesystem(root)
    (result,) = writers.run_together([writers.start(writers.publish, root, prefix=prefix)])
    assert result["error"] == "StorageError"
    assert "No space left on device" in result["message"]
    assert result["files"] == []


def test_a_read_only_volume_is_a_storage_error(tmp_path: Path) -> None:
    root = tmp_path / "data"
    prefix = in_small_filesystem(root, then='mount -o remount,ro "$0"')
    together = [writers.start(action, root, prefix=prefix) for action in (writers.create, writers.publish)]
    for result in writers.run_together(together):
        assert result["error"] == "StorageError"
        assert "Read-only file system" in result["message"]


def test_a_file_larger_than_the_process_may_write_is_a_storage_error_and_leaves_nothing(tmp_path: Path) -> None:
    volume = make_volume(tmp_path)
    prefix = ["sh", "-c", 'ulimit -f 1024 && exec "$@"', "sh"]
    (result,) = writers.run_together([writers.start(writers.publish, volume.root, prefix=prefix)])
    assert result["error"] == "StorageError"
    assert "File too large" in result["message"]
    assert result["files"] == []
    assert list((volume.root / STAGING).iterdir()) == []


def test_free_bytes_is_what_the_file_system_says(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    assert Volume(tmp_path).free_bytes() == pytest.approx(status.f_bavail * status.f_frsize, rel=0.05)
    with pytest.raises(StorageError):
        Volume(tmp_path / "missing").free_bytes()
