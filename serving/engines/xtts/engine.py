"""XTTS v2 by coqui's own classes, one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from typing import Any

import torch

from serving.engines.base import (
    EngineInfo,
    EngineStats,
    Sampling,
    SpeechChunk,
    SpeechEngine,
    SpeechRequest,
    Voice,
)
from serving.engines.xtts.checkpoint import LoadedXtts, load_checkpoint
from serving.engines.xtts.conditioning import Conditioner
from serving.engines.xtts.device import select_device
from serving.engines.xtts.text import Piece, TextFrontEnd
from serving.engines.xtts.worker import Worker
from serving.errors import EngineError, KubevoiceError, Unavailable

logger = logging.getLogger(__name__)

CHUNK_TOKENS = 20
"""Audio tokens between two chunks of a stream: 0.93 s of audio, coqui's own default."""

STALLED_S = 120.0
"""Without a chunk for so long, a busy engine is taken for stuck: forty times a chunk on one CPU core."""

PROBE_S = 10.0


class XttsEngine(SpeechEngine):
    """One model on one device, owned by one thread.

    Requests are spoken first come, first served, sentence by sentence. A consumer that does not keep up pauses its own
    request only: at the end of a sentence the thread turns to the next one.
    """

    def __init__(self, loaded: LoadedXtts, *, model: str, revision: str) -> None:
        config = loaded.config
        self._loaded = loaded
        self._text = TextFrontEnd(loaded.model.tokenizer, config.languages, config.model_args.gpt_max_text_tokens)
        loaded.model.tokenizer = self._text
        self._conditioner = Conditioner(loaded, f"{model}@{revision}")
        self._info = EngineInfo(
            name="xtts",
            model=model,
            revision=revision,
            sample_rate=config.model_args.output_sample_rate,
            languages=self._text.languages,
            presets=tuple(loaded.speakers),
            clones=True,
            device=str(loaded.device),
        )
        self._tokens = 0
        loaded.model.gpt.gpt_inference.register_forward_hook(self._count_token)
        self._worker = Worker(f"xtts-{model}")

    @classmethod
    def load(
        cls, directory: Path, *, model: str, revision: str, device: str = "auto", fallback_cpu: bool = False
    ) -> XttsEngine:
        """Load a model directory; takes seconds to a minute, so call it off the event loop.

        Raises ModelFilesError for files that cannot be used, ConfigurationError for a device that is not there.
        """
        chosen = select_device(device, fallback_cpu=fallback_cpu)
        return cls(load_checkpoint(directory, chosen), model=model, revision=revision)

    async def info(self) -> EngineInfo:
        return self._info

    async def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        language = self._text.language(request.language)
        pieces = await asyncio.to_thread(self._text.pieces, request.text, language)
        async with contextlib.aclosing(self._worker.stream(self._speak(request, language, pieces))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def prepare(self, voice: Voice) -> None:
        await self._worker.call(functools.partial(self._guarded_latents, voice))

    async def check(self) -> None:
        """Idle: use the device. Busy: it must have made audio within two minutes."""
        if not self._worker.alive:
            raise Unavailable("the XTTS engine is closed")
        busy = self._worker.busy_s
        if busy is not None:
            if busy > STALLED_S:
                raise Unavailable(f"the XTTS engine has made no progress for {busy:.0f} s")
            return
        try:
            async with asyncio.timeout(PROBE_S):
                await self._worker.call(self._probe)
        except (TimeoutError, RuntimeError) as error:
            raise Unavailable(f"the device {self._info.device} does not compute: {error!r}") from error

    def stats(self) -> EngineStats:
        return self._worker.stats()

    async def close(self) -> None:
        await asyncio.to_thread(self._worker.close)

    def _speak(
        self, request: SpeechRequest, language: str, pieces: list[Piece]
    ) -> Generator[SpeechChunk | None, None, None]:
        """All chunks of ``request``; None between two sentences, where another request may have the model."""
        seed = secrets.randbits(32) if request.seed is None else request.seed
        with _typed_errors():
            latents = self._conditioner.latents(request.voice)
            options = {
                "gpt_cond_latent": latents.gpt_cond_latent,
                "speaker_embedding": latents.speaker_embedding,
                "speed": request.speed,
                "length_penalty": self._loaded.config.length_penalty,
                **self._sampling(request.sampling),
            }
            for index, piece in enumerate(pieces):
                if index:
                    yield None
                yield from self._speak_piece(piece, language, seed + index, options)

    def _speak_piece(
        self, piece: Piece, language: str, seed: int, options: dict[str, Any]
    ) -> Generator[SpeechChunk, None, None]:
        stream = self._loaded.model.inference_stream(piece.text, language, stream_chunk_size=CHUNK_TOKENS, **options)
        counted = self._tokens
        with _seeded(self._loaded.device, seed), contextlib.closing(stream):
            start = self._tokens
            text_tokens = piece.tokens
            for wav in stream:
                pcm = wav.float().cpu().numpy()
                yield SpeechChunk(pcm, self._info.sample_rate, text_tokens, self._tokens - counted)
                counted, text_tokens = self._tokens, 0
        if self._tokens - start >= self._loaded.model.gpt.max_gen_mel_tokens:
            logger.warning("a sentence of %d text tokens did not end within the longest audio", piece.tokens)

    def _sampling(self, sampling: Sampling) -> dict[str, Any]:
        config = self._loaded.config
        names = ("temperature", "top_k", "top_p", "repetition_penalty")
        asked = {name: getattr(sampling, name) for name in names}
        return {name: getattr(config, name) if value is None else value for name, value in asked.items()}

    def _count_token(self, *_: Any) -> None:
        """A forward hook: the decoder runs once per audio token."""
        self._tokens += 1

    def _guarded_latents(self, voice: Voice) -> None:
        with _typed_errors():
            self._conditioner.latents(voice)

    def _probe(self) -> None:
        model = self._loaded.model
        with torch.inference_mode():
            hidden = model.gpt.mel_embedding.weight[:1]
            if not model.gpt.mel_head(model.gpt.final_norm(hidden)).isfinite().all().item():
                raise RuntimeError("the decoder's output is not finite")


@contextlib.contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers from ``seed``, whatever was drawn before; the process's own sequence is left as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed % 2**63)
        yield


@contextlib.contextmanager
def _typed_errors() -> Iterator[None]:
    """Let our own errors pass and turn any other into an EngineError, logged with its stack."""
    try:
        yield
    except KubevoiceError:
        raise
    except Exception as error:
        logger.exception("XTTS failed")
        raise EngineError(f"XTTS failed on this request ({type(error).__name__}); the server's log has more") from error
