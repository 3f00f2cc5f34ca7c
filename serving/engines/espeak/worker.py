"""espeak-ng in a process of its own: some texts make its C code overflow a buffer, which ends the process it runs in.

Both ways a message is a length (4 bytes, big-endian) and that many bytes. A request is JSON, the arguments of
``library.synthesise``; an answer is one byte, ``+`` before float32 samples or ``-`` before an error's text.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from typing import IO

import numpy as np

from serving.engines.base import Pcm
from serving.engines.espeak import library
from serving.errors import EngineError, InvalidRequest, Unavailable

TIMEOUT_S = 20.0
"""Longest that one sentence may take; espeak-ng needs milliseconds."""

EXIT_S = 2.0
"""Longest wait for the exit code of a process that has closed its pipes."""

_LENGTH = struct.Struct(">I")


class _Ended(Exception):
    """The process ended before it answered; the text is its exit code, negative for a signal."""


class EspeakProcess:
    """Starts the process on first use, and again after it died. For one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[[subprocess.Popen[bytes]], EspeakProcess] | None = None

    def synthesise(self, text: str, voice: str, variant: str, words_per_minute: int) -> Pcm:
        """Like ``library.synthesise``; raises InvalidRequest for a text that espeak-ng dies of or does not finish.

        The text is blamed only if the process speaks another one and then ends of it again; a process that does not
        speak at all raises Unavailable with its exit code.
        """
        with suppress(_Ended):
            return self._ask(text, voice, variant, words_per_minute)
        try:
            self._ask("ready", voice, variant, words_per_minute)
        except _Ended as ended:
            reason = f"espeak-ng cannot speak: its process ended with exit code {ended} in a self-test"
            raise Unavailable(f"{reason}; see the server's log and check its memory and installation") from ended
        try:
            return self._ask(text, voice, variant, words_per_minute)  # it may have been killed, or slow to start
        except _Ended as ended:
            message = "input has characters that espeak-ng fails on; leave out unusual ones"
            raise InvalidRequest(message, "input") from ended

    def close(self) -> None:
        """End the process; it starts again when it is used again."""
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _ask(self, *request: str | int) -> Pcm:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            _write(process.stdin, json.dumps(request).encode())
            answer = _read(process.stdout)
        except OSError:
            answer = b""
        finally:
            watchdog.cancel()
        if not answer:
            with suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_S)
            self.close()
            raise _Ended(process.returncode)
        if answer[:1] == b"-":
            raise EngineError(answer[1:].decode())
        return np.frombuffer(answer[1:], np.float32)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, "-c", f"from {__name__} import main; main()"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
            self._end = weakref.finalize(self, _stop, self._process)
        return self._process


def main() -> None:
    """The process: answer requests until standard input ends, as it does when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches the parent, which decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the C library prints must not mix with the answers
    while request := _read(sys.stdin.buffer):
        _write(answers, _answer(request))


def _answer(request: bytes) -> bytes:
    try:
        return b"+" + library.synthesise(*json.loads(request)).tobytes()
    except EngineError as error:
        return b"-" + error.message.encode()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with suppress(OSError):  # the rest of a request that it did not read any more
        process.communicate()


def _write(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)) + message)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes:
    """The next message; empty at the end, also at one within a message."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return b""
    (length,) = _LENGTH.unpack(head)
    message = pipe.read(length)
    return message if len(message) == length else b""
