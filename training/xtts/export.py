"""A fine-tuned model as a complete XTTS directory, checked and ready to be promoted."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from serving.engines.xtts.checkpoint import SPEAKERS, Latents
from serving.engines.xtts.conditioning import Conditioner
from serving.errors import Conflict, ModelFilesError
from serving.files import refusing
from serving.store.dataset_files import DatasetSpec
from serving.store.manifest import MANIFEST, read_manifest, verify_manifest, write_manifest
from serving.store.training_files import EXPORT, RunSpec
from serving.store.volume import safe_name
from training.dataset.metadata import Clip
from training.xtts.base import PREFIX, Base
from training.xtts.replacing import replacing
from training.xtts.snapshot import apart, snapshot
from training.xtts.speaker import speakers, voice
from training.xtts.verify import verify_export

WEIGHTS = "model.pth"
SAMPLING_ONLY = ("gpt_inference.", "gpt.wte.")
"""Second names of weights that a decoder has once it has sampled."""

logger = logging.getLogger(__name__)


def export_facts(
    base: Base, run: RunSpec, dataset: DatasetSpec, *, step: int, epoch: int, val_loss: float | None
) -> dict[str, Any]:
    """What the manifest says of where a model comes from.

    The consent is the dataset's, with a hash by which it can be found in an audit; the licence is that of the base,
    whose terms bind what is made of it.
    """
    return {
        "source": "fine-tuning",
        "base": {"model": run.model, "revision": base.directory.name},
        "run": {"tenant": run.tenant, "name": run.name, "method": run.settings.method},
        "dataset": {"tenant": dataset.tenant, "name": dataset.name},
        "step": step,
        "epoch": epoch,
        "val_loss": val_loss,
        "consent": {"statement": dataset.consent, "sha256": sha256(dataset.consent.encode()).hexdigest()},
        "licence": _licence(base.directory),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def export(
    base: Base,
    gpt_state: Mapping[str, torch.Tensor],
    run_dir: Path,
    revision: str,
    clips: Sequence[Clip],
    facts: Mapping[str, Any],
) -> Path:
    """Make ``run_dir/export/<revision>/`` of ``base`` with the decoder's weights ``gpt_state``; returns it.

    It appears when it is complete and verified (``verify_export``). Each speaker of ``clips`` becomes a preset, under
    its name; a preset of the base of the same name gives way, and the manifest says so. An export of the same step that
    is there already is checked and stays; one that is broken is made again.
    Raises Conflict for an export of another step, ModelFilesError when the result does not load or speak, StorageError.
    """
    target = run_dir / EXPORT / safe_name(revision, "revision")
    if target.exists() and _stands(target, facts):
        return target
    with replacing(target) as folder:
        with apart(base.device):
            presets, voices = _latents(base, gpt_state, clips)
        with refusing(target):
            shutil.copyfile(base.directory / "config.json", folder / "config.json")
            shutil.copyfile(base.directory / "vocab.json", folder / "vocab.json")
            _save({"model": _weights(base, gpt_state)}, folder / WEIGHTS)
            _save({name: _preset(latents) for name, latents in {**presets, **voices}.items()}, folder / SPEAKERS)
        named = {**facts, "voices": _voices(clips), "replaced_presets": sorted(presets.keys() & voices.keys())}
        write_manifest(folder, named)
        verified = verify_export(folder, base.device)
        write_manifest(folder, {**named, "verified": asdict(verified)})
    return target


def _stands(target: Path, facts: Mapping[str, Any]) -> bool:
    """Whether the export in ``target`` can stay as it is."""
    try:
        there = verify_manifest(target, hashes=True).facts
    except ModelFilesError as error:
        logger.warning("the export is made again: %s", error)
        return False
    if there.get("step") != facts.get("step"):
        raise Conflict(
            f"{target} was exported after step {there.get('step')}, not {facts.get('step')}; choose another revision"
        )
    return True


def _latents(
    base: Base, gpt_state: Mapping[str, torch.Tensor], clips: Sequence[Clip]
) -> tuple[Mapping[str, Latents], dict[str, Latents]]:
    """The presets of the base, and those of the dataset's speakers as the new weights see them."""
    loaded = snapshot(base, gpt_state)
    conditioner = Conditioner(loaded, base.directory.name)
    seconds = loaded.config.gpt_cond_len
    return loaded.speakers, {name: conditioner.latents(voice(clips, name, seconds)) for name in speakers(clips)}


def _voices(clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """What the manifest says of each new preset; its language is the one that most of its clips are in."""
    voices = []
    for name in speakers(clips):
        own = [clip for clip in clips if clip.speaker == name]
        (language, _), *_ = Counter(clip.language for clip in own).most_common(1)
        voices.append(
            {"name": name, "language": language, "clips": len(own), "seconds": sum(clip.seconds for clip in own)}
        )
    return voices


def _weights(base: Base, gpt_state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Everything that coqui's ``Xtts`` loads, under its names, float32 on the CPU."""
    decoder = {PREFIX + name: tensor for name, tensor in gpt_state.items() if not name.startswith(SAMPLING_ONLY)}
    return {name: _plain(tensor) for name, tensor in {**decoder, **base.other}.items()}


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """float32 on the CPU, with no more behind it than itself: torch.save writes all that a view is cut from."""
    tensor = tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype).contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _preset(latents: Latents) -> dict[str, torch.Tensor]:
    """In this order: coqui unpacks the two by position."""
    return {
        "gpt_cond_latent": _plain(latents.gpt_cond_latent),
        "speaker_embedding": _plain(latents.speaker_embedding),
    }


def _save(value: object, path: Path) -> None:
    """``torch.save``, which tells a full disk by a RuntimeError of its own; raises the OSError instead."""
    with path.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _licence(directory: Path) -> object:
    """That of the base, from its manifest; None for one that was put there by hand."""
    return read_manifest(directory).facts.get("licence") if (directory / MANIFEST).exists() else None
