"""A job's audio as one download, made of its items' files while it is sent; the same bytes every time."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from serving.audio.encode import OUTPUT_RATE, Encoder
from serving.audio.wav import UNKNOWN_SIZE, read_wav, wav_header
from serving.store.job_items import JobItem

SAMPLE_BYTES = 2
BLOCK = 64 * 1024
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Date of a ZIP's entries: the earliest that there is, so that the file does not depend on when it is made."""

MANIFEST = "items.jsonl"


def joined(items: Iterable[JobItem], audio_format: str, samples: int) -> Iterator[bytes]:
    """One file in ``audio_format`` of the spoken ``items``, which have ``samples`` samples together."""
    plain = audio_format == "wav"
    head = (
        wav_header(OUTPUT_RATE, _declared(samples)) if plain else b""
    )  # leaves with audio: a lost file is found first
    encoder = Encoder("pcm" if plain else audio_format)
    try:
        for item in items:
            assert item.audio is not None
            audio = read_wav(item.audio)
            if data := head + encoder.encode(audio.pcm, audio.sample_rate):
                yield data
                head = b""
        yield head + encoder.finish()
    finally:
        encoder.close()


def joined_bytes(audio_format: str, samples: int) -> int | None:
    """How long ``joined`` is; None where that depends on the codec."""
    raw = samples * SAMPLE_BYTES
    return {"pcm": raw, "wav": raw + len(wav_header(OUTPUT_RATE))}.get(audio_format)


def zipped(items: Iterable[JobItem], suffix: str) -> Iterator[bytes]:
    """A ZIP file of the spoken ``items``, named by their numbers, with a line about each item in ``items.jsonl``."""
    sink = _Sink()
    lines = []
    with zipfile.ZipFile(cast("IO[bytes]", sink), "w", zipfile.ZIP_STORED) as archive:
        for item in items:
            name = f"{item.number:05}.{suffix}" if item.audio else None
            lines.append(_line(item, name))
            if item.audio is not None and name is not None:
                yield from _entry(archive, sink, name, item.audio)
        archive.writestr(zipfile.ZipInfo(MANIFEST, EPOCH), "".join(lines))
    yield sink.take()


def _entry(archive: zipfile.ZipFile, sink: _Sink, name: str, path: Path) -> Iterator[bytes]:
    with path.open("rb") as file, archive.open(zipfile.ZipInfo(name, EPOCH), "w") as entry:
        while block := file.read(BLOCK):
            entry.write(block)
            yield sink.take()


def _line(item: JobItem, name: str | None) -> str:
    facts = {
        "number": item.number,
        "state": item.state,
        "file": name,
        "seconds": item.samples / OUTPUT_RATE,
        "text": item.text,
        "error": item.error,
    }
    return json.dumps(facts, ensure_ascii=False) + "\n"


def _declared(samples: int) -> int:
    """The data's size in a WAV header, whose numbers have 32 bits."""
    size = samples * SAMPLE_BYTES
    return size if size + 36 < UNKNOWN_SIZE else UNKNOWN_SIZE


class _Sink:
    """A file that can only be written; zipfile puts sizes behind the data then."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken = bytes(self._data)
        self._data.clear()
        return taken
