"""From raw/ to metadata.csv and report.json, with the real tokenizer, encoder and voice activity detection."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.audio.wav import read_wav
from serving.errors import ConfigurationError, InvalidRequest, ModelFilesError
from serving.store.dataset_files import read_dataset_status
from serving.store.volume import Volume
from tests.factories.recordings import CONSENT, COUNTS, a_spec, make_raw, make_volume, silence, spoken, write_wav
from tests.factories.whisper import cached_whisper
from training.dataset.clips import Made, make_clips
from training.dataset.metadata import read_metadata
from training.dataset.prepare import prepare
from training.dataset.sources import Recording


def new(root: Path) -> tuple[Volume, Path]:
    volume = make_volume(root)
    dataset = volume.dataset("acme", "anna")
    dataset.mkdir(parents=True)
    return volume, dataset


def tree(dataset: Path) -> dict[str, bytes]:
    """Every file but status.json, which tells the time."""
    files = (path for path in sorted(dataset.rglob("*")) if path.is_file() and path.name != "status.json")
    return {path.relative_to(dataset).as_posix(): path.read_bytes() for path in files}


def report(dataset: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((dataset / "report.json").read_bytes())
    return content


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a volume with the counts prepared, and a table row without its file; read-only."""
    volume, dataset = new(tmp_path_factory.mktemp("ready"))
    raw = make_raw(dataset)
    with (raw / "metadata.csv").open("a") as file:
        file.write("lost|Nobody has me.\n")
    prepare(dataset, a_spec(), volume)
    return volume.root


@pytest.fixture
def copy(ready: Path, tmp_path: Path) -> tuple[Volume, Path]:
    """The same, to change."""
    shutil.copytree(ready, tmp_path / "data", symlinks=True)
    volume = Volume(tmp_path / "data")
    return volume, volume.dataset("acme", "anna")


def test_metadata_and_report_tell_the_same_of_every_clip(ready: Path) -> None:
    dataset = Volume(ready).dataset("acme", "anna")
    clips, told = read_metadata(dataset), report(dataset)
    kept = {clip["id"]: clip for clip in told["clips"] if clip["kept"]}
    assert [clip.text for clip in clips] == list(COUNTS)
    assert {clip.id: (clip.split, f"{clip.seconds:.3f}") for clip in clips} == {
        key: (clip["split"], f"{clip['seconds']:.3f}") for key, clip in kept.items()
    }
    for clip in clips:
        audio = read_wav(clip.path)
        assert (audio.sample_rate, clip.language, clip.speaker) == (22050, "en", "anna")
        assert audio.seconds == pytest.approx(clip.seconds, abs=0.001)
    totals = told["totals"]
    assert (totals["clips"], totals["kept"], totals["dropped"]) == (len(COUNTS) + 1, len(COUNTS), 1)
    assert totals["train"] + totals["val"] == len(COUNTS)
    assert totals["val"] >= 1
    assert totals["seconds"] == pytest.approx(sum(clip.seconds for clip in clips), abs=0.01)
    assert told["dropped"]["missing_file"]["clips"] == 1
    assert {warning["code"] for warning in told["warnings"]} >= {"little_audio", "few_clips", "few_val"}
    assert told["consent"] == CONSENT
    assert told["model"] == "xtts_v2@r1"
    assert told["totals"]["recordings_by_format"] == {"ljspeech": len(COUNTS) + 1}


def test_the_status_says_ready_with_the_numbers_of_the_report(ready: Path) -> None:
    dataset = Volume(ready).dataset("acme", "anna")
    status, totals = read_dataset_status(dataset), report(dataset)["totals"]
    assert status is not None
    assert (status.state, status.done, status.total) == ("ready", totals["recordings"], totals["recordings"])
    assert (status.kept, status.dropped, status.seconds) == (totals["kept"], totals["dropped"], totals["seconds"])


def test_a_second_run_touches_no_file(copy: tuple[Volume, Path]) -> None:
    volume, dataset = copy
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    assert not prepare(dataset, a_spec(), volume).changed
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_a_damaged_dataset_is_made_whole_again(copy: tuple[Volume, Path], ready: Path) -> None:
    volume, dataset = copy
    first, second, *_ = read_metadata(dataset)
    first.path.unlink()
    second.path.write_bytes(second.path.read_bytes()[:1000])
    (dataset / "metadata.csv").write_text("torn")
    assert prepare(dataset, a_spec(), volume).changed
    assert tree(dataset) == tree(Volume(ready).dataset("acme", "anna"))


def test_a_report_without_its_metadata_is_completed(copy: tuple[Volume, Path], ready: Path) -> None:
    """As a run leaves it that was killed between the two."""
    volume, dataset = copy
    (dataset / "metadata.csv").unlink()
    assert prepare(dataset, a_spec(), volume).changed
    assert tree(dataset) == tree(Volume(ready).dataset("acme", "anna"))


def test_added_data_is_all_that_is_made_and_moves_no_clip_to_validation(
    copy: tuple[Volume, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, dataset = copy
    before = {clip.id: clip for clip in read_metadata(dataset)}
    write_wav(dataset / "raw/wavs/more.wav", spoken("Ten and ten is twenty."))
    with (dataset / "raw/metadata.csv").open("a") as file:
        file.write("more|Ten and ten is twenty.\n")
    made = []

    def watched(recording: Recording, *rest: Any) -> Made:
        made.append(recording.name)
        return make_clips(recording, *rest)

    monkeypatch.setattr("training.dataset.prepare.make_clips", watched)
    prepare(dataset, a_spec(), volume)
    after = {clip.id: clip for clip in read_metadata(dataset)}
    assert made == ["wavs/more.wav"]
    assert before.keys() < after.keys()
    assert all(after[key].path == before[key].path for key in before)
    assert not [key for key in before if before[key].split == "train" and after[key].split == "val"]


def test_a_changed_text_replaces_its_clip_and_the_old_folder_goes_to_the_trash(copy: tuple[Volume, Path]) -> None:
    volume, dataset = copy
    table = dataset / "raw/metadata.csv"
    table.write_text(table.read_text().replace(COUNTS[0], "One two, three four five!"))
    folders = {path.name for path in (dataset / "clips").iterdir()}
    prepare(dataset, a_spec(), volume)
    left = {path.name for path in (dataset / "clips").iterdir()}
    assert len(left) == len(folders)
    assert len(folders - left) == 1
    assert [path.name.split("-")[0] for path in (volume.root / ".trash").iterdir()] == list(folders - left)
    assert read_metadata(dataset)[0].text == "One two, three four five!"


def test_other_settings_make_other_clips(copy: tuple[Volume, Path]) -> None:
    volume, dataset = copy
    before = read_metadata(dataset)
    prepare(dataset, a_spec(settings={"min_seconds": 2.0, "val_fraction": 0.5}), volume)
    after = read_metadata(dataset)
    assert 0 < len(after) < len(before)
    assert min(clip.seconds for clip in after) >= 2.0
    assert report(dataset)["dropped"]["too_short"]["clips"] == len(before) - len(after)


def test_a_copy_of_a_recording_is_a_duplicate(copy: tuple[Volume, Path]) -> None:
    volume, dataset = copy
    shutil.copy(dataset / "raw/wavs/n00.wav", dataset / "raw/wavs/twin.wav")
    with (dataset / "raw/metadata.csv").open("a") as file:
        file.write(f"twin|{COUNTS[0]}\n")
    prepare(dataset, a_spec(), volume)
    assert report(dataset)["dropped"]["duplicate"]["clips"] == 1
    assert len(read_metadata(dataset)) == len(COUNTS)


TALK = COUNTS[:5]


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
def test_subtitles_cut_a_long_recording(tmp_path: Path, suffix: str) -> None:
    volume, dataset = new(tmp_path)
    pcm = np.concatenate([spoken(text) for text in TALK])
    ends = np.cumsum([len(spoken(text)) for text in TALK]) / 22050
    cues = []
    for number, (text, end) in enumerate(zip(TALK, ends, strict=True), 1):
        start = end - len(spoken(text)) / 22050 + 0.3
        cues.append(f"{number}\n00:00:{start:06.3f} --> 00:00:{end - 0.3:06.3f}\n{text}\n")
    write_wav(dataset / "raw/talk.wav", pcm)
    (dataset / f"raw/talk{suffix}").write_text(("WEBVTT\n\n" if suffix == ".vtt" else "") + "\n".join(cues))
    prepare(dataset, a_spec(), volume)
    clips = read_metadata(dataset)
    assert " ".join(clip.text for clip in clips) == " ".join(TALK)
    assert len(clips) > 2
    assert {clip.split for clip in clips} == {"train", "val"}
    assert all(clip.id.startswith("talk-") for clip in clips)
    assert sum(clip.seconds for clip in clips) < len(pcm) / 22050


def test_jsonl_brings_speakers_languages_and_splits(tmp_path: Path) -> None:
    volume, dataset = new(tmp_path)
    rows = []
    for number, text in enumerate(COUNTS[:4]):
        write_wav(dataset / f"raw/{number}.wav", spoken(text))
        split = "val" if number == 2 else "train"
        rows.append({"audio": f"{number}.wav", "text": text, "speaker": "bea", "language": "de", "split": split})
    (dataset / "raw/list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare(dataset, a_spec(), volume)
    clips = read_metadata(dataset)
    assert [(clip.speaker, clip.language, clip.split) for clip in clips] == [
        ("bea", "de", "train"),
        ("bea", "de", "train"),
        ("bea", "de", "val"),
        ("bea", "de", "train"),
    ]


def test_recordings_without_texts_are_transcribed_by_the_model_on_the_volume(tmp_path: Path) -> None:
    volume, dataset = new(tmp_path)
    write_wav(dataset / "raw/talk.wav", np.concatenate([spoken("One two three."), spoken("Four five six seven.")]))
    with pytest.raises(ModelFilesError, match=r"models/asr/whisper/model\.bin is missing.*bring transcripts"):
        prepare(dataset, a_spec(transcribe=True), volume)
    shutil.copytree(cached_whisper(), volume.models("asr", "whisper"))
    prepare(dataset, a_spec(transcribe=True), volume)
    texts = " ".join(clip["text"] for clip in report(dataset)["clips"])
    assert texts.startswith("One two three. Four five six seven.")
    assert read_metadata(dataset)


def test_transcribing_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, dataset = new(tmp_path)
    write_wav(dataset / "raw/talk.wav", silence(1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"kubevoice\[transcription\].*transcripts"):
        prepare(dataset, a_spec(transcribe=True), volume)


def test_a_dataset_of_which_nothing_is_left_is_refused_with_the_reasons_and_stays_as_it_was(
    copy: tuple[Volume, Path],
) -> None:
    volume, dataset = copy
    before = {name: content for name, content in tree(dataset).items() if name in ("metadata.csv", "report.json")}
    shutil.rmtree(dataset / "raw")
    write_wav(dataset / "raw/a.wav", silence(2))
    (dataset / "raw/a.txt").write_text("One.")
    with pytest.raises(InvalidRequest, match="none of 1 clips can be used: 1 x no_speech"):
        prepare(dataset, a_spec(), volume)
    assert read_metadata(dataset)
    assert {name: tree(dataset)[name] for name in before} == before


def test_a_language_that_the_model_does_not_speak_is_refused_at_once(tmp_path: Path) -> None:
    volume, dataset = new(tmp_path)
    with pytest.raises(InvalidRequest, match="language 'sv'"):
        prepare(dataset, a_spec(language="sv"), volume)
