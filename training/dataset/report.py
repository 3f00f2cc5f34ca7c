"""``report.json``: what became of every clip, and what to know before training on them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.files import write_atomic
from serving.store.dataset_files import REPORT_FILE, DatasetSpec
from training.dataset.facts import REASONS, WARNINGS, ClipFacts
from training.dataset.metadata import METADATA, Split

FORMAT = 1
LITTLE_S, FEW_CLIPS, FEW_VAL = 120.0, 100, 10
SHORT_S, MANY_SHORT = 2.0, 0.3


def build_report(
    spec: DatasetSpec,
    model: str,
    inputs: str,
    formats: Mapping[str, int],
    recordings: int,
    clips: Sequence[ClipFacts],
    splits: Mapping[str, Split],
) -> dict[str, Any]:
    """The report as plain values; it holds no time of day, so that the same input gives the same bytes."""
    kept = [clip for clip in clips if clip.reason is None]
    reasons = Counter(clip.reason for clip in clips if clip.reason)
    flags = Counter(flag for clip in kept for flag in clip.warnings)
    seconds = [clip.seconds or 0.0 for clip in kept]
    return {
        "format": FORMAT,
        "dataset": f"{spec.tenant}/{spec.name}",
        "language": spec.language,
        "consent": spec.consent,
        "model": model,
        "inputs": inputs,
        "settings": spec.settings.model_dump(),
        "totals": {
            "recordings": recordings,
            "recordings_by_format": dict(formats),
            "clips": len(clips),
            "kept": len(kept),
            "dropped": len(clips) - len(kept),
            "train": sum(splits[clip.id] == "train" for clip in kept),
            "val": sum(splits[clip.id] == "val" for clip in kept),
            "seconds": round(sum(seconds), 3),
            "shortest_s": min(seconds, default=0.0),
            "longest_s": max(seconds, default=0.0),
            "by_speaker": dict(sorted(Counter(clip.speaker for clip in kept).items())),
            "by_language": dict(sorted(Counter(clip.language for clip in kept).items())),
        },
        "dropped": {name: {"clips": reasons[name], "meaning": REASONS[name]} for name in REASONS if reasons[name]},
        "listen_to": {name: {"clips": flags[name], "meaning": WARNINGS[name]} for name in WARNINGS if flags[name]},
        "warnings": _warnings(kept, splits),
        "clips": [_clip(clip, splits) for clip in clips],
    }


def _warnings(kept: Sequence[ClipFacts], splits: Mapping[str, Split]) -> list[dict[str, str]]:
    seconds = sum(clip.seconds or 0.0 for clip in kept)
    val = sum(splits[clip.id] == "val" for clip in kept)
    short = sum((clip.seconds or 0.0) < SHORT_S for clip in kept)
    found = []
    if seconds < LITTLE_S:
        found.append(("little_audio", f"{seconds / 60:.1f} minutes are left; below 2 a voice is hardly learnt"))
    if len(kept) < FEW_CLIPS:
        found.append(
            ("few_clips", f"clips that are left: {len(kept)}; with fewer than 100 training overfits within epochs")
        )
    if val < FEW_VAL:
        found.append(("few_val", f"clips that validate: {val}; with fewer than 10 the validation loss says little"))
    if kept and short > MANY_SHORT * len(kept):
        share = short / len(kept)
        found.append(("many_short", f"{share:.0%} of the clips are shorter than 2 s; the model learns to stop early"))
    return [{"code": code, "message": message} for code, message in found]


def _clip(clip: ClipFacts, splits: Mapping[str, Split]) -> dict[str, Any]:
    facts = clip.model_dump(mode="json", exclude={"envelope", "split"}, exclude_defaults=True)
    return {**facts, "kept": clip.reason is None, "split": splits.get(clip.id)}


def write_report(dataset: Path, report: Mapping[str, Any]) -> None:
    """Raises StorageError."""
    write_atomic(dataset / REPORT_FILE, json.dumps(report, ensure_ascii=False, indent=1).encode())


def metadata_hash(dataset: Path) -> str | None:
    """Of metadata.csv as it is; None where there is none."""
    try:
        return hashlib.sha256((dataset / METADATA).read_bytes()).hexdigest()
    except OSError:
        return None


def read_report(dataset: Path) -> dict[str, Any]:
    """The report that is there; empty where there is none that can be read."""
    try:
        content = json.loads((dataset / REPORT_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
