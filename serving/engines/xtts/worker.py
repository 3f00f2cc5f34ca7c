"""The one thread that owns the model and its device.

In a turn it takes what has come, lets sentences into the decoder, advances all of them by a token, and makes one batch
of audio. Nothing waits longer than a turn: a request, a departure, a call.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from serving.engines.base import Sampling
from serving.engines.failures import typed
from serving.engines.xtts.decoding import Decoding
from serving.engines.xtts.scheduler import Scheduler
from serving.engines.xtts.sentence import Request, Sentence
from serving.engines.xtts.vocoding import Vocoding
from serving.errors import KubevoiceError, Unavailable

logger = logging.getLogger(__name__)

Call = tuple[Callable[[], object], Callable[[BaseException | None], object]]


class Worker:
    """A thread named ``name`` that works on requests until ``close``.

    ``condition`` gives a request's voice its latents on the device, and may raise what the request then ends with;
    ``sampling`` gives its options.
    """

    def __init__(
        self,
        name: str,
        device: torch.device,
        scheduler: Scheduler,
        decoding: Decoding,
        vocoding: Vocoding,
        condition: Callable[[Request], Any],
        sampling: Callable[[Request], Sampling],
    ) -> None:
        self._device = device
        self._scheduler = scheduler
        self._decoding = decoding
        self._vocoding = vocoding
        self._condition = condition
        self._sampling = sampling
        self._changed = threading.Condition()
        self._arrived: deque[Request] = deque()
        self._calls: deque[Call] = deque()
        self._closed = self._poked = False
        self._working_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Speak ``request``; it is told of everything by its ``deliver``. Raises Unavailable once closed."""
        self._put(self._arrived, request)

    def call(self, function: Callable[[], object], done: Callable[[BaseException | None], object]) -> None:
        """Run ``function`` on the thread at its next turn; ``done`` gets its error, or None."""
        self._put(self._calls, (function, done))

    def wake(self) -> None:
        """Look at the requests again: one has departed, or was heard."""
        with self._changed:
            self._poked = True
            self._changed.notify()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    @property
    def stuck_s(self) -> float:
        """Seconds that the present turn has taken; 0 when there is nothing to do."""
        since = self._working_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """End all requests and wait for the thread; safe to call again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _put(self, target: deque[Any], item: Any) -> None:
        with self._changed:
            if not self.alive:
                raise Unavailable("the engine is closed")
            target.append(item)
            self._changed.notify()

    def _run(self) -> None:
        torch.set_flush_denormal(True)  # of this thread; see ``serving.engines.rvc.batcher``
        on_device = torch.cuda.device(self._device) if self._device.type == "cuda" else contextlib.nullcontext()
        try:
            with on_device, torch.inference_mode():
                while not self._closed:
                    self._working_since = time.monotonic()
                    worked = self._turn()
                    self._working_since = None
                    with self._changed:
                        if not (worked or self._news()):
                            self._changed.wait()
                        self._poked = False
            reason = Unavailable("the engine was closed")
        except Exception as error:  # a device so broken that not even a row can be freed
            logger.critical("XTTS cannot go on", exc_info=error)
            reason = Unavailable(f"the engine's device has failed ({type(error).__name__}); the server's log has more")
        self._end(reason)

    def _news(self) -> bool:
        return bool(self._closed or self._poked or self._arrived or self._calls)

    def _turn(self) -> bool:
        """One round of everything; False when there was nothing to do."""
        self._drop_departed()
        self._take_arrived()
        worked = self._run_call()
        try:
            if (ahead := self._scheduler.yielding()) is not None:
                self._decoding.suspend(ahead)
            entering = [sentence for sentence in self._scheduler.admit() if self._prepare(sentence)]
            self._decoding.start(entering, self._sampling)
            decoding = bool(self._scheduler.active)  # a step that ends the last of them may let others in
            spoke = self._vocoding.turn(wait=not self._decoding.step())
        except Exception as error:  # noqa: BLE001 it is the requests'
            self._give_up(error)
            return True
        return worked or decoding or spoke or bool(entering) or any(r.departed for r in self._scheduler.requests)

    def _take_arrived(self) -> None:
        while self._arrived:
            request = self._arrived.popleft()
            if request.departed:
                continue
            try:
                self._scheduler.submit(request)
            except KubevoiceError as error:
                request.fail(error)

    def _run_call(self) -> bool:
        if not self._calls:
            return False
        function, done = self._calls.popleft()
        try:
            function()
        except BaseException as error:  # noqa: BLE001 it is raised again where the call came from
            done(error)
        else:
            done(None)
        return True

    def _drop_departed(self) -> None:
        """Free what departed and finished requests hold."""
        for request in [request for request in self._scheduler.requests if request.departed]:
            for sentence in request.sentences:
                self._decoding.release(sentence)
            self._scheduler.remove(request)

    def _prepare(self, sentence: Sentence) -> bool:
        """Have the voice ready; False when the request has ended for lack of one, or nobody waits for it any more."""
        request = sentence.request
        if request.conditioning is None and not request.departed:
            try:
                request.conditioning = self._condition(request)
            except Exception as error:  # noqa: BLE001 it is the request's
                request.fail(typed(error, "XTTS"))
        return not request.departed

    def _give_up(self, error: Exception) -> None:
        """End every request that has begun with ``error``: what their rows hold is unknown now."""
        unstarted = self._scheduler.unstarted()
        reason = typed(error, "XTTS")
        for request in self._scheduler.requests:
            if request not in unstarted:
                request.fail(reason)
        self._decoding.forget()
        self._vocoding.forget()

    def _end(self, reason: Unavailable) -> None:
        """End everything with ``reason``; from here on nothing is taken."""
        with self._changed:
            self._closed = True
        for request in [*self._scheduler.requests, *self._arrived]:
            request.fail(reason)
        for _, done in self._calls:
            done(reason)
