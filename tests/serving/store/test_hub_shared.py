"""The shared parts of RVC and of training, from a hub that speaks the real protocol over a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import ModelFilesError, NotFound
from serving.store.hub_shared import PulledPart, pull_shared
from serving.store.manifest import verify_manifest
from serving.store.models import ModelStore
from serving.store.shared_parts import (
    CONTENT_ENCODER,
    RMVPE,
    TRAINING_PARTS,
    XTTS_DVAE,
    dvae_file,
    require_content_encoder,
)
from serving.store.volume import Volume
from tests.serving.store.hub_server import COMMIT, FILES, Hub, running

CONFIG = b'{"model_type": "hubert"}\n'
WEIGHTS = bytes(range(256)) * 2048
PITCH = b"rmvpe" * 1000
DVAE = b"dvae" * 3000
OTHERS = {
    CONTENT_ENCODER.repository: {"config.json": CONFIG, "pytorch_model.bin": WEIGHTS, "README.md": b"more"},
    RMVPE.repository: {"rmvpe.pt": PITCH, "hubert_base.pt": b"not wanted"},
}


def a_hub() -> Hub:
    """It has the dvae.pth in the repository of the XTTS weights, as the real one does."""
    return Hub(files={**FILES, "dvae.pth": DVAE}, others={name: dict(files) for name, files in OTHERS.items()})


def store(tmp_path: Path) -> ModelStore:
    volume = Volume(tmp_path)
    volume.create()
    return ModelStore(volume)


def pulled(models: ModelStore, hub: Hub) -> list[PulledPart]:
    return pull_shared(models, endpoint=hub.endpoint, retry_waits_s=())


def test_the_parts_lie_where_replicas_read_them(tmp_path: Path) -> None:
    models, shared = store(tmp_path), tmp_path / "models" / "shared"
    with running(a_hub()) as hub:
        results = pulled(models, hub)

    assert [(result.part, result.downloaded) for result in results] == [(CONTENT_ENCODER, True), (RMVPE, True)]
    assert (shared / "contentvec" / "config.json").read_bytes() == CONFIG
    assert (shared / "contentvec" / "pytorch_model.bin").read_bytes() == WEIGHTS
    assert (shared / "rmvpe.pt").read_bytes() == PITCH
    assert sorted(path.name for path in shared.iterdir()) == ["contentvec", "rmvpe.pt"]
    facts = verify_manifest(shared / "contentvec", hashes=True).facts
    assert (facts["source"], facts["commit"]) == (f"{hub.endpoint}/{CONTENT_ENCODER.repository}", COMMIT)
    require_content_encoder(models.volume)
    assert RMVPE.missing(models.volume) == ""
    assert list((tmp_path / ".staging").iterdir()) == []
    assert models.list() == [], "they are no models"


def test_a_second_pull_transfers_nothing(tmp_path: Path) -> None:
    models = store(tmp_path)
    with running(a_hub()) as hub:
        pulled(models, hub)
        sent = dict(hub.sent)
        assert [result.downloaded for result in pulled(models, hub)] == [False, False]
        assert hub.sent == sent


@pytest.mark.parametrize("name", ["contentvec/pytorch_model.bin", "contentvec/config.json", "rmvpe.pt"])
def test_a_damaged_file_is_replaced(tmp_path: Path, name: str) -> None:
    models, path = store(tmp_path), tmp_path / "models" / "shared" / name
    with running(a_hub()) as hub:
        pulled(models, hub)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + b"?")
        assert [result.downloaded for result in pulled(models, hub)].count(True) == 1
    assert path.read_bytes() == whole


def test_a_broken_line_is_resumed_by_the_next_pull_and_nothing_is_published_before(tmp_path: Path) -> None:
    models = store(tmp_path)
    hub = a_hub()
    hub.break_after = 100_000
    with running(hub):
        with pytest.raises(ModelFilesError):
            pulled(models, hub)
        assert not (tmp_path / "models" / "shared").exists()
        hub.break_after = None
        pulled(models, hub)
    assert hub.sent["pytorch_model.bin"] == len(WEIGHTS)
    assert (tmp_path / "models" / "shared" / "contentvec" / "pytorch_model.bin").read_bytes() == WEIGHTS


def test_bytes_that_are_not_the_hubs_are_refused(tmp_path: Path) -> None:
    models, hub = store(tmp_path), a_hub()
    hub.stored = {"rmvpe.pt": PITCH[:-1] + b"?"}
    with running(hub), pytest.raises(ModelFilesError, match="damaged"):
        pulled(models, hub)
    assert not (tmp_path / "models" / "shared" / "rmvpe.pt").exists()
    require_content_encoder(models.volume)


def test_without_a_network_the_error_says_which_files_go_where(tmp_path: Path) -> None:
    with running(a_hub()) as hub:
        pass
    with pytest.raises(ModelFilesError) as caught:
        pulled(store(tmp_path), hub)
    for words in ("config.json, pytorch_model.bin", CONTENT_ENCODER.repository, f"{tmp_path}/models/shared/contentvec"):
        assert words in caught.value.message


def test_a_hub_that_lacks_them_is_said_as_such(tmp_path: Path) -> None:
    with running(Hub()) as hub, pytest.raises(NotFound, match="content-vec-best"):
        pulled(store(tmp_path), hub)


def test_what_training_needs_comes_from_the_repository_of_the_model_and_nothing_else_does(tmp_path: Path) -> None:
    models = store(tmp_path)
    with running(a_hub()) as hub:
        (result,) = pull_shared(models, parts=TRAINING_PARTS, endpoint=hub.endpoint, retry_waits_s=())
        assert set(hub.sent) == {"dvae.pth"}
    assert (result.part, result.downloaded) == (XTTS_DVAE, True)
    assert dvae_file(models.volume).read_bytes() == DVAE
    facts = verify_manifest(result.directory, hashes=True).facts
    assert (facts["commit"], facts["licence"]) == (COMMIT, XTTS_DVAE.licence)
    assert models.list() == [], "it is no model"
