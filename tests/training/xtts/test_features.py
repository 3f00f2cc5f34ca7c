from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch

from serving.audio.wav import read_wav, wav_bytes
from serving.errors import InvalidRequest, StorageError
from tests.factories.dataset import cached_dataset, make_dataset
from tests.factories.dvae import cached_dvae
from tests.training.xtts.workbench import a_base
from training.dataset.metadata import Clip, read_metadata
from training.xtts.base import Base
from training.xtts.clip import ClipReader
from training.xtts.features import Features, load_features, remove_stale


@pytest.fixture(scope="module")
def base() -> Base:
    return a_base()


@pytest.fixture
def clips() -> list[Clip]:
    return read_metadata(cached_dataset(4, longest_s=3.0))


def load(clips: list[Clip], base: Base, cache: Path) -> Features:
    return load_features(clips, base, cached_dvae(), cache)


def same(one: Features, other: Features) -> bool:
    return one.lengths == other.lengths and all(
        torch.equal(a.text_tokens, b.text_tokens) and torch.equal(a.codes, b.codes) and torch.equal(a.mel, b.mel)
        for a, b in ((one[index], other[index]) for index in range(len(one)))
    )


def test_features_are_those_of_each_clip_in_the_order_of_the_clips(
    tmp_path: Path, base: Base, clips: list[Clip]
) -> None:
    seen: list[tuple[int, int]] = []
    features = load_features(clips, base, cached_dvae(), tmp_path / "cache", progress=lambda *done: seen.append(done))
    assert features.ids == tuple(clip.id for clip in clips)
    assert features.left_out == {}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    reader = ClipReader(base, cached_dvae())
    for index, clip in enumerate(clips):
        found, expected = features[index], reader.read(clip)
        samples = len(read_wav(clip.path).pcm)
        assert found.text_tokens.tolist() == base.tokenizer.encode(clip.text.lower(), lang="en")
        assert torch.equal(found.codes, expected.codes)
        assert torch.equal(found.mel, expected.mel)
        assert found.mel.shape == (80, samples // 256 + 1)
        length = features.lengths[index]
        assert (length.id, length.text, length.codes, length.samples) == (
            clip.id,
            len(found.text_tokens),
            len(found.codes),
            samples,
        )


def test_the_mel_is_what_coquis_trainer_makes_of_the_clip_and_silence_what_it_makes_of_zeros(
    base: Base, clips: list[Clip]
) -> None:
    from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram

    mels = TorchMelSpectrogram(2048, 256, 1024, mel_norm_file=None, mel_fmax=8000)
    mels.mel_norms = base.mel_stats
    reader = ClipReader(base, cached_dvae())
    expected = mels(torch.from_numpy(read_wav(clips[0].path).pcm)[None])[0]
    assert (reader.read(clips[0]).mel.float() - expected).abs().max() < 0.005, "more than float16 rounds"
    assert torch.allclose(mels(torch.zeros(1, 2048))[0, :, 4], reader.silence)


def test_they_are_computed_once(tmp_path: Path, base: Base, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(clips, base, tmp_path)
    monkeypatch.delattr(ClipReader, "read")
    assert same(load(clips, base, tmp_path), first)
    assert [path.name for path in tmp_path.iterdir()] == [first.path.name]


def _text(clips: list[Clip]) -> list[Clip]:
    return [*clips[:-1], replace(clips[-1], text="another text")]


def _audio(clips: list[Clip]) -> list[Clip]:
    path = clips[0].path
    path.write_bytes(wav_bytes(read_wav(path).pcm[::-1].copy(), 22050))
    return clips


@pytest.mark.parametrize("change", [_text, _audio, lambda clips: clips[1:], lambda clips: clips[::-1]])
def test_other_clips_have_a_file_of_their_own(
    tmp_path: Path, base: Base, change: Callable[[list[Clip]], list[Clip]]
) -> None:
    clips = read_metadata(make_dataset(tmp_path / "dataset", 3, val=0, longest_s=2.0))
    first = load(clips, base, tmp_path / "cache")
    second = load(change(clips), base, tmp_path / "cache")
    assert first.path != second.path
    assert not same(first, second)


def test_another_reading_of_the_same_texts_has_a_file_of_its_own(
    tmp_path: Path, base: Base, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips[0] = replace(clips[0], text="Chapter 2")
    first = load(clips, base, tmp_path)
    monkeypatch.setattr("serving.engines.xtts.text.normalise", lambda text, _: text.replace("2", "twice two"))
    second = load(clips, base, tmp_path)
    assert not same(first, second)
    assert second[0].text_tokens.tolist() == base.tokenizer.encode("chapter twice two", lang="en")


def test_a_text_that_nobody_can_read_is_left_out(
    tmp_path: Path, base: Base, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(text: str, _: str) -> str:
        if text == "unheard of":
            raise OverflowError
        return text

    monkeypatch.setattr("serving.engines.xtts.text.normalise", fails)
    features = load([replace(clips[0], text="unheard of"), *clips[1:]], base, tmp_path)
    assert list(features.left_out) == [clips[0].id]


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_torn_file_is_made_again(
    tmp_path: Path, base: Base, clips: list[Clip], kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load(clips, base, tmp_path)
    data = whole.path.read_bytes()
    whole.path.write_bytes(data[:kept])
    with caplog.at_level(logging.WARNING):
        again = load(clips, base, tmp_path)
    assert "torn" in caplog.text
    assert again.path.read_bytes() == data


def test_those_who_race_get_the_same_features_and_leave_one_file(tmp_path: Path, base: Base, clips: list[Clip]) -> None:
    both_compute = Barrier(2)

    def told(done: int, _: int) -> None:
        if done == len(clips):
            both_compute.wait(60)

    def race(_: int) -> Features:
        return load_features(clips, base, cached_dvae(), tmp_path, progress=told)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(race, range(2))
    assert same(one, other)
    assert list(tmp_path.iterdir()) == [one.path]


def test_those_of_other_versions_of_the_dataset_are_removed_and_may_still_be_read_where_they_are_open(
    tmp_path: Path, base: Base, clips: list[Clip]
) -> None:
    old = load_features(clips, base, cached_dvae(), tmp_path, version="old")
    before = old[0].mel.clone()
    now = [load_features(part, base, cached_dvae(), tmp_path, version="now") for part in (clips, clips[:1])]
    assert remove_stale(tmp_path, "now") == 1
    assert sorted(tmp_path.iterdir()) == sorted(one.path for one in now)
    assert remove_stale(tmp_path, "now") == 0
    assert torch.equal(old[0].mel, before)
    assert remove_stale(tmp_path / "not there", "now") == 0


def test_clips_that_cannot_be_trained_on_are_left_out_with_the_reason(
    tmp_path: Path, base: Base, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(cached_dataset(4, longest_s=3.0), folder)
    good = read_metadata(folder)[0]
    noise = np.random.default_rng(0).standard_normal(22050 * 12, dtype=np.float32) / np.float32(10)
    for name, count, rate in (("long", 22050 * 12, 22050), ("short", 5000, 22050), ("fast", 22050, 24000)):
        (folder / f"{name}.wav").write_bytes(wav_bytes(noise[:count], rate))
    (folder / "torn.wav").write_bytes(good.path.read_bytes()[:1000])
    clips = [good] + [replace(good, id=name, path=folder / f"{name}.wav") for name in ("long", "short", "fast", "torn")]
    clips += [replace(good, id="wordy", text="word " * 300), replace(good, id="foreign", language="xx")]
    clips.append(replace(good, id="unknown", text="\N{SNOWMAN}\N{ALEMBIC}"))
    with caplog.at_level(logging.WARNING):
        features = load(clips, base, tmp_path / "cache")
    assert features.ids == (good.id,)
    assert features.left_out.keys() == {clip.id for clip in clips[1:]}
    expected = {"long": "12.00 s", "short": "0.23 s", "fast": "24000 Hz", "torn": "torn.wav", "wordy": "tokens"}
    expected |= {"foreign": "'xx'", "unknown": "letters"}
    for id_, words in expected.items():
        assert words in features.left_out[id_]
    assert "7 of 8 clips are left out" in caplog.text


def test_no_clip_at_all_is_an_error_about_the_dataset(tmp_path: Path, base: Base, clips: list[Clip]) -> None:
    with pytest.raises(InvalidRequest, match="'xx'") as caught:
        load([replace(clip, language="xx") for clip in clips], base, tmp_path)
    assert caught.value.param == "dataset"


def test_a_volume_that_refuses_is_told(tmp_path: Path, base: Base, clips: list[Clip]) -> None:
    (tmp_path / "cache").write_text("a file where a folder has to be")
    with pytest.raises(StorageError, match="cache"):
        load(clips, base, tmp_path / "cache")
