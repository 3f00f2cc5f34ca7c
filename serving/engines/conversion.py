"""What a voice converter speaks: windows of a recording in, the same in another voice out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from serving.audio.pcm import Pcm
from serving.engines.base import EngineStats

if TYPE_CHECKING:
    from serving.engines.rvc.windows import Window

F0Method = Literal["auto", "rmvpe", "fcpe", "crepe", "crepe-tiny"]
"""How pitch is found; auto takes rmvpe where its weights are on the volume, else fcpe."""


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """What RVC's users know, under its names; ranges are checked at the edge, and zero means zero.

    ``pitch`` and ``formant`` are semitones. ``index_rate`` is how much of the content comes from the voice's index,
    ``protect`` how much voiceless sounds are kept from it (0.5: not at all), ``filter_radius`` the median over f0 in
    frames, ``rms_mix_rate`` how much of its own loudness the result has (1: all), ``speaker`` the row of a voice with
    several.
    """

    pitch: float = 0.0
    f0_method: F0Method = "auto"
    index_rate: float = 0.75
    filter_radius: int = 3
    rms_mix_rate: float = 0.25
    protect: float = 0.33
    formant: float = 0.0
    speaker: int = 0


@dataclass(frozen=True, slots=True)
class ConversionVoice:
    """A voice on the volume: ``directory`` holds its files and never changes; ``sample_rate`` Hz is what it makes."""

    id: str
    directory: Path
    sample_rate: int


@dataclass(frozen=True, slots=True)
class ConversionVoiceFacts:
    """What an upload turned out to be. ``notes`` say where its own description disagrees with its weights."""

    version: Literal["v1", "v2"]
    sample_rate: int
    f0: bool
    speakers: int
    index_vectors: int = 0
    notes: tuple[str, ...] = ()


class VoiceConverter(ABC):
    """Conversion as its callers see it: a model in this process, or replicas behind a handle.

    All methods belong to one event loop; none blocks it.
    """

    @abstractmethod
    async def convert(self, window: Window, voice: ConversionVoice, options: ConversionOptions, seed: int) -> Pcm:
        """``window`` in ``voice``: float32 [window.frames * voice.sample_rate / 100] in -1..1, without its context.

        The same arguments give the same audio, whatever is converted beside it. Raises InvalidRequest for options that
        the voice cannot follow, ModelFilesError for missing or torn files, Overloaded, EngineError.
        """

    @abstractmethod
    async def ingest(self, weights: Path, index: Path | None, directory: Path) -> ConversionVoiceFacts:
        """Check an uploaded .pth and .index and write what ``convert`` reads into the empty ``directory``.

        Nothing in the files is run. Raises InvalidRequest naming ``file`` or ``index``; ``directory`` stays empty then.
        """

    @abstractmethod
    async def check(self) -> None:
        """Return when a window can be converted now; raise Unavailable otherwise."""


class ConversionEngine(VoiceConverter):
    """A converter on a device in this process."""

    @property
    @abstractmethod
    def device(self) -> str:
        """Where it computes."""

    @abstractmethod
    def stats(self) -> EngineStats:
        """Current load; a slot is a voice in memory."""

    @abstractmethod
    async def forget_deleted(self) -> None:
        """Drop from memory voices whose files are no longer there, once their recordings have come to an end."""

    @abstractmethod
    async def close(self) -> None:
        """Release the device and the worker thread."""
