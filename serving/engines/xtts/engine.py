"""XTTS v2 as an engine: many requests at a time on one device."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from serving.audio.pcm import Audio
from serving.engines.base import (
    EngineInfo,
    EngineStats,
    Sampling,
    SpeechChunk,
    SpeechEngine,
    SpeechRequest,
    Voice,
)
from serving.engines.memory import give_back
from serving.engines.spoken import spoken_text
from serving.engines.transfer import to_device
from serving.engines.xtts.cache import DecoderShape, SlotCache
from serving.engines.xtts.checkpoint import Latents, LoadedXtts, load_checkpoint
from serving.engines.xtts.conditioning import Conditioner
from serving.engines.xtts.decoder import Decoder
from serving.engines.xtts.decoding import Decoding
from serving.engines.xtts.device import select_device
from serving.engines.xtts.frames import FrameGrid
from serving.engines.xtts.graphs import stepper
from serving.engines.xtts.options import XttsOptions
from serving.engines.xtts.ranges import check_ranges
from serving.engines.xtts.rates import Rates
from serving.engines.xtts.scheduler import UNHEARD_S, Scheduler
from serving.engines.xtts.sentence import Request, split
from serving.engines.xtts.text import TextFrontEnd
from serving.engines.xtts.vocoder import Vocoder
from serving.engines.xtts.vocoding import Vocoding
from serving.engines.xtts.worker import Worker
from serving.errors import ConfigurationError, EngineError, Unavailable

STALLED_S = 60.0
"""A turn of the worker that takes so long is taken for stuck: a hundred times what one takes on a CPU core."""

PROBE_S = 10.0


class XttsEngine(SpeechEngine):
    """One model on one device, owned by one thread.

    The sentences of all requests are decoded together; each request gets its audio in order, at its own pace. A
    consumer that does not keep up pauses its own request only.
    """

    def __init__(self, loaded: LoadedXtts, *, model: str, revision: str, options: XttsOptions | None = None) -> None:
        """``loaded`` gives its decoder and vocoder away: nothing else can be done with it afterwards."""
        options = options or XttsOptions()
        config, device = loaded.config, loaded.device
        self._loaded = loaded
        self._text = TextFrontEnd(loaded.model.tokenizer, config.languages, config.model_args.gpt_max_text_tokens)
        self._conditioner = Conditioner(loaded, f"{model}@{revision}")
        self._info = EngineInfo(
            name="xtts",
            model=model,
            revision=revision,
            sample_rate=config.model_args.output_sample_rate,
            languages=self._text.languages,
            presets=tuple(loaded.speakers),
            clones=True,
            device=str(device),
        )
        vocoder = Vocoder.from_generator(
            loaded.model.hifigan_decoder.waveform_decoder, device, options.vocoder_precision
        )
        loaded.model.hifigan_decoder.waveform_decoder = None
        self._decoder = Decoder.take(loaded.model.gpt, options.weights(device))
        limits = options.limits(device, self._decoder.shape)
        self._scheduler = Scheduler(limits)
        cache = _make_cache(self._decoder.shape, limits.slots, device, options.cache(device))
        step = stepper(self._decoder, cache, graphs=options.cuda_graphs)
        self._decoding = Decoding(self._decoder, self._scheduler, cache, step)
        self._vocoding = Vocoding(vocoder, self._scheduler, self._decoding.latents, self._info.sample_rate)
        self._preparing: set[asyncio.Future[None]] = set()
        self._rates = Rates()
        self._worker = Worker(
            f"xtts-{model}",
            device,
            self._scheduler,
            self._decoding,
            self._vocoding,
            self._latents,
            self._sampling,
        )

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        model: str,
        revision: str,
        device: str = "auto",
        fallback_cpu: bool = False,
        options: XttsOptions | None = None,
    ) -> XttsEngine:
        """Load a model directory; takes seconds to a minute, so call it off the event loop.

        Raises ModelFilesError for files that cannot be used, ConfigurationError for a device that is not there.
        """
        chosen = select_device(device, fallback_cpu=fallback_cpu)
        engine = cls(load_checkpoint(directory, chosen), model=model, revision=revision, options=options)
        give_back()
        return engine

    async def info(self) -> EngineInfo:
        return self._info

    async def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        check_ranges(request)
        language = self._text.language(request.language)
        pieces = await asyncio.to_thread(lambda: self._text.pieces(spoken_text(request), language))
        arriving: asyncio.Queue[SpeechChunk | BaseException | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(item: SpeechChunk | BaseException | None) -> None:
            if not _tell(loop, arriving.put_nowait, item):
                work.departed = True  # with its event loop

        work = Request(
            request,
            language,
            secrets.randbits(32) if request.seed is None else request.seed,
            FrameGrid.of(self._loaded.config.model_args, request.speed),
            deliver,
        )
        split(work, pieces, self._decoder.shape.max_audio)
        self._worker.submit(work)
        try:
            while (item := await arriving.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                if _hear(work, item) >= UNHEARD_S:
                    self._worker.wake()
                yield item
        finally:
            if not work.ended:
                work.departed = True
                self._worker.wake()

    async def synthesize(self, request: SpeechRequest) -> Audio:
        """All of ``request`` at once; the same samples as ``stream`` gives piece by piece."""
        chunks = [chunk.pcm async for chunk in self.stream(request)]
        return Audio(np.concatenate([np.zeros(0, np.float32), *chunks]), self._info.sample_rate)

    async def prepare(self, voice: Voice) -> None:
        await self._listen(functools.partial(self._conditioner.latents, voice))

    async def similarity(self, voice: Voice) -> float | None:
        found: list[float | None] = []
        await self._listen(lambda: found.append(self._conditioner.similarity(voice)))
        return found[0]

    async def forget_deleted(self) -> None:
        remembered = self._conditioner.remembered()
        gone = await asyncio.to_thread(lambda: [key for key, path in remembered if not path.exists()])
        if gone:
            await self._call(functools.partial(self._conditioner.forget, gone))

    async def check(self) -> None:
        """Idle: use the device. Busy with requests or with voices: no turn may take a minute."""
        if not self._worker.alive:
            raise Unavailable("the XTTS engine is closed")
        if self._scheduler.requests or self._preparing:
            if self._worker.stuck_s > STALLED_S:
                raise Unavailable(f"the XTTS engine has made no progress for {self._worker.stuck_s:.0f} s")
            return
        try:
            async with asyncio.timeout(PROBE_S):
                await self._call(self._probe)
        except (TimeoutError, RuntimeError) as error:
            raise Unavailable(f"the device {self._info.device} does not compute: {error!r}") from error

    def stats(self) -> EngineStats:
        waiting = len(self._scheduler.waiting())
        finished = tuple(self._scheduler.finished)
        tokens_per_s, audio_s_per_s = self._rates.at(self._decoding.tokens, self._vocoding.audio_s)
        return EngineStats(
            active=len(self._scheduler.requests) - waiting,
            queued=waiting,
            queue_age_s=self._scheduler.queue_age_s(),
            slots=self._scheduler.limits.slots,
            slots_used=len(self._scheduler.active),
            tokens_per_s=tokens_per_s,
            audio_s_per_s=audio_s_per_s,
            first_audio_s=fmean(first for first, _ in finished) if finished else 0.0,
            real_time_factor=fmean(factor for _, factor in finished) if finished else 0.0,
        )

    async def close(self) -> None:
        await asyncio.to_thread(self._worker.close)

    async def _listen(self, function: Callable[[], object]) -> None:
        """Run ``function`` on a voice's references; it takes the thread until it is done, whoever waits for it."""
        call = asyncio.ensure_future(self._call(function))
        self._preparing.add(call)
        call.add_done_callback(self._preparing.discard)
        await asyncio.shield(call)

    async def _call(self, function: Callable[[], object]) -> None:
        """Run ``function`` on the thread that owns the device."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def finish(error: BaseException | None) -> None:
            if not done.done():
                done.set_exception(error) if error else done.set_result(None)

        self._worker.call(function, lambda error: _tell(loop, finish, error))
        await done

    def _latents(self, request: Request) -> Latents:
        """On the device; raises what ``Conditioner.latents`` does."""
        latents = self._conditioner.latents(request.asked.voice)
        longest = max(len(sentence.piece.tokens) for sentence in request.sentences)
        frames = latents.gpt_cond_latent.shape[1]
        if frames + longest + 3 > self._decoder.shape.max_prompt:
            raise EngineError(f"voice {request.asked.voice.id!r} has {frames} conditioning latents, too many to speak")
        device = self._loaded.device
        return Latents(to_device(latents.gpt_cond_latent, device), to_device(latents.speaker_embedding, device))

    def _sampling(self, request: Request) -> Sampling:
        """What the request asks for, and the model's own values for the rest."""
        asked, config = request.asked.sampling, self._loaded.config
        return Sampling(
            config.temperature if asked.temperature is None else asked.temperature,
            config.top_k if asked.top_k is None else asked.top_k,
            config.top_p if asked.top_p is None else asked.top_p,
            config.repetition_penalty if asked.repetition_penalty is None else asked.repetition_penalty,
        )

    def _probe(self) -> None:
        if not self._decoder.computes():
            raise RuntimeError("the decoder's output is not finite")


def _make_cache(shape: DecoderShape, slots: int, device: torch.device, dtype: torch.dtype) -> SlotCache:
    """Raises ConfigurationError when ``slots`` do not fit on ``device``."""
    try:
        return SlotCache(shape, slots, device, dtype)
    except torch.OutOfMemoryError as error:
        size = slots * shape.slot_bytes(dtype) / 1e9
        raise ConfigurationError(
            f"{slots} slots take {size:.1f} GB and {device} has less; lower xtts.slots", "xtts.slots"
        ) from error


def _hear(work: Request, chunk: SpeechChunk) -> float:
    """Note that the consumer took ``chunk``; returns the most audio that the worker may have seen unheard before.

    What was delivered is read last: the worker may deliver at any moment, and then pause for it.
    """
    before = work.heard_s
    work.heard_s = before + chunk.seconds
    return work.delivered_s - before


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., object], item: object) -> bool:
    """Call ``function`` on ``loop``; False if that is gone, and whoever waited with it."""
    try:
        loop.call_soon_threadsafe(function, item)
    except RuntimeError:
        return False
    return True
