"""Pitch methods by the names that users give them."""

from __future__ import annotations

from pathlib import Path

import torch

from serving.engines.rvc.pitch.base import PitchMethod
from serving.engines.rvc.pitch.crepe import Crepe
from serving.engines.rvc.pitch.fcpe import Fcpe
from serving.engines.rvc.pitch.rmvpe import Rmvpe
from serving.engines.rvc.shared import RMVPE_FILE
from serving.errors import InvalidRequest

PARAM = "f0_method"
AUTO = "auto"
METHODS = ("rmvpe", "fcpe", "crepe", "crepe-tiny")


def choose(method: str, shared: Path) -> str:
    """The method that ``method`` stands for: "auto" is rmvpe where its weights are in ``shared``, else fcpe.

    fcpe, crepe and crepe-tiny need no file. Raises InvalidRequest with param "f0_method" for an unknown name.
    """
    if method == AUTO:
        return "rmvpe" if (shared / RMVPE_FILE).is_file() else "fcpe"
    if method not in METHODS:
        raise InvalidRequest(f"{PARAM} {method[:40]!r} is unknown; choose one of {AUTO}, {', '.join(METHODS)}", PARAM)
    return method


def open_pitch(method: str, shared: Path, device: torch.device) -> PitchMethod:
    """The method of that name, or what "auto" stands for, on ``device``; ``shared`` is ``models/shared`` of the volume.

    Raises InvalidRequest for an unknown name, ModelFilesError where rmvpe.pt is missing or wrong.
    """
    chosen = choose(method, shared)
    if chosen == "rmvpe":
        return Rmvpe.load(shared / RMVPE_FILE, device)
    if chosen == "fcpe":
        return Fcpe(device)
    return Crepe("full" if chosen == "crepe" else "tiny", device)
