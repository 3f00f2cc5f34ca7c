"""``kubevoice check``: one sentence spoken by a running server, judged by a client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.errors import EngineError, InvalidRequest, Unavailable

if TYPE_CHECKING:
    import httpx2

TEXT = "This sentence proves that the service speaks."

SHORTEST_S, SHORTEST_S_PER_CHAR = 0.2, 0.02
LONGEST_S, LONGEST_S_PER_CHAR = 3.0, 0.5
"""Bounds of what can be speech of a text; people take 0.05 s per character, and 0.3 s of Chinese."""

PAUSE_S = 1.0
"""Between two questions whether a server is ready."""

CONNECT_S = 10.0
"""The most for one connection, so that a server whose address has just come is asked anew."""

SILENT_PEAK = 0.01
WAV_HEADER_BYTES = 44
SHOWN_CHARS = 300


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: kubevoice check http://127.0.0.1:8000")(check)


def check(
    url: Annotated[str, typer.Argument(help="Where the server is, such as http://127.0.0.1:8000.")],
    text: Annotated[str, typer.Option(help="What it has to say.")] = TEXT,
    voice: Annotated[str, typer.Option(help="A voice's name or id, or a preset.")] = "default",
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds for everything; a server that starts is waited for.")
    ] = 60.0,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with an API key or a token, where the server asks for one.", exists=True, dir_okay=False
        ),
    ] = None,
) -> None:
    """Have a running server say a sentence and listen to it; exit code 1 if it cannot or what comes is not speech.

    One that is not there or not ready yet is waited for. The proxy variables are honoured.
    """
    import httpx2

    deadline = time.monotonic() + timeout
    headers = {} if key_file is None else {"Authorization": f"Bearer {_key(key_file)}"}
    with httpx2.Client(base_url=url, timeout=timeout, headers=headers) as client, _explained(url, timeout):
        _await_ready(client, url, timeout, deadline)
        client.timeout = _left(deadline)
        began = time.perf_counter()
        body = {"model": "auto", "input": text, "voice": voice, "response_format": "wav"}
        with client.stream("POST", "/v1/audio/speech", json=body) as answer:
            if answer.status_code != 200:
                answer.read()
                raise EngineError(f"{url} does not speak: {_message(answer)}")
            audio, first = b"", 0.0
            for piece in answer.iter_raw():
                first = first or time.perf_counter() - began
                audio += piece
                if time.monotonic() > deadline:
                    raise Unavailable(f"{url} was still speaking after {timeout:g} s; allow more with --timeout")
        took = time.perf_counter() - began
    seconds = _judge(audio, text)
    engine, model = (answer.headers.get(f"x-kubevoice-{name}", "unknown") for name in ("engine", "model"))
    typer.echo(
        f"{model} on engine {engine}: first byte after {first:.2f} s, {seconds:.2f} s of audio, "
        f"real-time factor {took / seconds:.3f}"
    )


def _await_ready(client: httpx2.Client, url: str, timeout: float, deadline: float) -> None:
    """Return once the server is ready, having said what was waited for; raises the last reason at the ``deadline``."""
    import httpx2

    told = ""
    while True:
        left = _left(deadline)
        try:
            with _explained(url, timeout):
                answer = client.get("/readyz", timeout=httpx2.Timeout(left, connect=min(left, CONNECT_S)))
            if answer.status_code == 200:
                return
            raise Unavailable(f"{url} is not ready: {_message(answer)}")
        except Unavailable as error:
            if time.monotonic() + PAUSE_S > deadline:
                raise
            if error.message != told:
                typer.echo(f"waiting: {error.message}", err=True)
            told = error.message
        time.sleep(PAUSE_S)


def _left(deadline: float) -> float:
    """Seconds until then, and a moment to say that it has come."""
    return max(deadline - time.monotonic(), 0.1)


def _key(file: Path) -> str:
    """The key in ``file``, which no list of processes shows; raises InvalidRequest where there is none."""
    key = file.read_text(encoding="ascii", errors="replace").strip()
    if not key.isascii() or not key.isprintable() or not key or " " in key:
        raise InvalidRequest(
            f"--key-file {file} does not hold one key; write what kubevoice keys create prints", "key_file"
        )
    return key


def _judge(audio: bytes, text: str) -> float:
    """Seconds of speech in a streamed WAV file; raises EngineError when it cannot be speech of ``text``."""
    import numpy as np

    from serving.audio.pcm import to_float32

    if audio[:4] != b"RIFF" or audio[8:16] != b"WAVEfmt " or len(audio) < WAV_HEADER_BYTES:
        raise EngineError(f"what came is not a WAV file but begins with {audio[:16]!r}; is this a kubevoice server?")
    rate = int.from_bytes(audio[24:28], "little")
    samples = audio[WAV_HEADER_BYTES : len(audio) - len(audio) % 2]
    pcm = to_float32(np.frombuffer(samples, "<i2"))
    seconds = len(pcm) / max(rate, 1)
    shortest = max(SHORTEST_S, SHORTEST_S_PER_CHAR * len(text))
    longest = LONGEST_S + LONGEST_S_PER_CHAR * len(text)
    if not shortest <= seconds <= longest:
        raise EngineError(
            f"{seconds:.2f} s of audio came for a text that takes {shortest:.1f} to {longest:.1f} s; the server's log "
            "has more"
        )
    if float(np.abs(pcm).max()) < SILENT_PEAK:
        raise EngineError(f"{seconds:.2f} s of silence came; run kubevoice doctor on the server")
    return seconds


def _message(answer: httpx2.Response) -> str:
    """Our error object's sentence, or the beginning of whatever a proxy in between says."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        said = " ".join(answer.text.split())[:SHOWN_CHARS]
        return f"HTTP {answer.status_code}{f': {said}' if said else ''}"


@contextmanager
def _explained(url: str, timeout: float) -> Iterator[None]:
    """What goes wrong on the line, as one sentence."""
    import httpx2

    try:
        yield
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
        raise InvalidRequest(f"{url!r} is not an address; write it as http://host:port", "url") from None
    except httpx2.ConnectTimeout:
        raise Unavailable(f"cannot connect to {url}: nothing answers there") from None
    except httpx2.TimeoutException:
        raise Unavailable(f"{url} did not answer within {timeout:g} s; allow more with --timeout") from None
    except httpx2.ConnectError as error:
        raise Unavailable(f"cannot connect to {url}: {error}") from None
    except httpx2.HTTPError as error:
        raise Unavailable(f"{url} broke off: {str(error) or type(error).__name__}") from None
