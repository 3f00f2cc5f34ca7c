"""RVC as an engine: any voice on the volume, windows of many recordings, one device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from serving.audio.pcm import Pcm
from serving.engines.base import EngineStats
from serving.engines.conversion import (
    ConversionEngine,
    ConversionOptions,
    ConversionVoice,
    ConversionVoiceFacts,
)
from serving.engines.hifigan import Precision
from serving.engines.rvc.batcher import Batcher
from serving.engines.rvc.content import MIN_SAMPLES, ContentEncoder
from serving.engines.rvc.pipeline import Job, convert
from serving.engines.rvc.pitch.base import PitchMethod
from serving.engines.rvc.pitch.registry import choose, open_pitch
from serving.engines.rvc.shared import CONTENT_DIRECTORY
from serving.engines.rvc.voices import VoiceCache, ingest
from serving.engines.rvc.windows import Window
from serving.engines.xtts.device import select_device
from serving.errors import Unavailable

STALLED_S = 60.0
"""A batch that takes so long is taken for stuck."""

PROBE_S = 10.0

PAUSE_S = 10.0
"""Longest pause between two windows of a recording after which it goes on although its voice was deleted meanwhile."""

TOGETHER = {"cpu": 1, "cuda": 8}
"""Windows of one voice that are converted at a time; a CPU is busy with one."""


@dataclass(frozen=True, slots=True)
class RvcOptions:
    """``voice_bytes``: memory for voices, about 110 MB each, 250 MB on a CPU, with 92 MB per 10 minutes of index, half
    that in float16.

    ``queue``: windows that may wait. ``precision`` is the synthesizer's decoder's.
    """

    voice_bytes: int = 2 * 1024**3
    queue: int = 64
    precision: Precision = "tf32"


@dataclass(frozen=True, slots=True)
class _Work:
    job: Job
    voice: ConversionVoice
    method: str


_Task = _Work | Callable[[], None]


class RvcConverter(ConversionEngine):
    """The shared networks and the voices in use on one device, owned by one thread."""

    def __init__(self, content: ContentEncoder, shared: Path, options: RvcOptions) -> None:
        device = content.device
        self._content = content
        self._shared = shared
        self._pitch: dict[str, PitchMethod] = {}
        self._voices = VoiceCache(device, options.precision, options.voice_bytes)
        self._batcher: Batcher[_Task, Pcm | None] = Batcher(
            "rvc", device, self._process, _kind, most=TOGETHER[device.type], queue=options.queue
        )

    @classmethod
    def load(
        cls, shared: Path, *, device: str = "auto", fallback_cpu: bool = False, options: RvcOptions | None = None
    ) -> RvcConverter:
        """Load the content encoder from ``shared`` (``models/shared`` of the volume); takes seconds: not on a loop.

        Raises ModelFilesError for files that are missing or wrong, ConfigurationError for a device that is not there.
        """
        chosen = select_device(device, fallback_cpu=fallback_cpu)
        dtype = torch.float16 if chosen.type == "cuda" else torch.float32
        return cls(ContentEncoder.load(shared / CONTENT_DIRECTORY, chosen, dtype), shared, options or RvcOptions())

    @property
    def device(self) -> str:
        return str(self._content.device)

    async def convert(self, window: Window, voice: ConversionVoice, options: ConversionOptions, seed: int) -> Pcm:
        work = _Work(Job(window, options, seed), voice, choose(options.f0_method, self._shared))
        pcm = await asyncio.wrap_future(self._batcher.submit(work))
        assert pcm is not None
        return pcm

    async def ingest(self, weights: Path, index: Path | None, directory: Path) -> ConversionVoiceFacts:
        return await asyncio.to_thread(ingest, weights, index, directory)

    async def check(self) -> None:
        """Idle: use the device. Busy: no batch may take a minute."""
        if not self._batcher.alive:
            raise Unavailable("the converter is closed")
        if self._batcher.load[0]:
            if self._batcher.stuck_s > STALLED_S:
                raise Unavailable(f"the converter has made no progress for {self._batcher.stuck_s:.0f} s")
            return
        try:
            async with asyncio.timeout(PROBE_S):
                await asyncio.wrap_future(self._batcher.submit(self._probe))
        except TimeoutError as error:
            raise Unavailable(f"the device {self.device} does not compute") from error

    def stats(self) -> EngineStats:
        active, queued, age = self._batcher.load
        return EngineStats(active=active, queued=queued, queue_age_s=age, slots_used=len(self._voices))

    async def forget_deleted(self) -> None:
        await asyncio.to_thread(self._voices.forget_deleted, PAUSE_S)

    async def close(self) -> None:
        await asyncio.to_thread(self._batcher.close)

    def _process(self, tasks: Sequence[_Task]) -> Sequence[Pcm | None]:
        works = [task for task in tasks if isinstance(task, _Work)]
        if not works:
            for task in tasks:
                assert not isinstance(task, _Work)
                task()
            return [None] * len(tasks)
        voice = self._voices.get(works[0].voice)
        return convert(
            [work.job for work in works],
            voice.synthesizer,
            voice.retrieval,
            self._content,
            lambda: self._method(works[0].method),
        )

    def _method(self, name: str) -> PitchMethod:
        """Opened when it is first asked for, and kept."""
        if name not in self._pitch:
            self._pitch[name] = open_pitch(name, self._shared, self._content.device)
        return self._pitch[name]

    def _probe(self) -> None:
        features = self._content.features(torch.zeros(1, MIN_SAMPLES), [MIN_SAMPLES], "v2")
        if not features.isfinite().all():
            raise Unavailable(f"the device {self.device} does not compute: the content features are not finite")


def _kind(task: _Task) -> Hashable:
    """What can be converted together: one voice, one way to find pitch."""
    return (task.voice.directory, task.method) if isinstance(task, _Work) else None
