"""Pulls items of jobs, speaks them, keeps what came of them: some at a time, until it is closed."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from serving.audio.encode import OUTPUT_RATE
from serving.engines.base import SpeechService
from serving.errors import KubevoiceError, RequestError, StorageError, TryLater
from serving.files import refusing, write_atomic
from serving.jobs.pulling import Pulling
from serving.jobs.speaking import Spoken, encoded, kept_format, speak
from serving.metrics import AUDIO_SECONDS, JOB_ITEMS, Metrics
from serving.settings import Settings
from serving.store.job_queue import Claimed, ItemResult, JobQueue
from serving.store.voices import VoiceStore
from serving.store.volume import make_durable_directory

logger = logging.getLogger(__name__)

T = TypeVar("T")

FAULT_S = 2.0
"""Until the database or the volume is tried again."""

AGAIN_S = 5.0
"""Until an item that the engine failed on is tried again."""

REPLICA_DIED = "replica_died"
"""Code of the error that says that not the text but what spoke it went away."""


class JobLoop(Pulling[Claimed]):
    """Speaks the items of ``queue`` with ``engine``, at most ``jobs.concurrency`` at a time.

    Several of them, in any number of processes, share one queue. Killed at any point, it loses at most the items in
    work, which are taken up again when their leases end.
    """

    def __init__(
        self, queue: JobQueue, engine: SpeechService, voices: VoiceStore, settings: Settings, metrics: Metrics
    ) -> None:
        super().__init__(lambda: queue.claim(settings.jobs.lease_s), queue.release)
        self._queue = queue
        self._engine = engine
        self._voices = voices
        self._settings = settings
        self._metrics = metrics
        self._working: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin, on the running event loop."""
        self.run(self._hold(), *[self._slot() for _ in range(self._settings.jobs.concurrency)])

    async def _slot(self) -> None:
        while True:
            claimed = await self.next()
            work = asyncio.create_task(self._work(claimed))
            self._working[claimed.lease] = work
            try:
                await asyncio.wait({work})
                if not work.cancelled() and (bug := work.exception()) is not None:
                    logger.error(
                        "item %d of job %s: its lease ends by itself", claimed.number, claimed.job_id, exc_info=bug
                    )
            finally:
                del self._working[claimed.lease]
                if not work.done():  # this loop is closing
                    work.cancel()
                    await asyncio.gather(work, return_exceptions=True)
                    with suppress(KubevoiceError):  # else the lease ends by itself
                        await asyncio.to_thread(self._queue.release, claimed)

    async def _hold(self) -> None:
        """Extend the leases of what is in work; stop work whose lease is gone: cancelled, or taken by another."""
        while True:
            await asyncio.sleep(self._settings.jobs.lease_s / 3)
            leases = set(self._working)
            try:
                held = await asyncio.to_thread(self._queue.extend, leases, self._settings.jobs.lease_s)
            except KubevoiceError as error:
                logger.warning("leases cannot be extended: %s", error)
                continue
            for lease in leases - held:
                if lease in self._working:
                    self._working[lease].cancel()

    async def _work(self, claimed: Claimed) -> None:
        try:
            spoken = await speak(claimed, self._engine, self._settings.voices, self._voices)
            await self._keep(claimed, spoken)
        except Exception as error:  # noqa: BLE001 - whatever it is, the item is accounted for
            outcome, record = self._verdict(claimed, error)
            self._metrics.add(JOB_ITEMS, outcome=outcome)
            await _insist(record)

    def _verdict(self, claimed: Claimed, error: Exception) -> tuple[str, Callable[[], bool]]:
        """What came of an item that was not spoken, and how to record it: is it its text's fault, the engine's, or
        neither's?
        """
        queue, said = self._queue, str(error)
        if isinstance(error, RequestError):
            return "refused", lambda: queue.fail(claimed, said, final=True)
        where = f"item {claimed.number} of job {claimed.job_id}"
        if not isinstance(error, KubevoiceError):
            logger.error("%s failed", where, exc_info=error)
            said = "an unexpected error, which the worker's log has"
        else:
            logger.warning("%s was not spoken: %s", where, said)
        if isinstance(error, StorageError | TryLater):
            return "returned", lambda: queue.release(claimed, again_s=FAULT_S)
        if isinstance(error, KubevoiceError) and error.code == REPLICA_DIED:
            return "returned", lambda: queue.release(claimed, again_s=FAULT_S, lost=True)
        return "failed", lambda: queue.fail(claimed, said, final=False, again_s=AGAIN_S)

    async def _keep(self, claimed: Claimed, spoken: Spoken) -> None:
        """Write the file under a name of its own, then record it: who comes late changes nothing of another's.

        Both wait for as long as the volume or the database is away; the lease is held meanwhile.
        """
        kept = kept_format(claimed)
        path = claimed.folder / f"{claimed.number:05}-{secrets.token_hex(4)}.{kept}"
        result = ItemResult(path.name, len(spoken.pcm), spoken.sentences, spoken.input_tokens, spoken.output_tokens)
        data = await asyncio.to_thread(encoded, spoken, kept)
        written = await _insist(lambda: self._write(claimed, path, data))
        if written and await _insist(lambda: self._queue.complete(claimed, result)):
            options = claimed.options
            self._metrics.add(JOB_ITEMS, outcome="spoken")
            seconds = result.samples / OUTPUT_RATE
            self._metrics.add(AUDIO_SECONDS, seconds, model=options.model, format=options.response_format)
        else:
            logger.info("item %d of job %s was not ours any more", claimed.number, claimed.job_id)
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _write(self, claimed: Claimed, path: Path, data: bytes) -> bool:
        """Write ``data``; its folder is made again if it is gone, but not that of a job that was deleted: False."""
        with refusing(path.parent):
            if not path.parent.is_dir():
                if not self._queue.extend({claimed.lease}, self._settings.jobs.lease_s):
                    return False
                make_durable_directory(path.parent)
        write_atomic(path, data)
        return True


async def _insist(record: Callable[[], T]) -> T:
    """What ``record`` gives, once database and volume take it: they may be away longer than the work took."""
    while True:
        try:
            return await asyncio.to_thread(record)
        except (TryLater, StorageError) as error:
            logger.warning("an item cannot be recorded: %s", error)
            await asyncio.sleep(FAULT_S)
