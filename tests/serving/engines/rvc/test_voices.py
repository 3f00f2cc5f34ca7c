"""Voices come in checked, and leave memory when others need it."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from serving.engines.conversion import ConversionVoice, ConversionVoiceFacts
from serving.engines.rvc.voices import LoadedVoice, VoiceCache, ingest
from serving.errors import InvalidRequest, ModelFilesError
from tests.factories.faiss_index import build_index, feature_vectors, write_index
from tests.factories.rvc import Variant, make_voice
from tests.serving.engines.rvc.voices_on_disk import make_ingested

CPU = torch.device("cpu")


def test_an_upload_becomes_files_that_load_and_facts_that_are_true(tmp_path: Path) -> None:
    voice = make_ingested(tmp_path / "v", Variant("v1", 48_000, f0=False))
    assert sorted(path.name for path in voice.directory.iterdir()) == ["index.safetensors", "weights.safetensors"]
    assert voice.sample_rate == 48_000
    loaded = LoadedVoice.load(voice.directory, CPU, "tf32")
    assert loaded.synthesizer.config.version == "v1"
    assert loaded.retrieval is not None
    assert loaded.retrieval.vectors.shape == (200, 256)
    assert loaded.nbytes > loaded.synthesizer.nbytes


def test_without_an_index_there_is_no_retrieval(tmp_path: Path) -> None:
    voice = make_ingested(tmp_path / "v", index=False)
    assert LoadedVoice.load(voice.directory, CPU, "tf32").retrieval is None


def test_the_facts_of_an_upload(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    facts = ingest(make_voice(tmp_path / "a.pth"), None, tmp_path / "out")
    assert facts == ConversionVoiceFacts("v2", 40_000, True, 5)


@pytest.mark.parametrize("fault", ["file", "index", "width"])
def test_a_refused_upload_leaves_an_empty_directory(tmp_path: Path, fault: str) -> None:
    weights = make_voice(tmp_path / "a.pth")
    index = write_index(tmp_path / "a.index", build_index(feature_vectors(100, 256 if fault == "width" else 768)))
    damaged = {"file": weights, "index": index}.get(fault)
    if damaged:
        damaged.write_bytes(damaged.read_bytes()[:-500])
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidRequest) as caught:
        ingest(weights, index, tmp_path / "out")
    assert caught.value.param == ("file" if fault == "file" else "index")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_least_recently_used_voice_leaves_when_the_budget_is_full(tmp_path: Path) -> None:
    voices = [make_ingested(tmp_path / str(seed), seed=seed) for seed in range(4)]
    size = LoadedVoice.load(voices[0].directory, CPU, "tf32").nbytes
    cache = VoiceCache(CPU, "tf32", int(2.5 * size))
    for number in (0, 1, 0, 2):
        cache.get(voices[number])
    assert (len(cache), cache.loads) == (2, 3)
    kept = cache.get(voices[0])
    assert cache.get(voices[0]) is kept
    assert cache.loads == 3
    cache.get(voices[1])
    assert (cache.loads, len(cache)) == (4, 2)
    assert cache.nbytes == 2 * size


def test_a_deleted_voice_leaves_memory_and_others_stay(tmp_path: Path) -> None:
    gone, kept = (make_ingested(tmp_path / str(seed), seed=seed) for seed in range(2))
    cache = VoiceCache(CPU, "tf32", 2**30)
    loaded = cache.get(kept)
    cache.get(gone)
    shutil.rmtree(gone.directory)
    cache.forget_deleted(idle_s=0.0)
    assert (len(cache), cache.nbytes) == (1, loaded.nbytes)
    assert cache.get(kept) is loaded
    with pytest.raises(ModelFilesError):
        cache.get(gone)


def test_a_deleted_voice_stays_while_a_recording_goes_on_in_it(tmp_path: Path) -> None:
    voice = make_ingested(tmp_path / "v")
    cache = VoiceCache(CPU, "tf32", 2**30)
    loaded = cache.get(voice)
    shutil.rmtree(voice.directory)
    cache.forget_deleted(idle_s=60.0)
    assert cache.get(voice) is loaded


def test_deleted_voices_are_forgotten_while_others_are_taken(tmp_path: Path) -> None:
    voices = [make_ingested(tmp_path / str(seed), seed=seed) for seed in range(4)]
    size = LoadedVoice.load(voices[0].directory, CPU, "tf32").nbytes
    cache = VoiceCache(CPU, "tf32", int(2.5 * size))
    ended = threading.Event()

    def forget() -> None:
        while not ended.is_set():
            cache.forget_deleted(idle_s=0.0)

    with ThreadPoolExecutor(1) as pool:
        forgetting = pool.submit(forget)
        for number in range(12):
            cache.get(voices[number % 3])
        shutil.rmtree(voices[2].directory)
        cache.get(voices[3])
        ended.set()
        forgetting.result()
    cache.forget_deleted(idle_s=0.0)
    assert cache.nbytes == len(cache) * size
    assert len(cache) <= 2


def test_a_voice_larger_than_the_budget_is_kept_alone(tmp_path: Path) -> None:
    voices = [make_ingested(tmp_path / str(seed), seed=seed) for seed in range(2)]
    cache = VoiceCache(CPU, "tf32", 1)
    for voice in voices:
        assert cache.get(voice) is cache.get(voice)
        assert len(cache) == 1


def test_a_voice_whose_files_are_gone_is_named(tmp_path: Path) -> None:
    cache = VoiceCache(CPU, "tf32", 2**30)
    with pytest.raises(ModelFilesError, match=r"nowhere.weights\.safetensors"):
        cache.get(ConversionVoice("v", tmp_path / "nowhere", 40_000))
    assert (len(cache), cache.nbytes) == (0, 0)
