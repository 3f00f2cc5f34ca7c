"""Digests that the caller expects, against a hub on 127.0.0.1."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from serving.errors import InvalidRequest, ModelFilesError
from serving.store.digests import ExpectedDigests
from serving.store.hub import pull
from serving.store.models import ModelStore
from serving.store.volume import STAGING, Volume
from tests.serving.store.hub_server import FILES, Hub, running

WRONG = "f" * 64


def pulled(tmp_path: Path, hub: Hub, sha256: dict[str, str]) -> None:
    models = ModelStore(Volume(tmp_path))
    pull(models, accept_licence=True, endpoint=hub.endpoint, retry_waits_s=(), sha256=sha256)


def digests() -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


def test_the_right_digests_let_every_file_through_in_either_case(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        pulled(tmp_path, hub, {name: digest.upper() for name, digest in digests().items()})
    assert ModelStore(Volume(tmp_path)).current("xtts", "xtts_v2") is not None


def test_large_files_are_refused_before_a_byte_of_them_is_transferred(tmp_path: Path) -> None:
    with running(Hub()) as hub, pytest.raises(ModelFilesError, match=r"model\.pth on the hub .* expected was ffff"):
        pulled(tmp_path, hub, {"model.pth": WRONG})
    assert hub.sent == {}


def test_a_small_file_is_hashed_on_arrival_and_nothing_is_published(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        with pytest.raises(ModelFilesError, match=r"vocab\.json from the hub .* expected was ffff"):
            pulled(tmp_path, hub, {"vocab.json": WRONG})
        assert not (tmp_path / "models").is_dir() or not list((tmp_path / "models").rglob("vocab.json"))
        assert not list((tmp_path / STAGING).rglob("vocab.json")), "the next run fetches it anew"
        pulled(tmp_path, hub, digests())


def test_a_revision_that_is_there_already_is_not_made_current_if_it_is_not_the_expected_one(tmp_path: Path) -> None:
    models = ModelStore(Volume(tmp_path))
    with running(Hub()) as hub:
        pulled(tmp_path, hub, {})
        with models.publish("xtts", "xtts_v2", "mine", {}) as directory:
            (directory / "model.pth").write_bytes(b"mine")
        with pytest.raises(ModelFilesError, match=r"speakers_xtts\.pth on the volume"):
            pulled(tmp_path, hub, {"speakers_xtts.pth": WRONG})
    current = models.current("xtts", "xtts_v2")
    assert current is not None
    assert current.revision == "mine"


@pytest.mark.parametrize(("expected", "named"), [({"readme.md": WRONG}, "readme.md"), ({"model.pth": "12"}, "'12'")])
def test_what_cannot_be_meant_is_named(expected: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        ExpectedDigests(expected, ["model.pth"])
