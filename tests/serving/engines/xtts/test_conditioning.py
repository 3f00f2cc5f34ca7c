import logging
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from serving.audio.encode import Encoder
from serving.audio.wav import wav_bytes
from serving.engines.base import Pcm, Voice
from serving.engines.xtts.checkpoint import Latents, LoadedXtts
from serving.engines.xtts.conditioning import Conditioner
from serving.errors import EngineError, InvalidRequest, NotFound
from serving.selection import voice_of
from serving.store.voices import VoiceStore

NAME = "tiny@r1"


def tone(seconds: float, hertz: float, rate: int = 22050) -> Pcm:
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.02, len(time))
    return (0.3 * np.sin(2 * np.pi * hertz * time) + noise).astype(np.float32)


def make_voice(directory: Path, *references: Pcm, rate: int = 22050) -> Voice:
    paths = tuple(directory / f"{index}.wav" for index in range(len(references)))
    for path, pcm in zip(paths, references, strict=True):
        path.write_bytes(wav_bytes(pcm, rate))
    return Voice("v1", references=paths, conditioning=directory / "conditioning")


def equal(one: Latents, other: Latents) -> bool:
    pairs = ((one.gpt_cond_latent, other.gpt_cond_latent), (one.speaker_embedding, other.speaker_embedding))
    return all(torch.equal(a, b) for a, b in pairs)


def test_latents_are_those_of_coqui_for_the_same_files(loaded: LoadedXtts, tmp_path: Path) -> None:
    voice = make_voice(tmp_path, tone(1.5, 200), tone(4.0, 300))
    waves = {
        str(path): torch.from_numpy(tone(s, f))[None]
        for path, s, f in zip(voice.references, (1.5, 4.0), (200, 300), strict=True)
    }
    with patch("TTS.tts.models.xtts.load_audio", lambda path, _: (waves[path] * 32767).round() / 32768):
        config = loaded.config
        latent, embedding = loaded.model.get_conditioning_latents(
            [str(path) for path in voice.references], config.max_ref_len, config.gpt_cond_len, config.gpt_cond_chunk_len
        )
    ours = Conditioner(loaded, NAME).latents(voice)
    assert torch.allclose(ours.gpt_cond_latent, latent, atol=2e-3)
    assert torch.allclose(ours.speaker_embedding, embedding, atol=2e-3)
    other = Conditioner(loaded, NAME).latents(make_voice(tmp_path, tone(4.0, 500)))
    assert (other.gpt_cond_latent - latent).abs().max() > 0.1


def test_a_deleted_voice_leaves_the_volume_and_the_memory(loaded: LoadedXtts, store: VoiceStore) -> None:
    added = [
        store.add(tenant="acme", name=name, references=[wav_bytes(tone(1.5, hertz), 22050)], reference_seconds=1.5)
        for name, hertz in (("Ada", 200), ("Bob", 300))
    ]
    conditioners = [Conditioner(loaded, f"tiny@r{number}") for number in (1, 2)]
    for conditioner in conditioners:
        for profile in added:
            conditioner.latents(voice_of(profile))
    ada, bob = added
    assert sorted(path.name for path in ada.conditioning.iterdir()) == ["tiny@r1.safetensors", "tiny@r2.safetensors"]
    store.delete("acme", "Ada")
    left = [str(path) for path in store.volume.root.rglob("*")]
    assert not any(ada.id in path for path in left), "neither in its place nor in the trash"
    for conditioner in conditioners:
        remembered = conditioner.remembered()
        assert [path for _, path in remembered] == [ada.references[0], bob.references[0]]
        conditioner.forget([key for key, path in remembered if not path.exists()])
        assert [path for _, path in conditioner.remembered()] == [bob.references[0]]
        assert ada.id not in str(vars(conditioner))
        with pytest.raises(EngineError, match="is gone"):
            conditioner.latents(voice_of(ada))
        conditioner.latents(voice_of(bob))


def test_another_sample_rate_gives_nearly_the_same_voice(loaded: LoadedXtts, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    one = Conditioner(loaded, NAME).latents(make_voice(tmp_path, tone(2, 200)))
    two = Conditioner(loaded, NAME).latents(make_voice(tmp_path / "b", tone(2, 200, 44100), rate=44100))
    difference = torch.nn.functional.cosine_similarity(one.speaker_embedding, two.speaker_embedding, dim=1)
    assert difference.item() > 0.9


def test_a_reference_may_be_any_recording_and_its_latents_are_those_of_the_same_samples(
    loaded: LoadedXtts, tmp_path: Path
) -> None:
    encoder = Encoder("flac")
    pcm = tone(2, 220, rate=24000)
    (tmp_path / "0.flac").write_bytes(encoder.encode(pcm, 24000) + encoder.finish())
    encoder.close()
    flac = Conditioner(loaded, NAME).latents(Voice("v1", references=(tmp_path / "0.flac",)))
    wav = Conditioner(loaded, NAME).latents(make_voice(tmp_path, pcm, rate=24000))
    assert torch.allclose(flac.gpt_cond_latent, wav.gpt_cond_latent, atol=1e-3)
    assert torch.allclose(flac.speaker_embedding, wav.speaker_embedding, atol=1e-3)
    (tmp_path / "0.flac").write_bytes(b"fLaC and nothing more")
    with pytest.raises(InvalidRequest) as caught:
        Conditioner(loaded, NAME).latents(Voice("v1", references=(tmp_path / "0.flac",)))
    assert caught.value.param == "audio_sample"


def test_latents_are_kept_in_memory_and_on_the_volume(loaded: LoadedXtts, tmp_path: Path) -> None:
    voice = make_voice(tmp_path, tone(1, 200))
    first = Conditioner(loaded, NAME)
    computed = first.latents(voice)
    assert first.latents(voice) is computed
    assert [path.name for path in (tmp_path / "conditioning").iterdir()] == ["tiny@r1.safetensors"]
    with patch.object(Conditioner, "_compute", side_effect=AssertionError("computed again")):
        assert equal(Conditioner(loaded, NAME).latents(voice), computed)


def test_replaced_references_and_other_weights_are_computed_anew(loaded: LoadedXtts, tmp_path: Path) -> None:
    conditioner = Conditioner(loaded, NAME)
    before = conditioner.latents(make_voice(tmp_path, tone(1, 200)))
    changed = make_voice(tmp_path, tone(1.2, 900))
    assert not equal(conditioner.latents(changed), before)
    assert not equal(Conditioner(loaded, NAME).latents(changed), before)
    Conditioner(loaded, "tiny@r2").latents(changed)
    assert (tmp_path / "conditioning" / "tiny@r2.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"torn", None])
def test_a_torn_or_foreign_file_is_made_again(loaded: LoadedXtts, tmp_path: Path, content: bytes | None) -> None:
    voice = make_voice(tmp_path, tone(1, 200))
    computed = Conditioner(loaded, NAME).latents(voice)
    file = tmp_path / "conditioning" / "tiny@r1.safetensors"
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2] if content is None else content)
    assert equal(Conditioner(loaded, NAME).latents(voice), computed)
    assert file.read_bytes() == good


def test_a_volume_that_takes_no_files_is_logged_and_the_voice_works(
    loaded: LoadedXtts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    voice = make_voice(tmp_path, tone(1, 200))
    (tmp_path / "conditioning").write_bytes(b"a file where the directory should be")
    with caplog.at_level(logging.WARNING):
        assert Conditioner(loaded, NAME).latents(voice).gpt_cond_latent.shape == (1, 32, 64)
    assert "not kept" in caplog.text


def test_memory_is_bounded_and_the_least_recently_used_leaves(loaded: LoadedXtts, tmp_path: Path) -> None:
    voices = []
    for name in "abc":
        (tmp_path / name).mkdir()
        voices.append(make_voice(tmp_path / name, tone(0.5, 200 + ord(name))))
    size = Conditioner(loaded, NAME).latents(voices[0]).nbytes
    conditioner = Conditioner(loaded, NAME, memory_bytes=2 * size)
    a, b = conditioner.latents(voices[0]), conditioner.latents(voices[1])
    assert conditioner.latents(voices[0]) is a
    conditioner.latents(voices[2])
    assert conditioner.latents(voices[0]) is a
    assert conditioner.latents(voices[1]) is not b


@pytest.mark.parametrize("pcm", [tone(0.3, 200), np.zeros(22050, np.float32), np.zeros(0, np.float32)])
def test_short_and_silent_references_are_the_caller_s_fault(loaded: LoadedXtts, tmp_path: Path, pcm: Pcm) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Conditioner(loaded, NAME).latents(make_voice(tmp_path, tone(1, 200), pcm))
    assert caught.value.param == "audio_sample"
    assert not (tmp_path / "conditioning").exists()


def test_presets_are_those_of_the_model(loaded: LoadedXtts) -> None:
    conditioner = Conditioner(loaded, NAME)
    assert conditioner.latents(Voice("x", preset="Ada")) is loaded.speakers["Ada"]
    with pytest.raises(NotFound, match="'Zoe' is not a preset"):
        conditioner.latents(Voice("x", preset="Zoe"))
    with pytest.raises(InvalidRequest, match="neither a preset nor reference"):
        conditioner.latents(Voice("x"))


def test_references_that_are_gone_or_torn_are_an_engine_error(loaded: LoadedXtts, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is gone"):
        Conditioner(loaded, NAME).latents(Voice("v1", references=(tmp_path / "no.wav",)))
    (tmp_path / "torn.wav").write_bytes(b"RIFF")
    with pytest.raises(EngineError, match=r"torn\.wav"):
        Conditioner(loaded, NAME).latents(Voice("v1", references=(tmp_path / "torn.wav",)))


def test_stretches_of_one_sound_are_alike_and_too_little_is_not_judged(loaded: LoadedXtts, tmp_path: Path) -> None:
    conditioner = Conditioner(loaded, NAME)
    for name in ("one", "two", "short"):
        (tmp_path / name).mkdir()
    one = conditioner.similarity(make_voice(tmp_path / "one", tone(7.0, 200)))
    two = conditioner.similarity(make_voice(tmp_path / "two", tone(4.0, 200), tone(4.0, 900)))
    assert one is not None
    assert two is not None
    assert -1 <= two < one <= 1.0001
    quiet = tone(4.0, 200) * np.float32(0.01)
    for voice in (make_voice(tmp_path / "short", tone(4.0, 200)), Voice("v", references=())):
        assert conditioner.similarity(voice) is None
    pauses = make_voice(tmp_path / "short", np.concatenate([tone(3.0, 200), quiet]))
    assert conditioner.similarity(pauses) is None
