"""One trainer alone in a process, for the memory that it takes: from its files to the end of an epoch.

python -m benchmarks.training_worker coqui|ours FOLDER --batch 8 --threads 1 --device cpu

FOLDER has what ``training_files.make_files`` made. The last line is the peak in megabytes.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.memory import PeakMemory
from benchmarks.training_coqui import CoquiTrainer
from benchmarks.training_files import Files
from benchmarks.training_ours import OurTrainer, bucketed
from training.dataset.metadata import read_metadata


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["coqui", "ours"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    files, device = Files.below(options.folder), torch.device(options.device)
    _import_everything()
    with tempfile.TemporaryDirectory() as scratch, PeakMemory(device) as memory:
        (_coqui if options.side == "coqui" else _ours)(files, Path(scratch), device, options.batch)
    print(memory.mb)


def _coqui(files: Files, scratch: Path, device: torch.device, size: int) -> None:
    random.seed(1)
    trainer = CoquiTrainer(files, scratch, device)
    clips = len(read_metadata(files.dataset))
    for batch in trainer.batches(-(-clips // size), size):
        trainer.step(batch)
    trainer.close()


def _ours(files: Files, scratch: Path, device: torch.device, size: int) -> None:
    trainer = OurTrainer(files, scratch, device)
    features = trainer.features()
    for clips in bucketed(features.lengths, size, 0):
        trainer.step(*trainer.batch(features, clips, 0))


def _import_everything() -> None:
    """Code is no part of what is measured."""
    import TTS.tts.layers.xtts.trainer.gpt_trainer
    import TTS.tts.models.xtts  # noqa: F401


if __name__ == "__main__":
    main()
