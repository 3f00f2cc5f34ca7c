"""How good the weights are: losses on the validation clips, and what was measured of the samples, by step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from serving.errors import InvalidRequest
from serving.files import write_atomic
from serving.store.training_files import EVALUATION_FILE
from training.xtts.batches import collate
from training.xtts.features import Features
from training.xtts.loss import MEL_WEIGHT, TEXT_WEIGHT, losses
from training.xtts.samples import Heard, Sample


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over all targets of the validation clips, natural logarithm, teacher forced.

    ``accuracy`` is the share of audio tokens that the model would have put first.
    """

    text_loss: float
    mel_loss: float
    accuracy: float
    clips: int

    @property
    def val_loss(self) -> float:
        """Weighted as the training loss, so that the two can be compared."""
        return TEXT_WEIGHT * self.text_loss + MEL_WEIGHT * self.mel_loss


def evaluate(
    gpt: torch.nn.Module,
    features: Features,
    *,
    micro_batch_size: int,
    device: torch.device,
    autocast: torch.dtype = torch.float32,
) -> Evaluation:
    """Evaluate ``gpt`` on all clips of ``features``, with the same prompts each time and no target left out.

    ``autocast`` is the precision of the forward pass. Dropout is off meanwhile and nothing is drawn; afterwards ``gpt``
    trains on as before.
    """
    order = sorted(range(len(features)), key=lambda index: (_size(features, index), index))
    batches = [order[at : at + micro_batch_size] for at in range(0, len(order), micro_batch_size)]
    sums = torch.zeros(5, dtype=torch.float64, device=device)
    training = gpt.training
    gpt.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, autocast, enabled=autocast != torch.float32):
            for batch in batches:
                part = losses(gpt, collate(features, batch, seed=0, epoch=None, device=device), "off")
                counts = (part.text_tokens, part.mel_tokens, part.mel_correct)
                sums += torch.stack([value.double() for value in (part.text_sum, part.mel_sum, *counts)])
    finally:
        gpt.train(training)
    text_sum, mel_sum, text_tokens, mel_tokens, correct = sums.tolist()
    return Evaluation(text_sum / text_tokens, mel_sum / mel_tokens, correct / mel_tokens, len(features))


def make_row(step: int, epoch: int, evaluation: Evaluation, samples: Sequence[Sample]) -> dict[str, Any]:
    """The line of evaluation.json for the weights after ``step`` steps; step 0 is the base model.

    What was not measured is not there: no samples, nothing of samples; no recogniser, no ``cer``. A number that is not
    finite is null.
    """
    row = {
        "step": step,
        "epoch": epoch,
        "val_loss": evaluation.val_loss,
        "val_text_loss": evaluation.text_loss,
        "val_mel_loss": evaluation.mel_loss,
        "val_accuracy": evaluation.accuracy,
        "val_clips": evaluation.clips,
        "evaluated_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if samples:
        row["samples"] = _summary(samples)
    return row


def read_rows(run: Path) -> list[dict[str, Any]]:
    """The rows of the run in directory ``run``, by step; raises InvalidRequest (``run``) for a file that is broken."""
    path = run / EVALUATION_FILE
    try:
        rows = json.loads(path.read_bytes())
        if not isinstance(rows, list):
            raise ValueError("it is no list")
        return sorted(rows, key=lambda row: int(row["step"]))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{path} cannot be read ({error}); delete it to evaluate anew", param="run") from error


def add_row(run: Path, row: dict[str, Any]) -> None:
    """Write ``row`` into evaluation.json of the run in directory ``run``, in place of one of the same step.

    Raises StorageError, and InvalidRequest as ``read_rows``.
    """
    rows = [other for other in read_rows(run) if other["step"] != row["step"]]
    rows = sorted([*rows, _finite(row)], key=lambda row: int(row["step"]))
    write_atomic(run / EVALUATION_FILE, json.dumps(rows, indent=2, allow_nan=False).encode())


def _size(features: Features, index: int) -> int:
    return features.lengths[index].text + features.lengths[index].codes


def _summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Means over the samples; ``recorded`` is the same of the dataset's own recordings of these texts."""
    return {
        "count": len(samples),
        "stop_failures": sum(not sample.ended for sample in samples),
        "pace": fmean(sample.spoken.audio.seconds_per_character / sample.speaker_pace for sample in samples),
        **_means([sample.spoken for sample in samples]),
        "recorded": _means([sample.recorded for sample in samples]),
    }


def _means(heard: Sequence[Heard]) -> dict[str, float]:
    """Of each measure over those it was taken of."""
    taken: dict[str, list[float]] = {}
    for one in heard:
        measures: dict[str, float | None] = {
            "seconds_per_character": one.audio.seconds_per_character,
            "silence_share": one.audio.silence_share,
            "clipped_share": one.audio.clipped_share,
            "relative_speaker_similarity": one.relative_speaker_similarity,
        }
        if one.text is not None:
            measures |= {"cer": one.text.cer, "wer": one.text.wer, "repeated_words": float(one.text.repeated_words)}
        for name, value in measures.items():
            if value is not None:
                taken.setdefault(name, []).append(value)
    return {name: fmean(values) for name, values in taken.items()}


def _finite(value: Any) -> Any:
    """``value`` with null for what JSON cannot say."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and value - value != 0 else value
