"""``/v1/training/runs/{run}/logs``: what a run has written, or everything that it writes until it ends."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from serving.api.caller import RECHECK
from serving.api.launching import Training, TrainingCtx, launching
from serving.api.log_pieces import LogPieces, LogSoFar
from serving.api.training import seen_run
from serving.errors import Forbidden, KubevoiceError, NotFound, Overloaded, TryLater, Unauthenticated, Unavailable
from serving.launch import Watch
from serving.store.training_runs import TrainingRun

router = APIRouter(tags=["training"])

Recheck = Callable[[], Awaitable[object]]

FOLLOWERS = threading.BoundedSemaphore(32)
"""Followed logs of one ingress replica: each has a thread."""

PAUSE_S = 1.0
"""Between two looks at a run whose attempt has no log yet."""

QUIET_S = 15.0
"""Silence after which a comment is sent: proxies cut connections on which nothing comes, many after a minute."""

STILL_THERE = b": still there\n\n"
WAITING_LINES = 1000
EVENTS = (
    'data: {"type": "training.log", "line": "epoch 1 of 10"}\n\n'
    'data: {"type": "training.state", "state": "running", "reason": ""}\n\n'
    'data: {"type": "training.done", "state": "succeeded", "reason": ""}\n\n'
)
LOG: dict[str, Any] = {
    "description": "The lines so far, or with `follow` events until the run has ended",
    "content": {"text/plain": {"schema": {"type": "string"}}, "text/event-stream": {"example": EVENTS}},
}


@router.get("/v1/training/runs/{run}/logs", response_class=Response, responses={200: LOG})
async def get_training_logs(
    run: str,
    request: Request,
    training: TrainingCtx,
    follow: Annotated[bool, Query(description="Server-sent events, as lines are written, until the run ends")] = False,
    tail: Annotated[int | None, Query(ge=1, le=1_000_000, description="Only the last lines, so many of them")] = None,
) -> Response:
    """What the last attempt of a run has written. A line of more than 64 KiB comes as several."""
    found = await launching(seen_run, run, training)
    if not follow:
        pieces = LogPieces(_log(found, training, tail))
        return LogSoFar(await launching(pieces.next), pieces)
    if not FOLLOWERS.acquire(blocking=False):
        raise Overloaded("too many logs are followed here; try again, or ask for the lines so far", 10)
    return _Followed(_Follower(found, training, tail, request.scope.get(RECHECK)))


def _log(run: TrainingRun, training: Training, tail: int | None) -> Generator[str, None, None]:
    """The lines so far; raises NotFound where there are none any more."""
    try:
        yield from training.launcher.logs(run.job, tail=tail)
    except Unavailable as error:
        if run.active:
            raise
        raise NotFound(error.message, "run") from None
    except NotFound:
        gone = "has not started" if run.phase == "starting" else "is gone with its Job"
        raise NotFound(f"the log of run {run.id} {gone}", "run") from None


class _Follower:
    """Follows a run in a thread of its own, through all its attempts, and hands its events to the event loop.

    ``recheck`` is asked every ``QUIET_S`` seconds, and ends the events where the key works no more.
    """

    def __init__(self, run: TrainingRun, training: Training, tail: int | None, recheck: Recheck | None = None) -> None:
        self.watch = Watch()
        self._run, self._training, self._tail, self._recheck = run, training, tail, recheck
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.BoundedSemaphore(WAITING_LINES)
        threading.Thread(target=self._work, name=f"log {run.job}", daemon=True).start()

    async def events(self) -> AsyncGenerator[bytes, None]:
        checked_at = time.monotonic()
        try:
            while True:
                if time.monotonic() - checked_at >= QUIET_S:
                    checked_at = time.monotonic()
                    if (refused := await self._refused()) is not None:
                        yield _event(_failure(refused))
                        return
                try:
                    event = await asyncio.wait_for(self._events.get(), QUIET_S)
                except TimeoutError:
                    yield STILL_THERE
                    continue
                if event is None:
                    return
                self._room.release()
                yield event
        finally:
            self.close()

    async def _refused(self) -> KubevoiceError | None:
        try:
            if self._recheck is not None:
                await self._recheck()
        except (Unauthenticated, Forbidden) as error:
            return error
        except KubevoiceError:  # a database that is away does not cut who was let in
            return None
        return None

    def close(self) -> None:
        """Nobody listens any more."""
        self.watch.close()

    def _work(self) -> None:
        try:
            self._follow()
        except KubevoiceError as error:
            self._put(_failure(error))
        finally:
            FOLLOWERS.release()
            self._loop.call_soon_threadsafe(self._events.put_nowait, None)

    def _follow(self) -> None:
        told: tuple[str, str] | None = None
        read: str | None = None
        while not self.watch.closed:
            run = self._training.trainings.seen(self._training.runs.get(self._run.tenant, self._run.id))
            pod = self._pod(run)
            if not run.active:
                if read is None or pod not in (None, read):
                    self._lines(run, follow=False)
                self._put({"type": "training.done", "state": run.state, "reason": run.reason})
                return
            if (run.state, run.reason) != told:
                told = (run.state, run.reason)
                self._put({"type": "training.state", "state": run.state, "reason": run.reason})
            if pod is not None and pod != read and self._lines(run, follow=True):
                read = pod
            else:
                self.watch.sleep(PAUSE_S)

    def _pod(self, run: TrainingRun) -> str | None:
        """The attempt of the launcher's run that writes now."""
        try:
            found = self._training.launcher.status(run.job)
        except (NotFound, TryLater):
            return None
        return found.pod and f"{run.job}/{found.pod}"

    def _lines(self, run: TrainingRun, *, follow: bool) -> bool:
        """Hand over what the attempt writes; False where none of it could be read. Raises Unavailable in its midst."""
        begun = False
        try:
            for line in self._training.launcher.logs(run.job, follow=follow, tail=self._tail, watch=self.watch):
                begun = True
                self._put({"type": "training.log", "line": line})
                if self.watch.closed:
                    break
        except NotFound:
            pass  # its pod is gone: what became of the run matters more
        except TryLater as error:
            if begun and follow:
                raise Unavailable(f"the log broke off, follow it again: {error.message}") from error
            return False
        self._tail = None  # of the attempt that is there now; later ones are new as a whole
        return True

    def _put(self, event: dict[str, Any]) -> None:
        """Hand an event over; waits while the client has not taken those before."""
        while not self._room.acquire(timeout=1.0):
            if self.watch.closed:
                return
        self._loop.call_soon_threadsafe(self._events.put_nowait, _event(event))


def _event(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _failure(error: KubevoiceError) -> dict[str, Any]:
    return {"type": "error", "error": {"message": error.message, "code": error.code}}


class _Followed(StreamingResponse):
    """Closes the follower however the response ends."""

    def __init__(self, follower: _Follower) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        self._follower = follower
        super().__init__(follower.events(), media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._follower.close()
