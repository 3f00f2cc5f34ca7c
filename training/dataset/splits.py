"""Which clips validate: decided by a hash of the clip's id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from training.dataset.metadata import Split

MOST_VAL = 256


def assign(explicit: Mapping[str, Split | None], fraction: float) -> dict[str, Split]:
    """The split of every clip by id; those that bring one keep it.

    Of the others, validation gets those whose hash lies in the lowest ``fraction``, of these at most the 256 lowest,
    and the very lowest if there is no other and more than one clip. So no clip that was in training moves to
    validation when clips are added to two or more; it can only leave validation, when others with a lower hash fill
    its place. Where one of the 256, or the only one, is gone from the ids, the next lowest takes its place, from
    training too.
    """
    splits: dict[str, Split] = {clip: split for clip, split in explicit.items() if split is not None}
    free = sorted((clip for clip, split in explicit.items() if split is None), key=place)
    given = sum(split == "val" for split in splits.values())
    low = sum(place(clip) < fraction for clip in free)
    wanted = min(low, max(MOST_VAL - given, 0))
    if not wanted and not given and len(explicit) > 1:
        wanted = 1
    splits |= {clip: "val" if rank < wanted else "train" for rank, clip in enumerate(free)}
    return splits


def place(clip: str) -> float:
    """Where the id ``clip`` lies between 0 and 1."""
    return int.from_bytes(hashlib.sha256(clip.encode()).digest()[:8]) / 2**64
