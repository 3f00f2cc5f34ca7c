"""A recording in another voice, as a stream: windows are converted while more of it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import numpy as np

from serving.audio.pcm import Pcm
from serving.audio.resample import StreamResampler
from serving.engines.base import SpeechChunk
from serving.engines.conversion import ConversionOptions, ConversionVoice, VoiceConverter
from serving.engines.rvc.loudness import LoudnessMix
from serving.engines.rvc.windows import CONTEXT, GROWTH_S, HOP, RATE, WHOLE_S, Window, WindowCutter

AHEAD = 2
"""Windows of one recording that are converted at a time: the device has work while a result travels."""

SEED_STRIDE = 1_000_003
"""Between the windows' seeds."""


async def convert_stream(
    converter: VoiceConverter,
    recording: AsyncIterator[SpeechChunk],
    voice: ConversionVoice,
    options: ConversionOptions,
    seed: int,
    *,
    whole: bool = False,
) -> AsyncGenerator[SpeechChunk, None]:
    """``recording`` in ``voice`` at its sample rate, as long as the recording to the sample.

    What comes out depends on the samples, not on the chunks that they come in. ``whole`` costs less and gives its first
    sound later: for a recording that is there, and whose result nobody listens to before it is whole. Raises what
    ``convert`` raises.
    """
    work = _Conversion(converter, voice, options, seed, WindowCutter(WHOLE_S if whole else GROWTH_S))
    pieces = aiter(recording)
    reading: asyncio.Task[SpeechChunk | None] | None = _read(pieces)
    try:
        while reading or work.running:
            await asyncio.wait(work.awaited(reading), return_when=asyncio.FIRST_COMPLETED)
            if work.ready:
                if len(pcm := await work.next()):
                    yield SpeechChunk(pcm, voice.sample_rate)
            elif reading and reading.done():
                piece = await reading
                work.push(piece) if piece else work.finish()
                reading = _read(pieces) if piece else None
        if len(pcm := work.rest()):
            yield SpeechChunk(pcm, voice.sample_rate)
    finally:
        await work.cancel(reading)


def _read(pieces: AsyncIterator[SpeechChunk]) -> asyncio.Task[SpeechChunk | None]:
    """The next piece of the recording; None behind the last one."""

    async def read() -> SpeechChunk | None:
        return await anext(pieces, None)

    return asyncio.create_task(read())


class _Conversion:
    """One recording's windows on their way, and the joining of their results."""

    def __init__(
        self,
        converter: VoiceConverter,
        voice: ConversionVoice,
        options: ConversionOptions,
        seed: int,
        cutter: WindowCutter,
    ) -> None:
        self._converter, self._voice, self._options, self._seed = converter, voice, options, seed
        self._cutter = cutter
        self._loudness = LoudnessMix(options.rms_mix_rate, RATE, voice.sample_rate)
        self._resampler: StreamResampler | None = None
        self._rate = RATE
        self._received = self._returned = 0
        self._finished = False
        self._waiting: deque[Window] = deque()
        self.running: deque[tuple[Window, asyncio.Task[Pcm]]] = deque()

    def awaited(self, reading: asyncio.Task[SpeechChunk | None] | None) -> list[asyncio.Task[Any]]:
        """What to wait for: the next result, and more of the recording unless as much is under way as may be."""
        tasks: list[asyncio.Task[Any]] = [task for _, task in list(self.running)[:1]]
        return [*tasks, reading] if reading and not self._waiting else tasks

    @property
    def ready(self) -> bool:
        """The next result is there."""
        return bool(self.running) and self.running[0][1].done()

    def push(self, chunk: SpeechChunk) -> None:
        """More of the recording, all of it at one sample rate."""
        if self._resampler is None:
            self._resampler, self._rate = StreamResampler(chunk.sample_rate, RATE), chunk.sample_rate
        assert chunk.sample_rate == self._rate
        self._received += len(chunk.pcm)
        self._waiting += self._cutter.push(self._resampler.push(chunk.pcm))
        self._start()

    def finish(self) -> None:
        """The recording is over."""
        if self._resampler is not None:
            self._waiting += self._cutter.push(self._resampler.flush())
        self._waiting += self._cutter.finish()
        self._finished = True
        self._start()

    async def next(self) -> Pcm:
        """What can be given away after the first window under way."""
        window, task = self.running[0]
        converted = await task
        self.running.popleft()
        self._start()
        said = window.pcm[CONTEXT * HOP : CONTEXT * HOP + window.frames * HOP]
        return self._cut(self._loudness.push(said, converted))

    def rest(self) -> Pcm:
        return self._cut(self._loudness.finish())

    async def cancel(self, reading: asyncio.Task[SpeechChunk | None] | None) -> None:
        """Stop what is under way."""
        tasks: list[asyncio.Task[Any]] = [task for _, task in self.running]
        tasks += [reading] if reading else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self) -> None:
        while self._waiting and len(self.running) < AHEAD:
            window = self._waiting.popleft()
            seed = (self._seed + window.index * SEED_STRIDE) % 2**63
            call = self._converter.convert(window, self._voice, self._options, seed)
            self.running.append((window, asyncio.create_task(call)))

    def _cut(self, pcm: Pcm) -> Pcm:
        """``pcm`` without the padding of the last window: the output is as long as the input."""
        if self._finished:
            total = round(self._received * self._voice.sample_rate / self._rate)
            pcm = pcm[: max(0, total - self._returned)]
        self._returned += len(pcm)
        return np.clip(pcm, -1.0, 1.0)
