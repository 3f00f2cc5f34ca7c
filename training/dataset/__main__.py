"""``python -m training.dataset DATASET_DIR``: prepare a dataset, or find that it is prepared."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.errors import (
    ConfigurationError,
    InvalidRequest,
    KubevoiceError,
    ModelFilesError,
    NotFound,
    RequestError,
    StorageError,
)
from serving.store.dataset_files import (
    DatasetStatus,
    read_dataset_status,
    write_dataset_status,
)
from serving.store.volume import Volume
from training.dataset.specification import specify
from training.exits import BAD_CONFIGURATION, STOPPED
from training.xtts.lock import LockLost, RunLock
from training.xtts.signals import StopFlag, Stopped

FAILED = 1
"""Another try may go better: the volume was full, or another process took the dataset over."""

TOLD_TO_STOP = "it was told to stop; run it again and it goes on where it was"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    dataset: Annotated[
        Path, typer.Argument(help="datasets/<tenant>/<name> on the volume; recordings are in its raw/.")
    ],
    consent: Annotated[str | None, typer.Option(help="Who agreed that this voice is trained, to what, when.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Of recordings that bring none of their own: en, de, ...")
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="Of recordings that bring none; default: the name.")] = None,
    transcribe: Annotated[bool | None, typer.Option(help="Transcribe recordings that have no text.")] = None,
    asr_model: Annotated[str | None, typer.Option(help="Whisper model in models/asr/ that transcribes.")] = None,
    model: Annotated[str | None, typer.Option(help="XTTS model that is going to be trained.")] = None,
    revision: Annotated[str | None, typer.Option(help="One of its revisions; default: the current one.")] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share of the clips that validate.")] = None,
    loudness: Annotated[float | None, typer.Option(help="Of every clip, LUFS.")] = None,
    min_seconds: Annotated[float | None, typer.Option(help="Shorter clips are dropped.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Longer clips are dropped.")] = None,
    data: Annotated[Path | None, typer.Option(help="The volume; default: what the dataset's path lies in.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Clips between two lines of progress, without a terminal.")] = 50,
) -> None:
    """Make clips of what lies in raw/, with metadata.csv and report.json.

    Options go into dataset.json, which is read where they are missing. A second run with the same input does nothing;
    a run that was killed goes on where it was. Exit codes: 42 for input that another try would not change, 143 when
    told to stop, 1 where another try may help.
    """
    flag = StopFlag()
    flag.install()
    settings = {
        "val_fraction": val_fraction,
        "loudness": loudness,
        "min_seconds": min_seconds,
        "max_seconds": max_seconds,
    }
    fields = {
        "consent": consent,
        "language": language,
        "speaker": speaker,
        "transcribe": transcribe,
        "asr_model": asr_model,
        "model": model,
        "revision": revision,
    }
    try:
        _run(dataset.absolute(), data, fields, settings, flag, every)
    except Stopped:
        _end(TOLD_TO_STOP, STOPPED)
    except (RequestError, ModelFilesError, ConfigurationError) as error:
        _end(error.message, BAD_CONFIGURATION)
    except KubevoiceError as error:
        _end(error.message, FAILED)


def _run(
    directory: Path,
    data: Path | None,
    fields: Mapping[str, Any],
    settings: Mapping[str, Any],
    flag: StopFlag,
    every: int,
) -> None:
    if not directory.is_dir():
        raise NotFound(f"there is no folder {directory}; make it and put recordings in its raw folder", "dataset")
    volume = _volume(directory, data)

    def check() -> None:
        lock.check()
        flag.check()

    with RunLock(directory) as lock, _telling(directory, lock):
        lock.acquire(flag.check)
        spec = specify(directory, fields, settings)

        from training.dataset.prepare import prepare

        outcome = prepare(directory, spec, volume, check, lock.confirm, every)
    _tell(directory, outcome.report, changed=outcome.changed)


def _volume(directory: Path, data: Path | None) -> Volume:
    if data is None and directory.parent.parent.name != "datasets":
        raise InvalidRequest(
            f"{directory} is not datasets/<tenant>/<name> on a volume; name the volume: --data", "data"
        )
    return Volume(data or directory.parents[2])


@contextlib.contextmanager
def _telling(directory: Path, lock: RunLock) -> Iterator[None]:
    """Why the block ends goes into status.json, as far as that is possible and ``lock`` is held."""
    try:
        yield
    except Stopped:
        _write(directory, lock, "stopped", TOLD_TO_STOP)
        raise
    except KubevoiceError as error:
        _write(directory, lock, "failed", error.message)
        raise


def _write(directory: Path, lock: RunLock, state: Any, message: str) -> None:
    with contextlib.suppress(StorageError, LockLost):
        lock.confirm()  # otherwise the status is that of another process
        before = read_dataset_status(directory) or DatasetStatus(state=state)
        values = before.model_dump(exclude={"state", "error", "updated_at"})
        write_dataset_status(directory, DatasetStatus(**values, state=state, error=message))


def _end(message: str, code: int) -> None:
    """Say on standard error why it ended."""
    sys.stderr.write(f"error: {message}\n")
    raise typer.Exit(code)


def _tell(directory: Path, report: Mapping[str, Any], *, changed: bool) -> None:
    totals = report["totals"]
    if not changed:
        sys.stderr.write(f"{directory} is prepared already: nothing has changed\n")
        return
    lines = [
        f"{totals['kept']} of {totals['clips']} clips kept, {totals['seconds'] / 60:.1f} minutes: "
        f"{totals['train']} train, {totals['val']} validate",
        *(f"dropped {one['clips']}: {one['meaning']} ({name})" for name, one in report["dropped"].items()),
        *(f"listen to {one['clips']}: {one['meaning']} ({name})" for name, one in report["listen_to"].items()),
        *(f"warning: {one['message']}" for one in report["warnings"]),
    ]
    sys.stderr.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    app()
