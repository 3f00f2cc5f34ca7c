import asyncio
import copy
import functools
import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from serving.engines.base import SpeechRequest, Voice
from serving.engines.xtts import XttsEngine
from serving.engines.xtts.checkpoint import load_checkpoint, quiet_transformers
from serving.engines.xtts.conditioning import Conditioner
from serving.errors import Conflict, InvalidRequest, ModelFilesError, StorageError
from serving.store.dataset_files import DatasetSpec
from serving.store.manifest import read_manifest, verify_manifest, write_manifest
from serving.store.models import ModelStore
from serving.store.promotion import promote_export
from serving.store.training_files import RunSpec, TrainingSettings
from serving.store.volume import Volume
from tests.factories.dataset import cached_dataset
from tests.factories.dvae import cached_dvae
from tests.factories.xtts import SPEAKERS, VOCODER_WIDTH, cached_checkpoint
from training.dataset.metadata import Clip, read_metadata
from training.xtts import lora
from training.xtts.base import Base, load_base
from training.xtts.evaluation import evaluate
from training.xtts.export import export, export_facts
from training.xtts.features import load_features
from training.xtts.speaker import voice

CPU = torch.device("cpu")
FACTS = {"step": 40, "val_loss": 1.5}
STOP = 1025


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return sorted(read_metadata(cached_dataset()), key=lambda clip: clip.seconds)[:8]


def changed(base: Base) -> Base:
    """``base`` as if it had been trained: every weight of its decoder is a little different."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(4)
        for parameter in base.gpt.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02 * float(parameter.std(correction=0)))
    return base


@pytest.fixture(scope="module")
def trained() -> Base:
    """Read-only."""
    return changed(load_base(cached_checkpoint(), CPU))


@pytest.fixture(scope="module")
def run(trained: Base, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a volume, whose export ``r40`` is read-only."""
    directory = Volume(tmp_path_factory.mktemp("data")).training_run("acme", "run")
    generator = torch.get_rng_state()
    export(trained, lora.merged_state(trained.gpt), directory, "r40", clips, FACTS)
    assert torch.equal(generator, torch.get_rng_state())
    assert trained.gpt.training
    return directory


@pytest.fixture
def exported(run: Path) -> Path:
    return run / "export" / "r40"


def exporting(base: Base, run: Path, clips: list[Clip], revision: str = "r40", **facts: Any) -> Path:
    return export(base, lora.merged_state(base.gpt), run, revision, clips, {**FACTS, **facts})


def saved(directory: Path, file: str = "model.pth") -> Any:
    state = torch.load(directory / file, weights_only=True)
    return state["model"] if file == "model.pth" else state


def greedy(gpt: Any, latents: torch.Tensor) -> list[int]:
    """coqui's own decoding, the most probable token each time."""
    text = torch.arange(30, 60, dtype=torch.int32)[None]
    with torch.no_grad(), quiet_transformers():
        codes = gpt.generate(latents, text, do_sample=False, num_beams=1, repetition_penalty=1.0)
    return [int(code) for code in codes[0]]


def test_a_run_has_one_complete_directory_and_nothing_beside_it(run: Path, exported: Path) -> None:
    assert [path.name for path in (run / "export").iterdir()] == ["r40"]
    names = {"config.json", "model.pth", "vocab.json", "speakers_xtts.pth", "manifest.json"}
    assert {path.name for path in exported.iterdir()} == names
    for name in ("config.json", "vocab.json"):
        assert (exported / name).read_bytes() == (cached_checkpoint() / name).read_bytes()


def test_the_weights_are_the_trained_ones_and_the_bases_other_ones(trained: Base, exported: Path) -> None:
    weights, before = saved(exported), saved(cached_checkpoint())
    assert weights.keys() == before.keys()
    for name, tensor in weights.items():
        assert tensor.dtype == (torch.float32 if tensor.is_floating_point() else torch.int64)
        if name.startswith("gpt."):
            assert torch.equal(tensor, trained.gpt.state_dict()[name.removeprefix("gpt.")])
        else:
            assert torch.equal(tensor, before[name])
    assert not torch.equal(weights["gpt.mel_head.weight"], before["gpt.mel_head.weight"])
    size = sum(tensor.nbytes for tensor in weights.values())
    assert (exported / "model.pth").stat().st_size < 1.02 * size + 200_000


def test_coquis_own_model_loads_it_strictly_and_decodes_what_the_trained_one_does(
    trained: Base, exported: Path, tmp_path: Path
) -> None:
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.models import xtts

    shutil.copytree(exported, tmp_path / "copy")
    config = XttsConfig()
    config.load_json(str(tmp_path / "copy" / "config.json"))
    narrow = functools.partial(HifiDecoder, upsample_initial_channel_decoder=VOCODER_WIDTH["tiny"])
    with patch.object(xtts, "HifiDecoder", narrow), quiet_transformers():
        model = xtts.Xtts(config)
        model.load_checkpoint(config, checkpoint_dir=str(tmp_path / "copy"), eval=True, strict=True)
    latents = model.speaker_manager.speakers["speaker"]["gpt_cond_latent"]

    gpt: Any = copy.deepcopy(trained.gpt)
    with quiet_transformers():
        gpt.init_gpt_for_inference(kv_cache=True)
    gpt.eval()
    tokens = greedy(gpt, latents)
    assert greedy(model.gpt, latents) == tokens
    base = load_checkpoint(cached_checkpoint(), CPU).model.gpt
    assert greedy(base, latents) != tokens
    assert len(set(tokens)) > 5


def test_the_dataset_brings_a_preset_as_the_trained_model_hears_it(
    trained: Base, clips: list[Clip], exported: Path
) -> None:
    presets, before = saved(exported, "speakers_xtts.pth"), saved(cached_checkpoint(), "speakers_xtts.pth")
    assert set(presets) == {*SPEAKERS, "speaker"}
    for name in SPEAKERS:
        assert torch.equal(presets[name]["gpt_cond_latent"], before[name]["gpt_cond_latent"])
    assert list(presets["speaker"]) == ["gpt_cond_latent", "speaker_embedding"]  # coqui unpacks them by position
    speaker = voice(clips, "speaker", 30)
    heard = Conditioner(load_checkpoint(exported, CPU), "m@r").latents(speaker)
    assert torch.equal(presets["speaker"]["gpt_cond_latent"], heard.gpt_cond_latent)
    assert torch.equal(presets["speaker"]["speaker_embedding"], heard.speaker_embedding)
    untrained = Conditioner(load_checkpoint(cached_checkpoint(), CPU), "m@r").latents(speaker)
    assert not torch.allclose(untrained.gpt_cond_latent, heard.gpt_cond_latent, atol=1e-4)


def test_the_manifest_says_what_it_is_and_that_it_was_verified(exported: Path, clips: list[Clip]) -> None:
    facts: Any = verify_manifest(exported, hashes=True).facts
    assert (facts["step"], facts["val_loss"]) == (40, 1.5)
    (named,) = facts["voices"]
    assert (named["name"], named["language"], named["clips"]) == ("speaker", "en", len(clips))
    assert named["seconds"] == pytest.approx(sum(clip.seconds for clip in clips))
    assert facts["replaced_presets"] == []
    verified = facts["verified"]
    assert verified["voices"][0]["name"] == "speaker"
    assert verified["voices"][0]["seconds"] > 0.5
    assert verified["weights"] == len(saved(exported))


def test_it_is_promoted_and_its_voice_speaks_in_the_serving_engine(run: Path, exported: Path) -> None:
    volume = Volume(run.parents[2])
    volume.create()
    revision = promote_export(ModelStore(volume), exported, "mine")
    engine = XttsEngine.load(revision.path, model="mine", revision=revision.revision, device="cpu")

    async def speak() -> float:
        assert "speaker" in (await engine.info()).presets
        audio = await engine.synthesize(SpeechRequest("Good morning.", Voice("v", preset="speaker"), "en", seed=1))
        await engine.close()
        return float(abs(audio.pcm).max())

    assert 0.01 < asyncio.run(speak()) <= 1


def test_adapters_are_exported_as_the_model_that_they_make(clips: list[Clip], tmp_path: Path) -> None:
    base = load_base(cached_checkpoint(), CPU)
    lora.add(base.gpt, 4, 1)
    with torch.no_grad():
        for number, tensor in enumerate(lora.state(base.gpt).values()):
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)), alpha=0.05)
    directory = exporting(base, tmp_path, clips)
    val = load_features(clips[-2:], base, cached_dvae(), tmp_path / "features")

    def loss(other: Base) -> float:
        return evaluate(other.gpt, val, micro_batch_size=2, device=CPU).val_loss

    assert loss(load_base(directory, CPU)) == pytest.approx(loss(base), rel=1e-5)
    assert loss(load_base(cached_checkpoint(), CPU)) != pytest.approx(loss(base), rel=1e-3)
    assert saved(directory).keys() == saved(cached_checkpoint()).keys()


def test_every_speaker_becomes_a_preset_and_takes_its_name_from_one_of_the_bases(
    trained: Base, clips: list[Clip], tmp_path: Path
) -> None:
    both = [replace(clip, speaker=SPEAKERS[0] if number % 2 else "Zoë") for number, clip in enumerate(clips)]
    directory = exporting(trained, tmp_path, both)
    facts: Any = read_manifest(directory).facts
    assert facts["replaced_presets"] == [SPEAKERS[0]]
    assert [spoken["name"] for spoken in facts["verified"]["voices"]] == [SPEAKERS[0], "Zoë"]
    presets, before = saved(directory, "speakers_xtts.pth"), saved(cached_checkpoint(), "speakers_xtts.pth")
    assert set(presets) == {*SPEAKERS, "Zoë"}
    assert not torch.equal(presets[SPEAKERS[0]]["speaker_embedding"], before[SPEAKERS[0]]["speaker_embedding"])
    assert not torch.equal(presets["Zoë"]["gpt_cond_latent"], presets[SPEAKERS[0]]["gpt_cond_latent"])


def test_an_export_that_is_there_stays_as_it_is(trained: Base, clips: list[Clip], run: Path, exported: Path) -> None:
    def files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in exported.iterdir()}

    before = files()
    assert exporting(trained, run, clips) == exported
    assert files() == before


def test_an_export_of_another_step_is_not_written_over(
    trained: Base, clips: list[Clip], run: Path, exported: Path
) -> None:
    with pytest.raises(Conflict, match="was exported after step 40, not 50"):
        exporting(trained, run, clips, step=50)
    assert read_manifest(exported).facts["step"] == 40


def test_a_damaged_export_is_made_again_whatever_a_killed_one_has_left(
    trained: Base, clips: list[Clip], exported: Path, tmp_path: Path
) -> None:
    target, torn = tmp_path / "export" / "r40", tmp_path / "export" / ".r40.new"
    shutil.copytree(exported, target)
    with (target / "model.pth").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"torn")
    torn.mkdir()
    (torn / "model.pth").write_bytes(b"torn")
    assert exporting(trained, tmp_path, clips) == target
    assert verify_manifest(target, hashes=True).files == read_manifest(exported).files
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["r40"]


def test_a_model_that_does_not_speak_is_not_exported(clips: list[Clip], tmp_path: Path) -> None:
    base = load_base(cached_checkpoint(), CPU)
    with torch.no_grad():
        base.gpt.mel_head.bias[STOP] = -1e4
    with pytest.raises(ModelFilesError, match="does not end a sentence"):
        exporting(base, tmp_path, clips)
    assert list((tmp_path / "export").iterdir()) == []


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_volume_without_room_is_told_as_such_and_nothing_is_left(
    trained: Base, clips: list[Clip], tmp_path: Path
) -> None:
    with files_of_at_most(10_000_000), pytest.raises(StorageError, match=r"cannot write .*/export/r40"):
        exporting(trained, tmp_path, clips)
    assert list((tmp_path / "export").iterdir()) == []


def test_a_revision_is_a_name(trained: Base, clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="revision"):
        exporting(trained, tmp_path, clips, "../r40")


def test_facts_name_the_base_the_run_the_consent_and_the_licence(tmp_path: Path) -> None:
    shutil.copytree(cached_checkpoint(), tmp_path / "r7")
    base = load_base(tmp_path / "r7", CPU)
    run = RunSpec(tenant="acme", name="run", dataset="ada", settings=TrainingSettings(method="lora"))
    dataset = DatasetSpec(tenant="acme", name="ada", language="en", consent="Ada agreed on 1 May.")
    facts = export_facts(base, run, dataset, step=40, epoch=2, val_loss=1.5)
    assert facts["base"] == {"model": "xtts_v2", "revision": "r7"}
    assert facts["run"] == {"tenant": "acme", "name": "run", "method": "lora"}
    assert facts["dataset"] == {"tenant": "acme", "name": "ada"}
    assert facts["consent"]["statement"] == "Ada agreed on 1 May."
    assert facts["consent"]["sha256"] == sha256(b"Ada agreed on 1 May.").hexdigest()
    assert (facts["step"], facts["epoch"], facts["val_loss"]) == (40, 2, 1.5)
    assert facts["licence"] is None
    json.dumps(facts)
    write_manifest(tmp_path / "r7", {"licence": "CPML"})
    assert export_facts(base, run, dataset, step=0, epoch=0, val_loss=None)["licence"] == "CPML"


@pytest.mark.slow
def test_a_model_of_the_released_size_is_exported_and_loaded_by_coqui_as_it_is(
    clips: list[Clip], tmp_path: Path
) -> None:
    base = load_base(cached_checkpoint("full"), CPU)
    directory = exporting(base, tmp_path, clips)
    facts: Any = verify_manifest(directory, hashes=True).facts
    assert facts["verified"]["weights"] == len(torch.load(directory / "model.pth", mmap=True)["model"])
    assert 1.8e9 < (directory / "model.pth").stat().st_size < 1.95e9
