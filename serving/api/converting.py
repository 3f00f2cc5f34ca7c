"""Chunks of speech in another voice, at the rate that was asked for and as long as what was said."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.api.caller import tenant
from serving.api.context import Context
from serving.api.conversion_schemas import LOWEST_RATE, ConversionFields
from serving.audio.encode import FORMATS, format_named
from serving.audio.pcm import Pcm
from serving.audio.resample import StreamResampler
from serving.engines.base import SpeechChunk
from serving.engines.conversion import ConversionOptions, ConversionVoice, ConversionVoiceFacts, VoiceConverter
from serving.engines.rvc.stream import convert_stream
from serving.engines.rvc.windows import Window
from serving.errors import InvalidRequest, NotFound, RequestError
from serving.store.conversion_models import ConversionModel


@dataclass(frozen=True)
class Conversion:
    """What to convert into, and the rate of the result in Hz."""

    model: ConversionModel
    options: ConversionOptions
    sample_rate: int


async def conversion_of(
    fields: ConversionFields, audio_format: str, context: Context, *, default_rate: int = 0, param: str = ""
) -> Conversion:
    """What ``fields`` ask for; ``param`` is what their names begin with in errors.

    Raises NotFound for an unknown model, InvalidRequest for a speaker that it does not have or a rate that
    ``audio_format`` does not take.
    """
    try:
        model = await asyncio.to_thread(context.conversion_models.get, tenant(), fields.model)
    except NotFound as error:
        raise NotFound(error.message, f"{param}model", error.code) from None
    if fields.speaker >= model.speakers:
        raise InvalidRequest(
            f"{param}speaker {fields.speaker} is not in {model.name}, which has {model.speakers}; count from 0",
            f"{param}speaker",
        )
    asked = default_rate if fields.sample_rate is None else fields.sample_rate
    spec = format_named(audio_format)
    rate = asked or spec.nearest_rate(model.sample_rate)
    if rate < LOWEST_RATE or not spec.takes(rate):
        rates = ", ".join(map(str, spec.rates)) or f"{LOWEST_RATE} to 48000"
        raise InvalidRequest(
            f"{param}sample_rate {rate} is not possible in {audio_format}; take one of {rates}, or 0",
            f"{param}sample_rate",
        )
    return Conversion(model, fields.options(), rate)


def new_seed(asked: int | None) -> int:
    """The seed that was asked for, else any."""
    return secrets.randbelow(2**32) if asked is None else asked


def labels(conversion: Conversion) -> dict[str, str]:
    """Headers that say what a response is."""
    return {
        "X-Kubevoice-Conversion": conversion.model.id,
        "X-Kubevoice-Sample-Rate": str(conversion.sample_rate),
    }


def media_type(audio_format: str, sample_rate: int) -> str:
    """The Content-Type; samples without a header say their rate in it."""
    plain = FORMATS[audio_format].media_type
    return f"{plain};rate={sample_rate}" if audio_format == "pcm" else plain


async def converted(
    context: Context,
    recording: AsyncGenerator[SpeechChunk, None],
    conversion: Conversion,
    seed: int,
    *,
    param: str = "",
    whole: bool = False,
) -> AsyncGenerator[SpeechChunk, None]:
    """``recording`` converted; its usage and its cut sentences are carried along, and it is closed at the end.

    ``whole``: it is there, and its result is waited for; see ``convert_stream``.

    Raises what the converter and the recording raise: what has not been converted is never given away; InvalidRequest
    for an upload (without ``param``) of which nothing is left.
    """
    model = conversion.model
    voice = ConversionVoice(model.id, model.directory, model.sample_rate)
    heard = _Heard()
    result = _Result(heard, model.sample_rate, conversion.sample_rate)
    async with aclosing(recording):
        said = heard.listen(recording)
        converter = _Naming(context.converter, param)
        stream = convert_stream(converter, said, voice, conversion.options, seed, whole=whole)
        async with aclosing(said), aclosing(stream):
            async for chunk in stream:
                yield result.chunk(chunk.pcm)
        rest = result.rest()
        if not param and not result.given:
            raise InvalidRequest(f"file is too short: at {conversion.sample_rate} Hz no sample of it is left", "file")
        yield rest
        while heard.cut:
            yield result.nothing()


class _Naming(VoiceConverter):
    """A converter whose errors name the field as the request calls it: ``param`` and then its own name."""

    def __init__(self, converter: VoiceConverter, param: str) -> None:
        self._converter, self._param = converter, param

    async def convert(self, window: Window, voice: ConversionVoice, options: ConversionOptions, seed: int) -> Pcm:
        try:
            return await self._converter.convert(window, voice, options, seed)
        except RequestError as error:
            raise type(error)(error.message, error.param and f"{self._param}{error.param}", error.code) from error

    async def ingest(self, weights: Path, index: Path | None, directory: Path) -> ConversionVoiceFacts:
        return await self._converter.ingest(weights, index, directory)

    async def check(self) -> None:
        await self._converter.check()


class _Heard:
    """Counts what a recording was."""

    def __init__(self) -> None:
        self.samples = self.rate = self.input_tokens = self.output_tokens = self.cut = 0
        self.revision: str | None = None

    async def listen(self, recording: AsyncIterator[SpeechChunk]) -> AsyncGenerator[SpeechChunk, None]:
        async for chunk in recording:
            self.revision = self.revision or chunk.revision
            self.samples += len(chunk.pcm)
            self.rate = chunk.sample_rate
            self.input_tokens += chunk.input_tokens
            self.output_tokens += chunk.output_tokens
            self.cut += chunk.finish_reason == "length"
            yield chunk


class _Result:
    """Makes chunks of converted samples: at the output's rate, with the usage since the last one."""

    def __init__(self, heard: _Heard, from_rate: int, to_rate: int) -> None:
        self._heard, self._rate = heard, to_rate
        self._resampler = StreamResampler(from_rate, to_rate)
        self.given = 0

    def chunk(self, pcm: Pcm) -> SpeechChunk:
        return self._counted(self._resampler.push(pcm))

    def rest(self) -> SpeechChunk:
        """What the resampler held back; it rounds, and the result is as long as the recording to the sample."""
        tail = self._resampler.flush()
        total = round(self._heard.samples * self._rate / self._heard.rate) if self._heard.rate else 0
        missing = max(0, total - self.given - len(tail))
        return self._counted(np.pad(tail, (0, missing))[: max(0, total - self.given)])

    def nothing(self) -> SpeechChunk:
        """No sound, for one more sentence that was cut."""
        return self._counted(np.zeros(0, np.float32))

    def _counted(self, pcm: Pcm) -> SpeechChunk:
        heard = self._heard
        self.given += len(pcm)
        tokens = heard.input_tokens, heard.output_tokens
        cut = heard.cut > 0
        heard.input_tokens = heard.output_tokens = 0
        heard.cut -= cut
        return SpeechChunk(pcm, self._rate, *tokens, "length" if cut else None, heard.revision)
