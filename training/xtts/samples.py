"""Texts of the dataset spoken by the weights that are being trained, through the engine that will serve them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serving.audio.pcm import Audio
from serving.audio.wav import read_wav, wav_bytes
from serving.engines.base import SpeechRequest, Voice
from serving.engines.xtts import XttsEngine, XttsOptions
from serving.engines.xtts.checkpoint import LoadedXtts
from serving.errors import KubevoiceError
from serving.files import refusing
from training.dataset.metadata import Clip
from training.xtts.base import Base
from training.xtts.recogniser import Recogniser
from training.xtts.replacing import replacing
from training.xtts.scores import AudioScores, TextScores, score_audio, score_transcript
from training.xtts.snapshot import apart, snapshot
from training.xtts.speaker import SpeakerEncoder, seconds_per_character, shuffled, similarity, voice

SAMPLES_FILE = "samples.json"
"""Beside the WAV files of a step: what ``Sample.facts`` says of each."""

SLOTS = 2
"""Samples are spoken one by one, so that nothing but the weights decides how they sound; two is the fewest at which a
sentence can be read while another is spoken."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """What was measured of one recording of a text; ``relative_speaker_similarity`` is the cosine to the speaker's mean
    embedding, by XTTS's own encoder, and ``text`` is None without a recogniser."""

    audio: AudioScores
    relative_speaker_similarity: float | None
    text: TextScores | None


@dataclass(frozen=True, slots=True)
class Sample:
    """``clip`` of the validation set spoken by the model, and as its speaker said it in the dataset.

    ``ended`` is False where the engine had to cut it. ``speaker_pace`` is the speaker's seconds per character.
    """

    clip: Clip
    step: int
    seed: int
    speech: Audio = field(repr=False)
    ended: bool
    spoken: Heard
    recorded: Heard
    speaker_pace: float

    @property
    def file(self) -> str:
        return f"{self.clip.id}.wav"

    def facts(self) -> dict[str, Any]:
        """For samples.json."""
        clip = self.clip
        names = {"file": self.file, "clip": clip.id, "text": clip.text, "speaker": clip.speaker}
        measured = {"spoken": asdict(self.spoken), "recorded": asdict(self.recorded)}
        return {
            **names,
            "language": clip.language,
            "step": self.step,
            "seed": self.seed,
            "ended": self.ended,
            "speaker_seconds_per_character": self.speaker_pace,
            **measured,
        }


def choose(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Clips of the validation set, of as many speakers as there are; the same ones at every step."""
    ranked: dict[str, int] = {}
    order: list[tuple[int, int, Clip]] = []
    for clip in shuffled([clip for clip in clips if clip.split == "val"]):
        rank = ranked[clip.speaker] = ranked.get(clip.speaker, -1) + 1
        order.append((rank, len(order), clip))
    return [clip for _, _, clip in sorted(order, key=lambda item: item[:2])[:count]]


def speak(
    base: Base,
    gpt_state: Mapping[str, torch.Tensor],
    clips: Sequence[Clip],
    directory: Path,
    step: int,
    seed: int,
    *,
    count: int,
    recogniser: Recogniser | None = None,
) -> list[Sample]:
    """Speak ``count`` validation texts of ``clips``, a dataset, by the decoder ``gpt_state`` on the device of ``base``.

    ``directory/step-<n>/`` gets a WAV file for each, at the engine's rate, and ``samples.json``; it replaces what was
    there. The voice is the speaker's own, from clips to train on, and the seed the same at every step: two steps
    differ by their weights alone. A text that cannot be spoken is logged and left out. Takes one copy of the model
    while it speaks; no generator moves on. Raises StorageError, and ModelFilesError for weights that are not finite.
    """
    chosen = choose(clips, count)
    if not chosen:
        return []
    with apart(base.device):
        loaded = snapshot(base, gpt_state)
        encoder = SpeakerEncoder.of(loaded)
        means = {speaker: encoder.mean(clips, speaker) for speaker in {clip.speaker for clip in chosen}}
        spoken = asyncio.run(_speak_all(loaded, clips, chosen, seed))
        del loaded

        def hear(audio: Audio, clip: Clip) -> Heard:
            likeness = similarity(encoder.embed(audio), means[clip.speaker])
            heard = recogniser.transcribe(audio, clip.language) if recogniser else None
            text = None if heard is None else score_transcript(clip.text, heard, clip.language)
            return Heard(score_audio(audio, clip.text), likeness, text)

        samples = [
            Sample(
                clip,
                step,
                seed,
                speech,
                ended,
                hear(speech, clip),
                hear(read_wav(clip.path), clip),
                seconds_per_character(clips, clip.speaker),
            )
            for clip, speech, ended in spoken
        ]
    _write(samples, directory / f"step-{step}")
    return samples


async def _speak_all(
    loaded: LoadedXtts, clips: Sequence[Clip], chosen: Sequence[Clip], seed: int
) -> list[tuple[Clip, Audio, bool]]:
    """Each clip's text as audio, and whether it ended by itself."""
    seconds = loaded.config.gpt_cond_len
    spoken = []
    async with engine_of(loaded) as engine:
        for clip in chosen:
            try:
                speech, ended = await say(engine, clip.text, clip.language, voice(clips, clip.speaker, seconds), seed)
            except KubevoiceError as error:
                logger.warning("the text of clip %s was not spoken: %s", clip.id, error)
            else:
                spoken.append((clip, speech, ended))
    return spoken


@asynccontextmanager
async def engine_of(loaded: LoadedXtts) -> AsyncIterator[XttsEngine]:
    """A small engine, closed at the end; ``loaded`` gives its decoder and vocoder away."""
    engine = XttsEngine(loaded, model="xtts", revision="training", options=XttsOptions(slots=SLOTS, cuda_graphs=False))
    try:
        yield engine
    finally:
        await engine.close()


async def say(engine: XttsEngine, text: str, language: str, voice: Voice, seed: int) -> tuple[Audio, bool]:
    """``text`` as audio, and whether every sentence of it ended by itself; raises what ``SpeechEngine.stream`` does."""
    pcm, ended = [np.zeros(0, np.float32)], True
    async for chunk in engine.stream(SpeechRequest(text, voice, language, seed=seed)):
        pcm.append(chunk.pcm)
        ended = ended and chunk.finish_reason != "length"
    return Audio(np.concatenate(pcm), (await engine.info()).sample_rate), ended


def _write(samples: Sequence[Sample], target: Path) -> None:
    with replacing(target) as folder, refusing(target):
        for sample in samples:
            (folder / sample.file).write_bytes(wav_bytes(sample.speech.pcm, sample.speech.sample_rate))
        facts = json.dumps([sample.facts() for sample in samples], indent=2, ensure_ascii=False)
        (folder / SAMPLES_FILE).write_text(facts, encoding="utf-8")
