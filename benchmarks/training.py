"""Fine-tuning by our trainer beside coqui's ``GPTTrainer``: the same weights, clips, batch size and threads, float32.

    python -m benchmarks.training [--layers 24] [--channels 128] [--clips 64] [--batch 8] [--rounds 2] [--threads 1]

Weights are random, clips are espeak-ng's, 1 to 11 s. coqui's side is its own model, dataset, collation, features on the
device and optimizer, driven without its ``Trainer`` (``benchmarks.training_coqui``). In a round each takes an epoch's
number of steps, in turn; figures are medians over the rounds, on a CPU of CPU time, which others on the machine disturb
less, on a GPU by the clock. With few layers the encoder of the prompt, which is 3 to 6 s also of the longest clip,
outweighs the decoder, and less padding gains less; in the released model its share is small, so the default has many.
The last line is one JSON object:

device                    what it ran on
clips_ratio               clips a second of ours by those of coqui, on batches that both had made before: what is left
                          are padding (ours has clips of like length together, and computes the silence behind
                          prompts once) and the step itself
bucketing_ratio           the same of ours alone: batches of like length by batches drawn without a look at it
end_to_end_ratio          clips a second with everything a step needs: coqui reads the clips and computes mels and codes
                          each time, ours takes them from the file of features
first_epoch_ratio         the same for an epoch in which ours has to make that file
full_size_flops_ratio     operations a clip for coqui's batches by those for ours in the released model, counted on
                          tensors without values; in an epoch, forward and backward
padding, padding_reference  tokens of the batches by tokens of their clips
loss_difference           largest difference of the loss (text and audio) between both at step 0, on coqui's own batch
                          with the mask off, in training mode with the same dropout
peak_memory_mb, peak_memory_mb_reference  of a process of its own each, from its files to the end of an epoch; ours
                          computes the features in it
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.coqui import Span, now
from benchmarks.training_coqui import CoquiTrainer
from benchmarks.training_figures import Figures, report
from benchmarks.training_files import make_files
from benchmarks.training_ours import (
    OurTrainer,
    bucketed,
    drawn_frames,
    full_size_flops,
    padding,
    shuffled,
    without_silence,
)
from serving.engines.xtts.device import select_device
from training.xtts.batches import Batch, Length
from training.xtts.features import Features
from training.xtts.loss import MEL_WEIGHT, TEXT_WEIGHT, losses

Made = TypeVar("Made")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--channels", type=int, default=128, help="of the decoder, 64 a head")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.clips % options.batch:
        parser.error("--clips has to be a multiple of --batch, so that both see as many in an epoch")
    torch.set_num_threads(options.threads)
    device = select_device(options.device, fallback_cpu=False)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = make_files(folder, options.layers, options.channels, options.clips)
        memory = [_peak_mb(side, folder, options, device) for side in ("coqui", "ours")]
        random.seed(1)
        coqui, ours = CoquiTrainer(files, folder, device), OurTrainer(files, folder / "cache", device)
        try:
            figures = measure(coqui, ours, options, device)
        finally:
            coqui.close()
    figures.peak_mb_reference, figures.peak_mb = memory
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} threads"
    size = f"{options.layers} layers of {options.channels} channels"
    title = f"{size} on {name}: an epoch of {options.clips} clips, {options.batch} a step"
    report(title, name, figures, by_clock=device.type != "cpu")


def measure(coqui: CoquiTrainer, ours: OurTrainer, options: argparse.Namespace, device: torch.device) -> Figures:
    figures = Figures()
    features, figures.making_features = _timed(ours.features, device)
    assert not features.left_out, features.left_out
    figures.loss_difference = difference(coqui, ours, options.batch)
    coqui.step(next(coqui.batches(1, options.batch)))
    ours.step(*ours.batch(features, range(options.batch), 0))
    theirs: list[list[Length]] = []
    own: list[list[Length]] = []
    frames: list[int] = []
    for epoch in range(options.rounds):
        theirs += _epoch_of_coqui(coqui, options, epoch, figures, device)
        batches = _epoch_of_ours(ours, features, options.batch, epoch, figures, device)
        own += batches
        frames += [drawn_frames(batch, epoch) for batch in batches]
    figures.padding_reference, figures.padding = padding(theirs), padding(own)
    figures.full_size_flops_ratio = full_size_flops(theirs) / full_size_flops(own, frames)
    return figures


def _epoch_of_coqui(
    coqui: CoquiTrainer, options: argparse.Namespace, epoch: int, figures: Figures, device: torch.device
) -> list[list[Length]]:
    """As many steps as an epoch of ours has; returns what its batches had in them."""
    random.seed(epoch)
    steps = options.clips // options.batch
    batches, span = _timed(lambda: list(coqui.batches(steps, options.batch)), device)
    figures.coqui_data.append(span)
    figures.coqui.append(_timed(lambda: _steps(coqui, [(batch,) for batch in batches]), device)[1])
    return [coqui.lengths(batch) for batch in batches]


def _epoch_of_ours(
    ours: OurTrainer, features: Features, size: int, epoch: int, figures: Figures, device: torch.device
) -> list[list[Length]]:
    """By length and by chance; returns what the batches by length had in them."""
    by_length, by_chance = bucketed(features.lengths, size, epoch), shuffled(features.lengths, size, epoch)
    batches, span = _timed(lambda: [ours.batch(features, clips, epoch) for clips in by_length], device)
    figures.ours_data.append(span)
    figures.ours.append(_timed(lambda: _steps(ours, batches), device)[1])
    others = [ours.batch(features, clips, epoch) for clips in by_chance]
    figures.ours_shuffled.append(_timed(lambda: _steps(ours, others), device)[1])
    return [[features.lengths[index] for index in clips] for clips in by_length]


def difference(coqui: CoquiTrainer, ours: OurTrainer, size: int) -> float:
    """Largest of text's and audio's at step 0, on a batch that coqui made, without a mask."""
    raw = next(coqui.batches(1, size))
    lengths = coqui.lengths(raw)
    codes = torch.tensor([length.codes for length in lengths], device=raw["audio_codes"].device)
    batch = Batch(
        text=raw["text_inputs"].long(),
        text_lengths=raw["text_lengths"],
        codes=raw["audio_codes"][:, : int(codes.max())],
        code_lengths=codes,
        prompt=without_silence(raw["cond_mels"][:, 0]),
        prompt_samples=raw["cond_idxs"],
    )
    torch.manual_seed(0)
    expected = coqui.losses({**raw, "cond_idxs": None})
    torch.manual_seed(0)
    part = losses(ours.base.gpt, batch, "off")
    found = (TEXT_WEIGHT * (part.text_sum / part.text_tokens), MEL_WEIGHT * (part.mel_sum / part.mel_tokens))
    differences = [(one - other).abs() for one, other in zip(found, expected, strict=True)]
    return float(torch.stack(differences).max().item())


def _steps(trainer: CoquiTrainer | OurTrainer, batches: Sequence[tuple[Any, ...]]) -> None:
    for batch in batches:
        trainer.step(*batch)


def _timed(work: Callable[[], Made], device: torch.device) -> tuple[Made, Span]:
    began = _now(device)
    made = work()
    return made, _now(device) - began


def _peak_mb(side: str, folder: Path, options: argparse.Namespace, device: torch.device) -> float:
    command = [sys.executable, "-m", "benchmarks.training_worker", side, str(folder)]
    command += ["--batch", str(options.batch), "--threads", str(options.threads), "--device", str(device)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def _now(device: torch.device) -> Span:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return now()


if __name__ == "__main__":
    main()
