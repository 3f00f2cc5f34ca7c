"""The one rule for the recordings of a voice, whether they come by HTTP or from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import ValidationError

from serving.audio.decode import decode
from serving.audio.denoise import denoise
from serving.audio.pcm import Audio
from serving.audio.quality import measure
from serving.audio.reading import HIGHEST_RATE
from serving.audio.wav import wav_bytes
from serving.engines.pronunciation import FILE
from serving.errors import InvalidRequest, PayloadTooLarge, fault
from serving.quality import judge, recording_quality
from serving.settings_groups import LimitSettings
from serving.store.quality import QualityReport, RecordingQuality
from serving.store.voice_archive import FIELD, MANIFEST_BYTES, MOST_RECORDINGS, ArchivedVoice

SILENCE_RMS = 1e-3
"""-60 dB full scale: quieter than the noise of any microphone that somebody speaks into."""

CLEAN_DB = 40.0
"""Noise so far below the speech is left there: taking it out would change the speech more than the noise does."""


@dataclass(frozen=True, slots=True)
class PreparedVoice:
    """``references`` are mono PCM16 WAV files, ``seconds`` their total length."""

    references: list[bytes]
    seconds: float
    quality: QualityReport
    pronunciations: bytes | None = None


def prepare_voice(
    samples: Sequence[bytes], limits: LimitSettings, params: Sequence[str], *, clean: bool = False
) -> PreparedVoice:
    """Turn recordings in any format into what the volume stores, without their background noise if ``clean``.

    ``params`` are what errors call the recordings. Raises PayloadTooLarge for too many bytes or seconds, together, and
    InvalidRequest for too many of them and for what is no audio, truncated, too short or silent.
    """
    if len(samples) > MOST_RECORDINGS:
        raise InvalidRequest(
            f"{params[0]}: a voice has at most {MOST_RECORDINGS} recordings, not {len(samples)}; leave some out",
            params[0],
        )
    references: list[bytes] = []
    recordings: list[RecordingQuality] = []
    seconds = 0.0
    for sample, param in zip(samples, params, strict=True):
        audio = _decoded(sample, limits, param, f" (recording {len(references) + 1} of {len(samples)})")
        seconds += audio.seconds
        if seconds > limits.reference_max_s:
            raise PayloadTooLarge(
                f"{param}: the recordings are longer than {limits.reference_max_s:g} s together; send fewer or shorter "
                "ones",
                param,
            )
        wav, recording = _prepared(audio, clean)
        references.append(wav)
        recordings.append(recording)
    return PreparedVoice(references, seconds, judge(recordings))


def prepare_archived(voice: ArchivedVoice, limits: LimitSettings) -> PreparedVoice:
    """The recordings of an imported voice under the same rules; its own report holds, if it has one."""
    params = [FIELD] * len(voice.references)
    limits = limits.model_copy(update={"upload_bytes": archive_bytes(limits)})
    prepared = prepare_voice(voice.references, limits, params)
    return replace(
        prepared, quality=voice.quality or prepared.quality, pronunciations=_dictionary(voice.pronunciations)
    )


def _dictionary(data: bytes | None) -> bytes | None:
    """The JSON of an imported dictionary; raises InvalidRequest for what is none."""
    try:
        return None if data is None else FILE.dump_json(FILE.validate_json(data), indent=1, exclude_defaults=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:80]
        raise InvalidRequest(
            f"{FIELD} is not the export of a voice: its pronunciations.json is not usable: {place}: {fault(first)}",
            FIELD,
        ) from error


def archive_bytes(limits: LimitSettings) -> int:
    """The largest export of a voice: its recordings are kept as PCM16, at up to 48 kHz."""
    return round(limits.reference_max_s * HIGHEST_RATE * 2) + MANIFEST_BYTES


def _decoded(data: bytes, limits: LimitSettings, param: str, which: str) -> Audio:
    try:
        return _usable(data, limits, param)
    except (InvalidRequest, PayloadTooLarge) as error:
        if which.endswith(" of 1)"):
            raise
        raise type(error)(error.message + which, param) from error


def check_recording(data: bytes, limits: LimitSettings, param: str) -> float:
    """Seconds of a recording that somebody can be heard in; raises as ``prepare_voice``."""
    return _usable(data, limits, param).seconds


def _usable(data: bytes, limits: LimitSettings, param: str) -> Audio:
    if len(data) > limits.upload_bytes:
        raise PayloadTooLarge(
            f"{param} has {len(data)} bytes and at most {limits.upload_bytes} are accepted; send a shorter or "
            "compressed recording",
            param,
        )
    audio = decode(data, max_seconds=limits.reference_max_s, param=param)
    if audio.seconds < limits.reference_min_s:
        raise InvalidRequest(
            f"{param} is {audio.seconds:.2f} s long; send at least {limits.reference_min_s:g} s of speech", param
        )
    if float(np.sqrt(np.mean(np.square(audio.pcm)))) < SILENCE_RMS:
        raise InvalidRequest(f"{param} is silent; send a recording in which the voice can be heard", param)
    return audio


def _prepared(audio: Audio, clean: bool) -> tuple[bytes, RecordingQuality]:
    sent = kept = measure(audio)
    denoised = clean and sent.snr_db < CLEAN_DB
    if denoised:
        less = Audio(denoise(audio.pcm, audio.sample_rate), audio.sample_rate)
        if float(np.sqrt(np.mean(np.square(less.pcm)))) >= SILENCE_RMS:  # else there was nothing but noise
            audio, kept = less, measure(less)
        else:
            denoised = False
    return wav_bytes(audio.pcm, audio.sample_rate), recording_quality(kept, sent, denoised=denoised)
