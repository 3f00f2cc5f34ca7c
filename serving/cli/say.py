"""``kubevoice say``: speech without a server."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.context import Data, model_store, settings_with
from serving.cli.terminal import working
from serving.errors import InvalidRequest, NotFound, StorageError

if TYPE_CHECKING:
    from serving.engines.base import EngineInfo, SpeechEngine, SpeechRequest, Voice
    from serving.settings import Settings

Write = Callable[[bytes], object]

STANDARD = Path("-")
SUFFIXES = {"ogg": "opus", "oga": "opus", "raw": "pcm"}
"""File suffixes that are not the name of their format."""


def register(app: typer.Typer) -> None:
    app.command(epilog='Example: kubevoice say "Hello." -o hello.mp3    echo Hello. | kubevoice say - -o - | aplay')(
        say
    )


def say(
    text: Annotated[str, typer.Argument(help="What to say; - reads it from standard input.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write; - writes to standard output.")],
    *,
    voice: Annotated[str, typer.Option(help="A voice's name or id, or a preset.")] = "default",
    language: Annotated[str | None, typer.Option(help="Language code, such as en or de.", show_default=False)] = None,
    speed: Annotated[float, typer.Option(min=0.25, max=4.0, help="1 is normal, 2 is twice as fast.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Makes the audio repeatable.", show_default=False)] = None,
    audio_format: Annotated[
        str | None,
        typer.Option("--format", help="mp3, opus, aac, flac, wav or pcm.", show_default="from the suffix, else wav"),
    ] = None,
    data: Data = None,
) -> None:
    """Speak a text into an audio file; no server is needed."""
    from serving.selection import open_engine

    chosen = _format(output, audio_format)
    spoken = _standard_input() if text == "-" else text
    if not spoken.strip():
        raise InvalidRequest("the text is empty; give something to say", param="text")
    settings = settings_with(data)
    with working("loading the engine"):
        engine = open_engine(settings, model_store(settings))

    def request(info: EngineInfo) -> SpeechRequest:
        from serving.engines.base import SpeechRequest

        found = _resolve(voice, info, settings)
        return SpeechRequest(spoken, found, language or found.language or settings.voices.language, speed, seed)

    with working("speaking"):
        report = asyncio.run(_say(engine, request, output, chosen))
    typer.echo(report, err=True)


async def _say(engine: SpeechEngine, request: Callable[[EngineInfo], SpeechRequest], output: Path, chosen: str) -> str:
    """Everything on the engine's one event loop; returns a line about the result."""
    try:
        info = await engine.info()
        asked = request(info)
        started = time.perf_counter()
        with _writing(output, chosen) as write:
            seconds = await _speak(engine, asked, "pcm" if _is_wav_file(output, chosen) else chosen, write)
    finally:
        await engine.close()
    factor = (time.perf_counter() - started) / seconds
    return f"{info.model}: {seconds:.2f} s of audio, real-time factor {factor:.3f}"


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"standard input is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}); convert it, for "
            "example with: iconv -f latin1 -t utf-8",
            param="text",
        ) from None


def _format(output: Path, chosen: str | None) -> str:
    from serving.audio.encode import FORMATS

    suffix = output.suffix.removeprefix(".").lower()
    name = chosen or ("wav" if output == STANDARD else SUFFIXES.get(suffix, suffix))
    if name not in FORMATS:
        what = f"format {name!r}" if chosen else f"the suffix of {output}"
        raise InvalidRequest(f"{what} is not known; take one of {', '.join(FORMATS)}", param="format")
    return name


def _is_wav_file(output: Path, chosen: str) -> bool:
    """A wav stream has no true length in its header; a wav file gets one by the standard library."""
    return chosen == "wav" and output != STANDARD


def _resolve(name: str, info: EngineInfo, settings: Settings) -> Voice:
    from serving.cli.voices_on_demand import VoicesOnDemand
    from serving.selection import resolve_voice

    try:
        voice = resolve_voice(name, info=info, settings=settings.voices, voices=VoicesOnDemand(settings))
    except NotFound:
        presets = f"; presets are {', '.join(info.presets[:8])}" if info.presets else ""
        raise NotFound(
            f"there is no voice {name!r}; list yours with: kubevoice voices list{presets}", "voice"
        ) from None
    if voice.references and not info.clones:
        typer.echo(f"note: {info.model} does not clone voices; a preset speaks for {name!r}", err=True)
    return voice


async def _speak(engine: SpeechEngine, request: SpeechRequest, audio_format: str, write: Write) -> float:
    """Write the speech as it is made; returns its length in seconds."""
    from serving.audio.encode import Encoder

    encoder, seconds = Encoder(audio_format), 0.0
    try:
        async for chunk in engine.stream(request):
            write(encoder.encode(chunk.pcm, chunk.sample_rate))
            seconds += chunk.seconds
            if chunk.finish_reason == "length":
                typer.echo("note: a sentence was cut because it did not end; try another --seed", err=True)
        write(encoder.finish())
    finally:
        encoder.close()
    if not seconds:
        raise InvalidRequest("the text has nothing that can be spoken", param="text")
    return seconds


@contextmanager
def _writing(output: Path, chosen: str) -> Iterator[Write]:
    """What takes the bytes: standard output, or a temporary file that becomes ``output`` when all went well."""
    if output == STANDARD:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    if output.exists() and not output.is_file():
        raise InvalidRequest(f"{output} is not a regular file; give a file name, or - for standard output", "output")
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    try:
        with _file(temporary, chosen) as write:
            yield write
        temporary.replace(output)
    except OSError as error:
        raise StorageError(f"cannot write {output}: {error.strerror or error}; choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _file(path: Path, chosen: str) -> Iterator[Write]:
    from serving.audio.encode import OUTPUT_RATE

    with path.open("xb") as file:
        if chosen == "wav":
            with wave.open(file, "wb") as wav:
                wav.setnchannels(1)
                wav.setsampwidth(2)
                wav.setframerate(OUTPUT_RATE)
                yield wav.writeframes
        else:
            yield file.write
        file.flush()
        os.fsync(file.fileno())
