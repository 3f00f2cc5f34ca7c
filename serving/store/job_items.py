"""The texts of a job as their readers see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from serving.errors import NotFound
from serving.store.database import Database
from serving.store.job import AUDIO, Job
from serving.store.records import JobItemRow, Normalization

PAGE = 500


@dataclass(frozen=True)
class JobItem:
    """One record; see ``JobItemRow``. ``audio`` is None until it is spoken; ``sentences`` are (text, samples)."""

    number: int
    text: str
    voice: str | None
    language: str | None
    text_normalization: Normalization | None
    state: str
    attempts: int
    error: str | None
    audio: Path | None
    samples: int
    sentences: tuple[tuple[str, int], ...]


class JobItemStore:
    """Reads the items of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job: Job, number: int) -> JobItem:
        """Item ``number`` of ``job``; raises NotFound."""
        found = self.page(job, 1, after=number - 1)
        if not found or found[0].number != number:
            raise NotFound(f"job {job.id} has no item {number}; it has {job.items}", "item", "not_found")
        return found[0]

    def page(self, job: Job, limit: int, *, after: int = 0, state: str | None = None) -> list[JobItem]:
        """At most ``limit`` items of ``job`` in order, those behind number ``after``."""
        query = select(JobItemRow).where(JobItemRow.job_id == job.id, JobItemRow.number > after)
        if state is not None:
            query = query.where(JobItemRow.state == state)
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(JobItemRow.number).limit(limit)).all()
        return [_item(row, job) for row in rows]

    def all(self, job: Job) -> Iterator[JobItem]:
        """All items of ``job`` in order; a book's are not in memory at once."""
        page = self.page(job, PAGE)
        while page:
            yield from page
            page = self.page(job, PAGE, after=page[-1].number)


def _item(row: JobItemRow, job: Job) -> JobItem:
    return JobItem(
        number=row.number,
        text=row.text,
        voice=row.voice,
        language=row.language,
        text_normalization=row.text_normalization,
        state=row.state,
        attempts=row.attempts,
        error=row.error,
        audio=None if row.audio is None else job.directory / AUDIO / row.audio,
        samples=row.samples,
        sentences=tuple((str(text), int(str(samples))) for text, samples in row.sentences),
    )
