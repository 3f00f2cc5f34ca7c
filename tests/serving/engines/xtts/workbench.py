"""A worker with everything that it works on, on the CPU, whose faults are made to order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import torch

from serving.engines.base import Sampling
from serving.engines.xtts.cache import SlotCache
from serving.engines.xtts.checkpoint import LoadedXtts
from serving.engines.xtts.decoder import Decoder
from serving.engines.xtts.decoding import Decoding
from serving.engines.xtts.scheduler import Limits, Scheduler
from serving.engines.xtts.sentence import Request
from serving.engines.xtts.vocoder import Vocoder
from serving.engines.xtts.vocoding import Vocoding
from serving.engines.xtts.worker import Worker
from tests.factories.sentences import WAIT_S, Listener, make_request

CPU = torch.device("cpu")
SAMPLING = Sampling(temperature=0.75, top_k=50, top_p=0.85, repetition_penalty=5.0)
TEXT = "A sentence to speak."


class Device:
    """A worker with all that it works on.

    Once set, ``step_error`` is what the next step raises, ``condition_error`` what the next voice does;
    ``during_step`` is called in the next step.
    """

    def __init__(self, decoder: Decoder, loaded: LoadedXtts, slots: int = 4, queue: int = 100) -> None:
        self._decoder = decoder
        self._loaded = loaded
        self.step_error: Exception | None = None
        self.during_step: Callable[[], object] | None = None
        self.condition_error: Exception | None = None
        self.scheduler = Scheduler(Limits(slots, 10_000, queue))
        self.cache = SlotCache(decoder.shape, slots, CPU, torch.float32)
        self.decoding = Decoding(decoder, self.scheduler, self.cache, self._step)
        vocoder = Vocoder.from_generator(loaded.model.hifigan_decoder.waveform_decoder, CPU)
        self.vocoding = Vocoding(vocoder, self.scheduler, self.decoding.latents, 24000)
        self.worker = Worker(
            "test", CPU, self.scheduler, self.decoding, self.vocoding, self._condition, lambda request: SAMPLING
        )

    def submit(self, *texts: str, seed: int = 1, heard_in_s: float | None = None) -> tuple[Request, Listener]:
        listener = Listener()
        request = make_request(*(texts or (TEXT,)), deliver=listener, seed=seed, heard_in_s=heard_in_s)
        self.worker.submit(request)
        return request, listener

    def call(self, function: Callable[[], object]) -> BaseException | None:
        """Run ``function`` on the worker's thread; its error."""
        return self.calling(function).result(WAIT_S)

    def calling(self, function: Callable[[], object]) -> Future[BaseException | None]:
        done: Future[BaseException | None] = Future()
        self.worker.call(function, done.set_result)
        return done

    def close(self) -> None:
        closing = threading.Thread(target=self.worker.close)
        closing.start()
        closing.join(WAIT_S)
        assert not closing.is_alive(), "close hangs"

    def _condition(self, request: Request) -> Any:
        error, self.condition_error = self.condition_error, None
        if error:
            raise error
        return self._loaded.speakers["Ada"]

    def _step(self, cache: SlotCache, rows: int, positions: int) -> torch.Tensor:
        function, self.during_step = self.during_step, None
        if function:
            function()
        error, self.step_error = self.step_error, None
        if error:
            raise error
        return self._decoder.step(cache, rows, positions)


class Held:
    """Keeps the worker's thread within a turn, before its work, while the context lasts."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._entered, self._released = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        self._done = self._device.calling(self._hold)
        assert self._entered.wait(WAIT_S)

    def __exit__(self, *_: object) -> None:
        self._released.set()
        assert self._done.result(WAIT_S) is None

    def _hold(self) -> None:
        self._entered.set()
        assert self._released.wait(WAIT_S)
