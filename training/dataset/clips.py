"""From a recording to its clips: cut, judged one by one, set to one loudness, written."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from serving.audio.pcm import Pcm
from serving.audio.wav import wav_bytes
from serving.errors import InvalidRequest, PayloadTooLarge
from serving.files import refusing
from serving.store.dataset_files import DatasetSpec
from training.dataset.base_model import BaseModel, Embedding
from training.dataset.facts import ClipFacts
from training.dataset.judgement import judge_sound, judge_text
from training.dataset.loudness import loudness, normalised
from training.dataset.measures import envelope, peak_db, snr, speech_share
from training.dataset.metadata import SAMPLE_RATE
from training.dataset.plain import clean_text
from training.dataset.segments import Bounds, Segment, bounds, join
from training.dataset.sources import Recording, Utterance
from training.dataset.transcription import Transcriber
from training.dataset.voice_activity import VoiceActivity
from training.dataset.waveform import Waveform, read_waveform

PREFERRED_S = 11.0
"""Longest stretch that is joined from shorter ones: trimming adds a little."""

SOME_CLIPPED = 1e-5
QUIET_LU = 3.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What works on every recording."""

    spec: DatasetSpec
    base: BaseModel
    activity: VoiceActivity
    transcriber: Transcriber | None


@dataclass(frozen=True, slots=True)
class Made:
    """The clips of a recording; ``embeddings`` are those of the clips that have a file, in their order."""

    clips: list[ClipFacts]
    embeddings: list[Embedding]


def make_clips(recording: Recording, folder: Path, relative: str, tools: Tools, heard: Callable[[float], None]) -> Made:
    """Write the clips of ``recording`` to ``folder``, which the dataset will have as ``relative``.

    What cannot be a clip is one with a reason. ``heard`` is told the seconds that were read and may raise to stop.
    Raises StorageError.
    """
    work = _Work(recording, folder, relative, tools)
    made = _make(recording, work, folder, tools, heard)
    for _ in range(recording.repeats):
        work.repeat()
    return made


def _make(recording: Recording, work: _Work, folder: Path, tools: Tools, heard: Callable[[float], None]) -> Made:
    if recording.path is None:
        return work.refuse("missing_file", f"{recording.name} is not there")
    with _spool(folder) as spool:
        try:
            waveform = read_waveform(recording.path, recording.name, spool, tools.activity, heard)
        except (InvalidRequest, PayloadTooLarge) as error:
            return work.refuse("unreadable", error.message)
        except OSError as error:
            return work.refuse("unreadable", f"{recording.name} cannot be read: {error.strerror or error}")
        for utterance in work.utterances(waveform, heard):
            work.cut(waveform, utterance)
            heard(waveform.seconds)
        if not work.made.clips:
            return work.refuse("no_text", f"{recording.name} has no transcript")
    return work.made


def _spool(folder: Path) -> IO[bytes]:
    """A file without a name: it is gone with the process."""
    with refusing(folder):
        return tempfile.TemporaryFile(dir=folder)


class _Work:
    """One recording on its way."""

    def __init__(self, recording: Recording, folder: Path, relative: str, tools: Tools) -> None:
        self.recording, self.folder, self.relative, self.tools = recording, folder, relative, tools
        self.spec, self.base = tools.spec, tools.base
        self.made = Made([], [])
        self._ids: set[str] = set()

    def refuse(self, reason: str, detail: str) -> Made:
        """The whole recording, dropped."""
        for utterance in self.recording.utterances or (Utterance(""),):
            self._add(self._facts(utterance).dropped(reason, detail))
        return self.made

    def repeat(self) -> None:
        """A further line that names the recording."""
        facts = self._facts(self.recording.utterances[0])
        self._add(facts.dropped("listed_twice", "only the first line that names it counts"))

    def utterances(self, waveform: Waveform, heard: Callable[[float], None]) -> Iterator[Utterance]:
        """What is said when: by the user's times joined to sentences, by the whole, or by transcription."""
        said = self.recording.utterances
        first = said[0] if said else Utterance("")
        timed = any(utterance.end is not None for utterance in said)
        too_long = not timed and waveform.seconds > self.spec.settings.max_seconds + 1.0
        transcriber = self.tools.transcriber
        if transcriber is not None and (too_long or not any(clean_text(one.text) for one in said)):
            try:
                language = self.base.front_end.language(first.language or self.spec.language)
            except InvalidRequest as error:  # Whisper is asked for no language that the model would not speak anyway
                self.refuse("unknown_language", error.message)
                return
            yield from self._joined(transcriber.sentences(waveform, language, heard), first)
        elif timed:
            segments = [Segment(one.start or 0.0, one.end or 0.0, one.text) for one in said]
            yield from self._joined(segments, first)
        else:
            yield from said

    def cut(self, waveform: Waveform, utterance: Utterance) -> None:
        """One utterance as a clip with all that is measured of it, or with the reason why it is none."""
        facts = judge_text(self._facts(utterance), self.spec.settings, self.base)
        start, end = utterance.start or 0.0, waveform.seconds if utterance.end is None else utterance.end
        found = bounds(waveform, start, end)
        if found is None:
            self._add(facts if facts.reason else facts.dropped("no_speech", "nobody is heard speaking"))
            return
        pcm = waveform.cut(found.start, found.end)
        facts = facts.model_copy(update=_measured(waveform, found, pcm))
        facts = facts if facts.reason else judge_sound(facts, len(pcm), self.spec.settings)
        self._write(facts, pcm, found)

    def _joined(self, segments: Sequence[Segment], first: Utterance) -> Iterator[Utterance]:
        language = self._language(first)
        most = self.base.most_characters(language) if language else 250
        longest = min(PREFERRED_S, self.spec.settings.max_seconds - 0.4)
        for one in join(segments, longest_s=longest, most_characters=most, language=language or ""):
            yield Utterance(one.text, first.speaker, first.language, first.split, one.start, one.end)

    def _language(self, utterance: Utterance) -> str | None:
        try:
            return self.base.front_end.language(utterance.language or self.spec.language)
        except InvalidRequest:
            return None

    def _facts(self, utterance: Utterance) -> ClipFacts:
        return ClipFacts(
            id=self._id(utterance.start),
            recording=self.recording.name,
            text=clean_text(utterance.text),
            speaker=clean_text(utterance.speaker or "") or self.spec.speaker or self.spec.name,
            language=self._language(utterance) or clean_text(utterance.language or self.spec.language),
            split=utterance.split,
        )

    def _id(self, start: float | None) -> str:
        """From the recording's name and the place in it alone, so that it stays when other data comes or goes."""
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", PurePosixPath(self.recording.name).stem)[:40].strip("_") or "clip"
        name = f"{stem}-{hashlib.sha256(self.recording.name.encode(errors='surrogateescape')).hexdigest()[:8]}"
        place = None if start is None else round(start * 1000)
        while (found := name if place is None else f"{name}-{place:08}") in self._ids:
            place = 0 if place is None else place + 1
        self._ids.add(found)
        return found

    def _write(self, facts: ClipFacts, pcm: Pcm, found: Bounds) -> None:
        if facts.reason is not None:
            self._add(facts)
            return
        assert facts.loudness_before is not None
        level = normalised(pcm - np.float32(pcm.mean()), facts.loudness_before, self.spec.settings.loudness)
        data = wav_bytes(level, SAMPLE_RATE)
        with refusing(self.folder):
            (self.folder / f"{facts.id}.wav").write_bytes(data)
        after = loudness(level)
        update: dict[str, Any] = {
            "file": f"{self.relative}/{facts.id}.wav",
            "loudness": round(after, 2),
            "peak": round(peak_db(level), 2),
            "sha256": hashlib.sha256(data).hexdigest(),
            "envelope": envelope(level),
            "warnings": self._warnings(facts, after, found),
        }
        self._add(facts.model_copy(update=update))
        self.made.embeddings.append(self.base.embedding(level))

    def _warnings(self, facts: ClipFacts, after: float, found: Bounds) -> tuple[str, ...]:
        applies = {
            "cut_in_speech": found.cuts_speech,
            "noisy": (facts.snr or 0.0) < self.spec.settings.min_snr_db,
            "some_clipping": (facts.clipped or 0.0) > SOME_CLIPPED,
            "quiet": after < self.spec.settings.loudness - QUIET_LU,
        }
        return tuple(name for name, holds in applies.items() if holds)

    def _add(self, facts: ClipFacts) -> None:
        self.made.clips.append(facts)


def _measured(waveform: Waveform, found: Bounds, pcm: Pcm) -> dict[str, Any]:
    return {
        "start": round(found.start, 3),
        "end": round(found.end, 3),
        "seconds": round(len(pcm) / SAMPLE_RATE, 3),
        "loudness_before": round(loudness(pcm - np.float32(pcm.mean())), 2),
        "snr": round(snr(waveform, found.start, found.end), 1),
        "speech": round(speech_share(waveform, found.start, found.end), 3),
        "clipped": round(waveform.clipped_share(found.start, found.end), 6),
        "offset": round(float(pcm.mean()), 4),
    }
