"""The preparation of one dataset, from raw/ to metadata.csv."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from serving.errors import InvalidRequest
from serving.store.dataset_files import RAW, DatasetSpec, DatasetStatus, read_dataset_status, write_dataset_status
from serving.store.volume import Volume
from training.dataset.base_model import Embedding, open_base_model
from training.dataset.clips import Made, Tools, make_clips
from training.dataset.comparison import compare
from training.dataset.facts import REASONS, ClipFacts
from training.dataset.folders import Folders
from training.dataset.inputs import basis, fingerprint, recording_keys
from training.dataset.metadata import Clip, Split, metadata_bytes, read_metadata, write_metadata
from training.dataset.progress import progress
from training.dataset.report import build_report, metadata_hash, read_report, write_report
from training.dataset.sources import Recording, find_sources
from training.dataset.splits import assign
from training.dataset.transcription import open_transcriber
from training.dataset.voice_activity import VoiceActivity


@dataclass(frozen=True, slots=True)
class Outcome:
    """``report`` is what report.json says; ``changed`` is False where everything was there already."""

    report: dict[str, Any]
    changed: bool


def prepare(
    directory: Path,
    spec: DatasetSpec,
    volume: Volume,
    check: Callable[[], None] = lambda: None,
    own: Callable[[], None] = lambda: None,
    every: int = 50,
) -> Outcome:
    """Make ``directory`` a dataset of what is in its raw/ folder; who calls holds its lock.

    metadata.csv changes last and at once, so that until then the dataset is what it was. ``check`` is called often
    and may raise to stop, ``own`` before what must be safe and may raise if the lock is lost. Raises InvalidRequest,
    ModelFilesError, ConfigurationError and StorageError.
    """
    with _one_thread():
        return _prepare(directory, spec, volume, check, own, every)


def _prepare(
    directory: Path,
    spec: DatasetSpec,
    volume: Volume,
    check: Callable[[], None],
    own: Callable[[], None],
    every: int,
) -> Outcome:
    base = open_base_model(volume, spec.model, spec.revision)
    base.front_end.language(spec.language)
    transcriber = open_transcriber(volume, spec.asr_model) if spec.transcribe else None
    sources = find_sources(directory / RAW, transcribe=spec.transcribe)
    common = basis(spec, base.identity, transcriber.identity if transcriber else None)
    keys = recording_keys(sources.recordings, common, check)
    inputs = fingerprint(spec, keys)
    if (report := _finished(directory, inputs)) is not None:
        _write_ready(directory, report)
        return Outcome(report, changed=False)
    tools = Tools(spec, base, VoiceActivity(), transcriber)
    own()
    made = _make(directory, keys, tools, check, every)
    clips = compare([clip for one in made for clip in one.clips], _embeddings(made))
    splits = assign({clip.id: clip.split for clip in clips if clip.reason is None}, spec.settings.val_fraction)
    _refuse_empty(clips)
    report = build_report(spec, base.name, inputs, sources.formats, len(keys), clips, splits)
    check()
    own()
    _publish(directory, report, clips, splits)
    Folders(directory).keep(keys, volume)
    _write_ready(directory, report)
    return Outcome(report, changed=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The models are small: more threads take longer, and another number of them rounds otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _finished(directory: Path, inputs: str) -> dict[str, Any] | None:
    """The report of the dataset if it was made from these very inputs and all of it is still there."""
    report = read_report(directory)
    if report.get("inputs") != inputs or report.get("metadata_sha256") != metadata_hash(directory):
        return None
    try:
        read_metadata(directory)
    except InvalidRequest:
        return None
    return report


def _make(
    directory: Path, keys: Mapping[str, Recording], tools: Tools, check: Callable[[], None], every: int
) -> list[Made]:
    folders = Folders(directory)
    folders.tidy()
    results = []
    with progress(directory, len(keys), every) as shown:
        for key, recording in keys.items():
            check()
            made = folders.read(key)
            if made is None:
                folders.remove(key)

                def heard(seconds: float, name: str = recording.name) -> None:
                    check()
                    shown.hears(name, seconds)

                def fill(folder: Path, key: str = key, one: Recording = recording, heard: Any = heard) -> Made:
                    return make_clips(one, folder, folders.relative(key), tools, heard)

                made = folders.write(key, fill)
            results.append(made)
            kept = [clip for clip in made.clips if clip.reason is None]
            shown.made(len(kept), len(made.clips) - len(kept), sum(clip.seconds or 0.0 for clip in kept))
    return results


def _embeddings(made: Sequence[Made]) -> dict[str, Embedding]:
    return {
        clip.id: embedding
        for one in made
        for clip, embedding in zip((clip for clip in one.clips if clip.file), one.embeddings, strict=True)
    }


def _refuse_empty(clips: Sequence[ClipFacts]) -> None:
    if any(clip.reason is None for clip in clips):
        return
    counts = Counter(clip.reason for clip in clips)
    why = "; ".join(f"{counts[name]} x {name} ({REASONS[name]})" for name in REASONS if counts[name])
    raise InvalidRequest(f"none of {len(clips)} clips can be used: {why}. For instance {clips[0].detail}", "raw")


def _publish(directory: Path, report: dict[str, Any], clips: Sequence[ClipFacts], splits: Mapping[str, Split]) -> None:
    """The report goes first and says which metadata.csv it is of, so that the next run sees one without the other."""
    rows = [
        Clip(clip.id, directory / clip.file, clip.text, clip.speaker, clip.language, splits[clip.id], clip.seconds)
        for clip in clips
        if clip.reason is None and clip.file is not None and clip.seconds is not None
    ]
    report["metadata_sha256"] = hashlib.sha256(metadata_bytes(directory, rows)).hexdigest()
    write_report(directory, report)
    write_metadata(directory, rows)


def _write_ready(directory: Path, report: dict[str, Any]) -> None:
    """Say so, unless it is said already: a run with nothing to do writes nothing."""
    totals, before = report["totals"], read_dataset_status(directory)
    status = DatasetStatus(
        state="ready",
        done=totals["recordings"],
        total=totals["recordings"],
        kept=totals["kept"],
        dropped=totals["dropped"],
        seconds=totals["seconds"],
    )
    if before is None or before.model_copy(update={"updated_at": status.updated_at}) != status:
        write_dataset_status(directory, status)
