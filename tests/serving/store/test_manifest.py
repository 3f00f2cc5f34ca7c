from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from serving.errors import ModelFilesError
from serving.store.manifest import MANIFEST, read_manifest, sha256_file, verify_manifest, write_manifest


def make_model(directory: Path) -> Path:
    (directory / "sub").mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "sub" / "model.pth").write_bytes(b"weights")
    write_manifest(directory, {"source": "https://example.org/model", "licence": "CPML"})
    return directory


def test_sha256_of_a_file_reports_every_byte_it_reads(tmp_path: Path) -> None:
    content = b"x" * (3 * 1024 * 1024 + 17)
    (tmp_path / "big").write_bytes(content)
    told: list[int] = []
    assert sha256_file(tmp_path / "big", told.append) == hashlib.sha256(content).hexdigest()
    assert sum(told) == len(content)
    assert len(told) > 1


def test_a_manifest_lists_every_file_beside_the_facts(tmp_path: Path) -> None:
    make_model(tmp_path)
    assert json.loads((tmp_path / MANIFEST).read_text()) == {
        "files": {
            "config.json": {"sha256": hashlib.sha256(b"{}").hexdigest(), "bytes": 2},
            "sub/model.pth": {"sha256": hashlib.sha256(b"weights").hexdigest(), "bytes": 7},
        },
        "source": "https://example.org/model",
        "licence": "CPML",
    }


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_manifest(make_model(tmp_path), {"licence": "CPML"})
    manifest = read_manifest(tmp_path)
    assert manifest == written
    assert manifest.facts == {"licence": "CPML"}
    assert verify_manifest(tmp_path, hashes=True) == written


def test_a_file_of_another_size_is_refused_by_name_without_hashing(tmp_path: Path) -> None:
    (make_model(tmp_path) / "sub" / "model.pth").write_bytes(b"weight")
    with pytest.raises(ModelFilesError, match=r"sub/model\.pth.*6 bytes.*7"):
        verify_manifest(tmp_path, hashes=False)


def test_a_tampered_file_of_the_same_size_is_refused_by_name(tmp_path: Path) -> None:
    (make_model(tmp_path) / "sub" / "model.pth").write_bytes(b"WEIGHTS")
    verify_manifest(tmp_path, hashes=False)
    with pytest.raises(ModelFilesError, match=r"sub/model\.pth.*sha256"):
        verify_manifest(tmp_path, hashes=True)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    (make_model(tmp_path) / "config.json").unlink()
    with pytest.raises(ModelFilesError, match=r"config\.json: No such file"):
        verify_manifest(tmp_path, hashes=False)


def test_a_directory_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=rf"{MANIFEST}: No such file"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"files": []}',
        b'{"files": {"a": {"sha256": "no", "bytes": 1}}}',
        b'{"files": {"a": {"sha256": "%b", "bytes": -1}}}' % (b"0" * 64),
        b'{"files": {"a": {"sha256": "%b", "bytes": "1"}}}' % (b"0" * 64),
    ],
)
def test_a_torn_manifest_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ModelFilesError, match=rf"{MANIFEST} is broken"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "sub/../../secret"])
def test_a_manifest_that_points_outside_its_directory_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"files": {name: {"sha256": "0" * 64, "bytes": 1}}}))
    with pytest.raises(ModelFilesError, match="outside its directory"):
        verify_manifest(tmp_path, hashes=True)
