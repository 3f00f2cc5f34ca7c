"""Each check on a machine that is well and on one that is not."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from serving import doctor
from serving.doctor import Check, examine, filesystem_of
from serving.engines.xtts import probe
from serving.settings import Settings
from serving.settings_groups import DatabaseSettings, XttsSettings
from serving.store.database import Database
from serving.store.models import ModelStore
from serving.store.volume import Volume
from tests.serving.engines.xtts.broken import BROKEN, broken, spectrograms


def well(tmp_path: Path) -> Settings:
    Volume(tmp_path).create()
    database = Database.for_volume(None, tmp_path)
    database.migrate()
    database.close()
    with ModelStore(Volume(tmp_path)).publish("xtts", "xtts_v2", "r1", {"source": "test"}) as directory:
        (directory / "model.pth").write_bytes(b"weights")
    return Settings(data=tmp_path, xtts=XttsSettings(device="cpu"))


def examined(settings: Settings, *, deep: bool = False) -> dict[str, Check]:
    return {check.name: check for check in examine(settings, deep=deep)}


def test_a_machine_that_is_well_passes_every_check(tmp_path: Path) -> None:
    checks = examined(well(tmp_path))
    assert {check.status for check in checks.values()} == {"ok"}, checks
    assert list(tmp_path.glob(".doctor*")) == []


@pytest.mark.parametrize(
    ("engine", "status", "remedy"),
    [("xtts", "ok", ""), ("auto", "warning", "kubevoice[espeak]"), ("espeak", "failed", "kubevoice[espeak]")],
)
def test_espeak_that_is_not_installed_is_as_bad_as_the_engine_setting_makes_it(
    monkeypatch: pytest.MonkeyPatch, engine: str, status: str, remedy: str
) -> None:
    monkeypatch.setitem(sys.modules, "serving.engines.espeak", None)
    check = doctor.check_embedded_voice(Settings(engine=engine))
    assert check.status == status
    assert remedy in check.remedy


def test_an_empty_place_is_fine_and_stays_empty(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "new" / "place", xtts=XttsSettings(device="cpu"))
    checks = examined(settings)
    assert checks["volume"].status == checks["database"].status == "ok"
    assert checks["weights"].status == "warning"
    assert list(tmp_path.iterdir()) == []


def test_damaged_weights_of_the_right_size_are_found_by_the_deep_check_only(tmp_path: Path) -> None:
    settings = well(tmp_path)
    (tmp_path / "models/xtts/xtts_v2/r1/model.pth").write_bytes(b"WEIGHTS")
    assert examined(settings)["weights"].status == "ok"
    finding = examined(settings, deep=True)["weights"]
    assert finding.status == "failed"
    assert "model.pth" in finding.detail
    assert finding.remedy


def test_weights_of_the_wrong_size_are_found_at_once(tmp_path: Path) -> None:
    settings = well(tmp_path)
    (tmp_path / "models/xtts/xtts_v2/r1/model.pth").write_bytes(b"weig")
    assert examined(settings)["weights"].status == "failed"


def test_weights_placed_by_hand_cannot_be_verified(tmp_path: Path) -> None:
    settings = well(tmp_path)
    (tmp_path / "models/xtts/xtts_v2/r1/manifest.json").unlink()
    assert examined(settings)["weights"].status == "warning"


@pytest.mark.parametrize(("engine", "status"), [("xtts", "failed"), ("auto", "warning"), ("espeak", "ok")])
def test_missing_weights_are_as_bad_as_the_engine_setting_makes_them(tmp_path: Path, engine: str, status: str) -> None:
    settings = Settings.model_validate({"data": tmp_path, "engine": engine})
    assert doctor.check_weights(settings, deep=False).status == status


def test_a_volume_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finding = examined(Settings(data=tmp_path / "file" / "data"))["volume"]
    assert finding.status == "failed"
    assert finding.remedy


def test_a_database_that_does_not_answer_fails_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://kubevoice:hunter2@127.0.0.1:1/kubevoice"
    settings = Settings.model_validate({"data": tmp_path, "database": DatabaseSettings.model_validate({"url": url})})
    finding = examined(settings)["database"]
    assert finding.status == "failed"
    assert finding.remedy
    assert "hunter2" not in f"{finding}"


@pytest.mark.parametrize(
    ("statement", "status"),
    [("UPDATE alembic_version SET version_num = '9999'", "failed"), ("DELETE FROM alembic_version", "warning")],
)
def test_a_database_of_another_version_is_found(tmp_path: Path, statement: str, status: str) -> None:
    settings = well(tmp_path)
    connection = sqlite3.connect(tmp_path / "kubevoice.db")
    with connection:
        connection.execute(statement)
    connection.close()
    assert examined(settings)["database"].status == status


def test_a_gpu_that_is_asked_for_and_missing_fails_or_warns_with_the_fallback() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    asked = Settings(xtts=XttsSettings(device="cuda"))
    fallback = Settings(xtts=XttsSettings(device="cuda", fallback_cpu=True))
    assert doctor.check_device(asked).status == "failed"
    assert doctor.check_device(fallback).status == "warning"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is the device of the probe's tests, which they can break."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="NVIDIA Test", total_memory=80e9)
    )
    monkeypatch.setattr(probe, "faults", lambda _, faults=probe.faults: faults(BROKEN))
    monkeypatch.setattr(probe, "operations", lambda device, every=probe.operations: every(device)[:6])


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_computes_says_what_was_compared() -> None:
    finding = doctor.check_device(Settings())
    assert finding.status == "ok"
    assert finding.detail.startswith("NVIDIA Test, 80 GB")
    assert finding.detail.endswith("; 6 operations of XTTS equal the CPU's")


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_fails_is_told_by_operation_and_shape_and_warns_with_the_fallback() -> None:
    with broken(spectrograms):
        failed = doctor.check_device(Settings())
        warned = doctor.check_device(Settings(xtts=XttsSettings(device="cuda", fallback_cpu=True)))
    words = "torch.stft of conditioning mel [2, 22050], n_fft 2048 fails: cuFFT error: CUFFT_INVALID_SIZE"
    assert f"{words} (and 2 more of 6 operations)" in failed.detail
    assert failed.status == "failed"
    assert "torch build" in failed.remedy
    assert warned.status == "warning"
    assert warned.detail.endswith("XTTS runs on the CPU")


def test_without_a_gpu_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "DRIVER_FILE", Path("/nowhere"))
    with broken(lambda *_: pytest.fail("the CPU was compared with itself")):
        assert doctor.check_device(Settings()).status == "ok"
        assert doctor.check_device(Settings(xtts=XttsSettings(device="cpu"))).status == "ok"


def test_sqlite_on_a_network_filesystem_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "filesystem_of", lambda *_: "nfs4")
    assert doctor.check_filesystem(Settings(data=tmp_path)).status == "warning"
    external = DatabaseSettings.model_validate({"url": "postgresql://db/kubevoice"})
    assert doctor.check_filesystem(Settings(data=tmp_path, database=external)).status == "ok"


def test_the_filesystem_is_that_of_the_deepest_mount() -> None:
    mounts = "rootfs / ext4 rw 0 0\nserver:/a /mnt nfs4 rw 0 0\ntmpfs /mnt/my\\040data tmpfs rw 0 0\n"
    assert filesystem_of(Path("/srv/x"), mounts) == "ext4"
    assert filesystem_of(Path("/mnt/models"), mounts) == "nfs4"
    assert filesystem_of(Path("/mnt/my data/x"), mounts) == "tmpfs"
    assert filesystem_of(Path("/mntx"), mounts) == "ext4"


@pytest.mark.parametrize(
    ("enabled", "files", "status", "words"),
    [
        ("false", (), "ok", "switched off"),
        ("auto", (), "ok", "off: config.json and model.safetensors or pytorch_model.bin"),
        ("true", (), "failed", "off: config.json"),
        ("auto", ("contentvec/config.json", "contentvec/pytorch_model.bin"), "ok", "fcpe and crepe; rmvpe.pt"),
        ("auto", ("contentvec/config.json", "contentvec/model.safetensors", "rmvpe.pt"), "ok", "and rmvpe found"),
    ],
)
def test_the_doctor_says_what_conversion_finds(
    tmp_path: Path, enabled: str, files: tuple[str, ...], status: str, words: str
) -> None:
    for name in files:
        path = tmp_path / "models" / "shared" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    finding = doctor.check_conversion(Settings.model_validate({"data": tmp_path, "rvc": {"enabled": enabled}}))
    assert (finding.status, words in finding.detail) == (status, True), finding
    assert bool(finding.remedy) == ("missing" in finding.detail)
