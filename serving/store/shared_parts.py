"""Networks that every RVC voice or every training run shares, below ``models/shared`` of the volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serving.errors import ModelFilesError
from serving.store.licences import XTTS_LICENCE
from serving.store.volume import Volume

SHARED = "shared"
COMMAND = "kubevoice models pull rvc-base"
TRAINING_COMMAND = "kubevoice models pull xtts-training"


@dataclass(frozen=True)
class SharedPart:
    """``files`` of ``repository`` on the Hugging Face hub; any of the ``weights`` will do, with the others.

    ``folder`` below ``models/shared`` is where they go; empty for that itself.
    """

    name: str
    what: str
    folder: str
    repository: str
    files: tuple[str, ...]
    weights: tuple[str, ...]
    licence: str = "MIT"

    def directory(self, volume: Volume) -> Path:
        return shared_directory(volume) / self.folder

    def missing(self, volume: Volume) -> str:
        """What is not there, as the beginning of a sentence; empty when all of it is."""
        directory = self.directory(volume)
        lacking = [name for name in self.files if name not in self.weights and not (directory / name).is_file()]
        if not any((directory / name).is_file() for name in self.weights):
            lacking.append(" or ".join(self.weights))
        return f"{' and '.join(lacking)} of the {self.what} missing in {directory}" if lacking else ""


CONTENT_ENCODER = SharedPart(
    name="contentvec",
    what="content encoder",
    folder="contentvec",
    repository="lengyue233/content-vec-best",
    files=("config.json", "pytorch_model.bin"),
    weights=("model.safetensors", "pytorch_model.bin"),
)
RMVPE = SharedPart(
    name="rmvpe",
    what="pitch method rmvpe",
    folder="",
    repository="lj1995/VoiceConversionWebUI",
    files=("rmvpe.pt",),
    weights=("rmvpe.pt",),
)
XTTS_DVAE = SharedPart(
    name="xtts-dvae",
    what="DVAE of XTTS",
    folder="xtts_dvae",
    repository="coqui/XTTS-v2",
    files=("dvae.pth",),
    weights=("dvae.pth",),
    licence=XTTS_LICENCE,
)
PARTS = (CONTENT_ENCODER, RMVPE)
"""What conversion needs."""

TRAINING_PARTS = (XTTS_DVAE,)
"""What fine-tuning of XTTS needs beside the model."""


def shared_directory(volume: Volume) -> Path:
    return volume.root / "models" / SHARED


def require_content_encoder(volume: Volume) -> None:
    """Raise ModelFilesError unless what no conversion does without is on the volume."""
    if missing := CONTENT_ENCODER.missing(volume):
        raise ModelFilesError(
            f"voice conversion is off: {missing}; run: {COMMAND}, or put them there, and start again where "
            "rvc.enabled is not true. Pitch needs no file: f0_method fcpe and crepe come with kubevoice"
        )


def dvae_file(volume: Volume) -> Path:
    """The dvae.pth that fine-tuning of XTTS needs; raises ModelFilesError unless it is on the volume."""
    if missing := XTTS_DVAE.missing(volume):
        raise ModelFilesError(f"XTTS cannot be fine-tuned: {missing}; run: {TRAINING_COMMAND}, or put it there")
    return XTTS_DVAE.directory(volume) / XTTS_DVAE.files[0]
