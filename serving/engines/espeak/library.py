"""espeak-ng by ctypes.

Constants and signatures: espeak-ng's public header ``speak_lib.h``. The library keeps all state in globals, and the
position of its pitch flutter survives even ``espeak_Terminate``: the same text would sound a little different each
time. So every utterance loads the library afresh (4 ms) and unloads it, under one lock for the process.
"""

from __future__ import annotations

import _ctypes
import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import espeakng_loader
import numpy as np

from serving.engines.base import Pcm
from serving.errors import EngineError

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
POS_CHARACTER = 1
PARAMETER_RATE = 1

SAMPLE_RATE = 22050
RATE_MIN, RATE_NORMAL, RATE_MAX = 80, 175, 450
"""Words a minute that espeak-ng can speak, and its default."""

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

_lock = threading.Lock()


class _VoiceEntry(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.POINTER(ctypes.c_char)),  # priority byte, then a NUL-terminated code, repeated
        ("identifier", ctypes.c_char_p),
    )


def languages() -> dict[str, str]:
    """The voice identifier ("roa/fr") of every language code ("fr-fr", in lower case) that espeak-ng speaks."""
    identifiers: dict[str, str] = {}
    with _library() as library:
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceEntry))
        entries = library.espeak_ListVoices(None)
        index = 0
        while entries[index]:
            entry = entries[index].contents
            code = ctypes.string_at(ctypes.addressof(entry.languages.contents) + 1).decode().lower()
            identifier = entry.identifier.decode()
            if _has_dictionary(code, identifier):
                identifiers.setdefault(code, identifier)
            index += 1
    return identifiers


def variants() -> tuple[str, ...]:
    """The numbered female and male voice variants: f1, f2, ... m1, m2, ..."""
    names = (path.name for path in (_data() / "voices" / "!v").iterdir())
    return tuple(sorted(name for name in names if name[0] in "fm" and name[1:].isdigit()))


def synthesise(text: str, voice: str, variant: str, words_per_minute: int) -> Pcm:
    """Speak ``text`` with the ``voice`` of an identifier; float32 [samples] at ``SAMPLE_RATE``.

    Blocks for about 1 % of the audio's duration. Some texts end the process: see ``worker``.
    """
    data = text.encode(errors="replace")  # a lone surrogate, which UTF-8 cannot write, becomes a question mark
    blocks: list[Pcm] = []

    def receive(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if count > 0:
            blocks.append(np.ctypeslib.as_array(samples, shape=(count,)).astype(np.float32) / 32768.0)
        return 0

    callback = _Callback(receive)  # a name of its own: ctypes does not keep it alive for the C side
    with _library() as library:
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(f"{voice}+{variant}".encode()) != 0:
            raise EngineError(f"espeak-ng has no voice {voice}+{variant}")
        library.espeak_SetParameter(PARAMETER_RATE, words_per_minute, 0)
        size = ctypes.c_size_t(len(data) + 1)
        failed = library.espeak_Synth(data, size, 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
    if failed:
        raise EngineError(f"espeak-ng failed with code {failed}")
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


@contextmanager
def _library() -> Iterator[ctypes.CDLL]:
    with _lock:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            folder = str(_data().parent).encode()
            rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, folder, INITIALIZE_DONT_EXIT)
            if rate != SAMPLE_RATE:
                raise EngineError(f"espeak-ng did not start with the data in {folder.decode()} (code {rate})")
            try:
                yield library
            finally:
                library.espeak_Terminate()
        finally:
            _ctypes.dlclose(library._handle)


def _has_dictionary(code: str, identifier: str) -> bool:
    """Whether the package has the dictionary of a voice; it lacks a few, and without one almost nothing is spoken."""
    words = (_data() / "lang" / identifier).read_text(errors="replace").split()
    name = words[words.index("dictionary") + 1] if "dictionary" in words else code.split("-", maxsplit=1)[0]
    return (_data() / f"{name}_dict").exists()


def _data() -> Path:
    return Path(espeakng_loader.get_data_path())
