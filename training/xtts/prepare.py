"""What every rank of a run needs before the first step: the base model, the clips, and what training reads of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from serving.store.shared_parts import dvae_file
from training.dataset.metadata import Clip, read_metadata
from training.xtts.base import Base, load_base
from training.xtts.choice import choose, settle
from training.xtts.distributed import Group
from training.xtts.features import Features, load_features, remove_stale
from training.xtts.run import Run, pin_base

logger = logging.getLogger(__name__)

FEATURES = "features"
"""Folder of the dataset that keeps what training reads of its clips."""


@dataclass(frozen=True)
class Prepared:
    """``clips`` are all of the dataset, ``data`` is a digest of them."""

    base: Base
    clips: list[Clip]
    train: Features
    val: Features
    data: str


def prepare(run: Run, group: Group, device: torch.device, progress: Callable[[int, int], None]) -> Prepared:
    """Rank 0 computes the features, the others then read them; ``progress`` may raise Stopped.

    Raises what ``pin_base``, ``load_base``, ``read_metadata``, ``settle`` and ``load_features`` do.
    """
    dvae = dvae_file(run.volume)
    base = load_base(group.lead(lambda: pin_base(run).path), device)
    clips = read_metadata(run.dataset)
    choice = choose(clips, run.settings.max_train_samples)
    features: list[Features] = []

    def load(version: str) -> None:
        for part in (choice.train, choice.val):
            cache = run.dataset / FEATURES
            features.append(load_features(part, base, dvae, cache, version=version, progress=progress))

    def lead() -> str:
        data = settle(run.directory, clips)
        if gone := remove_stale(run.dataset / FEATURES, data):
            logger.info("features of the dataset as it was before are removed (%d files)", gone)
        load(data)
        return data

    data = group.lead(lead)
    if not group.leads:
        load(data)
    train, val = features
    return Prepared(base, clips, train, val, data)
