"""Pulling a model from a hub that speaks the real protocol over a real socket."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest

from serving.errors import Conflict, InvalidRequest, ModelFilesError, NotFound, StorageError
from serving.store.hub import XTTS_FILES, Pulled, pull
from serving.store.manifest import read_manifest, verify_manifest
from serving.store.models import ModelStore
from serving.store.volume import Volume
from tests.serving.store.hub_server import COMMIT, FILES, REPOSITORY, Hub, running

REVISION = COMMIT[:12]


def store(tmp_path: Path) -> ModelStore:
    volume = Volume(tmp_path)
    volume.create()
    return ModelStore(volume)


def pulled(models: ModelStore, hub: Hub, **options: object) -> Pulled:
    arguments: dict[str, object] = {"accept_licence": True, "endpoint": hub.endpoint, "retry_waits_s": (), **options}
    return pull(models, **arguments)  # type: ignore[arg-type]


def test_a_pull_publishes_every_file_with_its_source_and_licence_and_makes_it_current(tmp_path: Path) -> None:
    models, seen = store(tmp_path), dict[str, tuple[int, int]]()

    with running(Hub()) as hub:
        result = pulled(models, hub, progress=lambda name, done, total: seen.update({name: (done, total)}))

    assert result.downloaded
    assert result.model == models.current("xtts", "xtts_v2")
    assert result.model.path == tmp_path / "models/xtts/xtts_v2" / REVISION
    assert {name: (result.model.path / name).read_bytes() for name in XTTS_FILES} == FILES
    facts = verify_manifest(result.model.path, hashes=True).facts
    assert facts["source"] == f"{hub.endpoint}/{REPOSITORY}"
    assert facts["commit"] == COMMIT
    assert "Coqui Public Model License" in str(facts["licence"])
    assert "pulled_at" in facts
    assert seen == {name: (len(data), len(data)) for name, data in FILES.items()}
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_second_pull_finds_the_files_intact_and_transfers_nothing(tmp_path: Path) -> None:
    models = store(tmp_path)
    with running(Hub()) as hub:
        pulled(models, hub)
        sent = dict(hub.sent)
        again = pulled(models, hub)
        assert hub.sent == sent
    assert not again.downloaded


def test_a_revision_named_by_its_commit_needs_no_network_once_it_is_there(tmp_path: Path) -> None:
    models = store(tmp_path)
    with running(Hub()) as hub:
        pulled(models, hub)
    assert not pulled(models, hub, revision=COMMIT).downloaded


def finetuned(models: ModelStore) -> None:
    with models.publish("xtts", "xtts_v2", "mine", {"source": "training/acme/narrator"}) as staging:
        (staging / "model.pth").write_bytes(b"fine-tuned")


@pytest.mark.parametrize("there", [True, False])
def test_a_pull_that_keeps_what_is_current_leaves_a_model_of_another_source(tmp_path: Path, there: bool) -> None:
    models = store(tmp_path)
    with running(Hub()) as hub:
        if there:
            pulled(models, hub)
        finetuned(models)
        kept = pulled(models, hub, keep_current=True)
        assert (kept.model.revision, kept.model.current, kept.promoted) == (REVISION, False, False)
        assert models.current("xtts", "xtts_v2").revision == "mine"  # type: ignore[union-attr]
        told = pulled(models, hub)
    assert (told.model.current, told.promoted, told.downloaded) == (True, True, False)


def test_a_pull_that_keeps_what_is_current_moves_on_within_its_repository(tmp_path: Path) -> None:
    models = store(tmp_path)
    with running(Hub()) as hub:
        source = f"{hub.endpoint}/{REPOSITORY}"
        with models.publish("xtts", "xtts_v2", "older", {"source": source}) as staging:
            (staging / "model.pth").write_bytes(b"older")
        assert pulled(models, hub, keep_current=True).model.current


def test_a_torn_revision_is_pulled_again(tmp_path: Path) -> None:
    models = store(tmp_path)
    with running(Hub()) as hub:
        first = pulled(models, hub).model
        with (first.path / "vocab.json").open("r+b") as file:
            file.write(b"X")
        second = pulled(models, hub)
    assert second.downloaded
    assert (second.model.path / "vocab.json").read_bytes() == FILES["vocab.json"]


def test_a_pull_goes_on_where_a_dead_server_left_it(tmp_path: Path) -> None:
    models, size = store(tmp_path), len(FILES["model.pth"])
    with running(Hub(break_after=size // 2)) as dying, pytest.raises(ModelFilesError, match="run the pull again"):
        pulled(models, dying)
    assert models.list() == []

    with running(Hub()) as hub:
        result = pulled(models, hub)

    assert (result.model.path / "model.pth").read_bytes() == FILES["model.pth"]
    assert dying.sent["model.pth"] == size // 2
    assert hub.sent == {
        "model.pth": size - size // 2,
        **{name: len(FILES[name]) for name in ("vocab.json", "speakers_xtts.pth")},
    }
    assert f"bytes={size // 2}-" in [requested for _, requested, _ in hub.requests]


def test_bytes_that_are_not_the_hubs_are_refused_and_fetched_anew_next_time(tmp_path: Path) -> None:
    models, damaged = store(tmp_path), bytes(len(FILES["model.pth"]))
    with running(Hub(stored={"model.pth": damaged})) as hub:
        with pytest.raises(ModelFilesError, match=r"model\.pth arrived damaged"):
            pulled(models, hub)
        assert models.list() == []
        hub.stored.clear()
        assert pulled(models, hub).downloaded


def test_a_damaged_small_file_is_found_by_gits_own_hash(tmp_path: Path) -> None:
    changed = FILES["config.json"].replace(b"xtts", b"xxxx")
    with running(Hub(stored={"config.json": changed})) as hub, pytest.raises(ModelFilesError, match=r"config\.json"):
        pulled(store(tmp_path), hub)


@pytest.mark.parametrize(
    ("refuse", "error", "words"),
    [
        ((404, "RepoNotFound"), NotFound, "no repository coqui/XTTS-v2"),
        ((401, ""), ModelFilesError, "set HF_TOKEN"),
        ((403, "GatedRepo"), ModelFilesError, "accept its terms"),
        ((500, ""), ModelFilesError, "HTTP 500"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence(
    tmp_path: Path, refuse: tuple[int, str], error: type[Exception], words: str
) -> None:
    models = store(tmp_path)
    with running(Hub(refuse=refuse)) as hub, pytest.raises(error, match=words) as caught:
        pulled(models, hub)
    assert "\n" not in str(caught.value)
    assert models.list() == []


def test_an_unknown_revision_is_named(tmp_path: Path) -> None:
    with running(Hub()) as hub, pytest.raises(NotFound, match="no revision 'v9'") as caught:
        pulled(store(tmp_path), hub, revision="v9")
    assert caught.value.param == "revision"


def test_a_repository_without_one_of_the_files_is_refused_before_any_transfer(tmp_path: Path) -> None:
    files = {name: data for name, data in FILES.items() if name != "vocab.json"}
    with running(Hub(files=files)) as hub, pytest.raises(ModelFilesError, match=r"has no vocab\.json"):
        pulled(store(tmp_path), hub)
    assert hub.sent == {}


@pytest.mark.parametrize("repository", ["", "a/b/c", "../etc", "ha ha"])
def test_a_malformed_repository_name_is_bad_input(tmp_path: Path, repository: str) -> None:
    with running(Hub()) as hub, pytest.raises(InvalidRequest, match="owner/name"):
        pulled(store(tmp_path), hub, repository=repository)


def test_without_a_network_the_error_says_which_files_go_where(tmp_path: Path) -> None:
    with running(Hub()) as hub:
        pass
    with pytest.raises(ModelFilesError) as caught:
        pulled(store(tmp_path), hub)
    message = str(caught.value)
    assert all(name in message for name in XTTS_FILES)
    assert f"{tmp_path}/models/xtts/xtts_v2/<revision>/" in message
    assert "'current' beside it is optional" in message


def test_files_placed_by_hand_as_the_error_says_are_the_current_model(tmp_path: Path) -> None:
    models = store(tmp_path)
    directory = tmp_path / "models/xtts/xtts_v2/mine"
    directory.mkdir(parents=True)
    for name, data in FILES.items():
        (directory / name).write_bytes(data)
    current = models.current("xtts", "xtts_v2")
    assert current is not None
    assert current.path == directory


def test_a_volume_without_room_is_refused_before_any_transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with running(Hub()) as hub, pytest.raises(StorageError, match="MB more"):
        pulled(store(tmp_path), hub)
    assert hub.sent == {}


def test_an_interruption_after_the_last_byte_loses_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    models = store(tmp_path)
    with running(Hub()) as hub:
        with monkeypatch.context() as patch:
            patch.setattr("serving.store.models.write_manifest", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pulled(models, hub)
        assert models.list() == []
        sent = dict(hub.sent)
        assert pulled(models, hub).downloaded
        assert hub.sent == sent
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_filesystem_without_hard_links_is_served_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with running(Hub()) as hub:
        model = pulled(store(tmp_path), hub).model
    assert {name: (model.path / name).read_bytes() for name in XTTS_FILES} == FILES


def test_two_pulls_of_one_model_do_not_write_the_same_files(tmp_path: Path) -> None:
    models = store(tmp_path)
    partial = tmp_path / ".staging" / f"pull-xtts-xtts_v2-{REVISION}"
    partial.mkdir()
    with (partial / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with running(Hub()) as hub, pytest.raises(Conflict, match="another process"):
            pulled(models, hub)
    with running(Hub()) as hub:
        assert pulled(models, hub).downloaded


def test_an_abandoned_partial_download_is_swept(tmp_path: Path) -> None:
    models = store(tmp_path)
    with running(Hub(break_after=1000)) as hub, pytest.raises(ModelFilesError):
        pulled(models, hub)
    (partial,) = (tmp_path / ".staging").iterdir()
    assert models.volume.sweep(older_than_s=3600) == 0
    for path in (partial, *partial.iterdir()):
        os.utime(path, (0, 0))
    assert models.volume.sweep(older_than_s=3600) == 1


def test_the_licence_comes_first(tmp_path: Path) -> None:
    with running(Hub()) as hub, pytest.raises(InvalidRequest, match="has to be accepted"):
        pulled(store(tmp_path), hub, accept_licence=False)
    assert hub.requests == []


def test_the_token_of_the_environment_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running(Hub()) as hub:
        model = pulled(store(tmp_path), hub).model
    assert {token for _, _, token in hub.requests} == {"Bearer hf_secret"}
    assert "hf_secret" not in json.dumps(read_manifest(model.path).model_dump(mode="json"))
