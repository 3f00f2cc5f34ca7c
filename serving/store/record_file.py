"""``record.json`` of a dataset or training run: what only its row knows, so that the row can be made again.

It lies in the folder, beside what the preparation or the trainer writes, and is rewritten for each attempt.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from serving.files import write_atomic

RECORD_FILE = "record.json"


class RecordFile(BaseModel):
    """``request_key`` and ``request_digest`` are those of a training run, see ``TrainingRunRow``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    attempt: Annotated[int, Field(ge=1, lt=2**31)] = 1
    attempted_at: AwareDatetime
    created_at: AwareDatetime
    request_key: Annotated[str, StringConstraints(max_length=255)] | None = None
    request_digest: Annotated[str, StringConstraints(max_length=64)] = ""


def read_record(directory: Path, facts: str) -> RecordFile:
    """That of ``directory``; where there is none that can be read, what the age of the file ``facts`` tells.

    Raises FileNotFoundError without that file.
    """
    try:
        return RecordFile.model_validate_json((directory / RECORD_FILE).read_bytes())
    except (OSError, ValidationError):
        made = datetime.fromtimestamp((directory / facts).stat().st_mtime, UTC)
        return RecordFile(name=directory.name, attempted_at=made, created_at=made)


def write_record(directory: Path, record: RecordFile) -> None:
    """Raises StorageError."""
    write_atomic(directory / RECORD_FILE, record.model_dump_json(indent=2).encode())
