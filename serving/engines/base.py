"""What every engine speaks: requests in, chunks of audio out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from serving.audio.pcm import Pcm
from serving.engines.pronunciation import Pronunciations
from serving.errors import Overloaded

__all__ = [
    "EngineInfo",
    "EngineStats",
    "FinishReason",
    "Pcm",
    "PendingRevision",
    "Sampling",
    "SpeechChunk",
    "SpeechEngine",
    "SpeechRequest",
    "SpeechService",
    "TextNormalization",
    "Voice",
]


FinishReason = Literal["stop", "length"]
TextNormalization = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks: a preset of the model, or a reference to clone.

    ``references`` are recordings of it: WAV files, or anything that FFmpeg decodes; ``conditioning`` is the directory
    in which the engine may keep what it computes from them (``<model>@<revision>.safetensors``). ``pronunciations`` is
    where its dictionary is, if it has one.
    """

    id: str
    preset: str | None = None
    language: str | None = None
    references: tuple[Path, ...] = ()
    conditioning: Path | None = None
    pronunciations: Path | None = None


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
    ``revision`` is the model's for which it is meant, where that is still there beside the one that came after it.
    ``pronunciations`` go before the voice's own; ``text_normalization`` says whether numbers and the like become words.
    """

    text: str
    voice: Voice
    language: str
    speed: float = 1.0
    seed: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    heard_in_s: float | None = None
    revision: str | None = None
    pronunciations: Pronunciations = ()
    text_normalization: TextNormalization = "auto"


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of audio: ``pcm`` float32 [samples] in -1..1, mono, at ``sample_rate`` Hz.

    ``input_tokens`` and ``output_tokens`` count what this chunk added to the request's usage. The last chunk of a
    sentence may say why it ended: "stop" by itself, "length" when it was cut because it did not end. The first chunk
    of a stream says which ``revision`` speaks, if the model may be exchanged.
    """

    pcm: Pcm
    sample_rate: int
    input_tokens: int = 0
    output_tokens: int = 0
    finish_reason: FinishReason | None = None
    revision: str | None = None

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.sample_rate


@dataclass(frozen=True, slots=True)
class PendingRevision:
    """The revision that is current on the volume and does not serve: it is being loaded, or could not be."""

    revision: str
    state: Literal["loading", "failed"]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is. ``model`` is the id that clients use, ``name`` the engine ("xtts", "espeak").

    ``clones``: it speaks with a reference's voice; ``samples``: it heeds ``Sampling``. ``pending`` is None where what
    serves is what should.
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
    pending: PendingRevision | None = None


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

    def refusal(self) -> Overloaded | None:
        """Why a new request would be refused now, told before anything is done for it; None while there is room."""
        return None

    def entering(self) -> AbstractContextManager[Overloaded | None]:
        """A request has come and will ask for a stream. The block is given why it is refused; None while there is room.

        Unlike ``refusal`` it counts those that came before and have not asked yet.
        """
        return nullcontext(self.refusal())

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

    async def similarity(self, voice: Voice) -> float | None:
        """The lowest cosine between the speaker embeddings of stretches of the references: low for several people.

        None without a speaker encoder, or where there is too little to compare. Raises as ``prepare`` does.
        """
        return None

    @abstractmethod
    async def check(self) -> None:
        """Return when speech can be made now; raise Unavailable otherwise."""


class SpeechEngine(SpeechService):
    """A model on a device in this process."""

    @abstractmethod
    def stats(self) -> EngineStats:
        """Current load."""

    async def forget_deleted(self) -> None:
        """Drop from memory what was computed from recordings that are no longer there."""

    @abstractmethod
    async def close(self) -> None:
        """Release the device and the worker thread."""
