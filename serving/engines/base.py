"""What every engine speaks: requests in, chunks of audio out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from serving.audio.pcm import Pcm

__all__ = [
    "EngineInfo",
    "EngineStats",
    "FinishReason",
    "Pcm",
    "Sampling",
    "SpeechChunk",
    "SpeechEngine",
    "SpeechRequest",
    "SpeechService",
    "Voice",
]


FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks: a preset of the model, or a reference to clone.

    ``references`` are recordings of it: WAV files, or anything that FFmpeg decodes; ``conditioning`` is the directory
    in which the engine may keep what it computes from them (``<model>@<revision>.safetensors``).
    """

    id: str
    preset: str | None = None
    language: str | None = None
    references: tuple[Path, ...] = ()
    conditioning: Path | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoder sampling; ``None`` takes the model's own value. Ranges are checked at the edge."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """One utterance. ``speed`` is a factor (2.0 is twice as fast); ``seed`` makes the audio repeatable.

    ``heard_in_s`` is None for a text from its beginning. For the rest of one it is the seconds of audio that come
    before and are still to be heard: no engine refuses it for being busy, and it may wait for that long.
    """

    text: str
    voice: Voice
    language: str
    speed: float = 1.0
    seed: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    heard_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of audio: ``pcm`` float32 [samples] in -1..1, mono, at ``sample_rate`` Hz.

    ``input_tokens`` and ``output_tokens`` count what this chunk added to the request's usage. The last chunk of a
    sentence may say why it ended: "stop" by itself, "length" when it was cut because it did not end.
    """

    pcm: Pcm
    sample_rate: int
    input_tokens: int = 0
    output_tokens: int = 0
    finish_reason: FinishReason | None = None

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.sample_rate


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is. ``model`` is the id that clients use, ``name`` the engine ("xtts", "espeak").

    ``clones``: it speaks with a reference's voice; ``samples``: it heeds ``Sampling``.
    """

    name: str
    model: str
    revision: str
    sample_rate: int
    languages: tuple[str, ...]
    presets: tuple[str, ...]
    clones: bool
    device: str
    samples: bool = True


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Plain numbers for metrics and autoscaling; times in seconds.

    ``active`` and ``queued`` count requests. ``slots_used`` of ``slots`` decode a sentence now. Rates are of the last
    seconds, ``first_audio_s`` and ``real_time_factor`` means of the latest requests; 0 where nothing was measured.
    """

    active: int = 0
    queued: int = 0
    queue_age_s: float = 0.0
    slots: int = 0
    slots_used: int = 0
    tokens_per_s: float = 0.0
    audio_s_per_s: float = 0.0
    first_audio_s: float = 0.0
    real_time_factor: float = 0.0


class SpeechService(ABC):
    """Text to speech as its callers see it: an engine in this process, or replicas behind a handle.

    All methods belong to one event loop; none blocks it.
    """

    @property
    def asleep(self) -> bool:
        """At the last check nothing was running, because nobody speaks; the next request starts it."""
        return False

    @abstractmethod
    async def info(self) -> EngineInfo:
        """Name, languages and presets of the loaded model."""

    @abstractmethod
    def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        """Speak ``request``, chunk by chunk; closing the generator stops the work.

        A text with nothing to say ("...") may end without a chunk. Raises InvalidRequest for a text or language the
        model cannot speak, EngineError when the engine fails.
        """

    @abstractmethod
    async def prepare(self, voice: Voice) -> None:
        """Compute and keep the conditioning of a cloned voice; raises InvalidRequest for unusable references."""

    @abstractmethod
    async def check(self) -> None:
        """Return when speech can be made now; raise Unavailable otherwise."""


class SpeechEngine(SpeechService):
    """A model on a device in this process."""

    @abstractmethod
    def stats(self) -> EngineStats:
        """Current load."""

    @abstractmethod
    async def close(self) -> None:
        """Release the device and the worker thread."""
