"""Verdicts on the recordings of a voice. They refuse nothing: they say what would make a better voice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from serving.audio.quality import Measures
from serving.store.quality import QualityCheck, QualityReport, RecordingQuality

LEAST_SPEECH_S = 6.0
"""What the authors of XTTS ask for; it hears 30 s at most of each recording."""

LEAST_SNR_DB = 20.0
MOST_CLIPPED = 1e-3
QUIETEST_LUFS = -36.0
LEAST_BANDWIDTH_HZ = 5500.0
"""Telephones end at 3.4 or 4 kHz, wideband telephony at 7 or 8."""

MOST_SILENCE = 0.6
LEAST_SIMILARITY = 0.5
"""Cosine. Between recordings of one speaker this kind of encoder has about 0.8, between two about 0.2; stretches of 3 s
vary more than whole recordings. Chosen by that, not measured with the released weights."""

SPEAKERS = "speakers"

Judge = Callable[[RecordingQuality], str | None]


def recording_quality(kept: Measures, sent: Measures, *, denoised: bool) -> RecordingQuality:
    """The facts of a recording from the measures of what is ``kept`` and of what was ``sent``."""
    return RecordingQuality(
        seconds=round(kept.seconds, 3),
        sample_rate=kept.sample_rate,
        speech_seconds=round(kept.speech_seconds, 3),
        silence_share=round(1 - kept.speech_seconds / kept.seconds, 3),
        snr_db=round(kept.snr_db, 1),
        clipped_share=round(sent.clipped_share, 6),
        peak_dbfs=round(kept.peak_dbfs, 1),
        loudness_lufs=None if kept.loudness_lufs is None else round(kept.loudness_lufs, 1),
        bandwidth_hz=kept.bandwidth_hz,
        denoised=denoised,
        snr_before_db=round(sent.snr_db, 1) if denoised else None,
    )


def judge(recordings: Sequence[RecordingQuality]) -> QualityReport:
    """The report on a voice of ``recordings``, whose speakers nobody has compared yet."""
    speech = sum(each.speech_seconds for each in recordings)
    checks = [_amount(speech), *(_worst(name, recordings, judged) for name, judged in JUDGES.items()), _speakers(None)]
    return _report(recordings, checks, None)


def with_similarity(report: QualityReport, similarity: float | None) -> QualityReport:
    """``report`` with what the speaker encoder says: the lowest cosine between stretches, None if it cannot say."""
    checks = [*(check for check in report.checks if check.name != SPEAKERS), _speakers(similarity)]
    return _report(report.recordings, checks, similarity)


def _report(
    recordings: Sequence[RecordingQuality], checks: Sequence[QualityCheck], similarity: float | None
) -> QualityReport:
    return QualityReport(
        verdict="warn" if any(check.verdict == "warn" for check in checks) else "ok",
        seconds=round(sum(each.seconds for each in recordings), 3),
        speech_seconds=round(sum(each.speech_seconds for each in recordings), 3),
        speaker_similarity=None if similarity is None else round(similarity, 3),
        checks=tuple(checks),
        recordings=tuple(recordings),
    )


def _amount(speech: float) -> QualityCheck:
    if speech < LEAST_SPEECH_S:
        message = f"Somebody speaks for {speech:.1f} s; send {LEAST_SPEECH_S:g} to 30 s of speech."
        return QualityCheck(name="length", verdict="warn", message=message)
    return QualityCheck(name="length", verdict="ok", message=f"Somebody speaks for {speech:.1f} s.")


def _worst(name: str, recordings: Sequence[RecordingQuality], judged: Judge) -> QualityCheck:
    found = [(number, message) for number, each in enumerate(recordings, 1) if (message := judged(each))]
    if not found:
        return QualityCheck(name=name, verdict="ok", message=FINE[name])
    number, message = found[0]
    if len(recordings) > 1:
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        message = f"Recording {number}{others}: {message}"
    return QualityCheck(name=name, verdict="warn", message=message)


def _noise(recording: RecordingQuality) -> str | None:
    if recording.snr_db >= LEAST_SNR_DB:
        return None
    advice = "record in a quieter room" if recording.denoised else "record in a quieter room, or send denoise=true"
    return f"The noise is only {recording.snr_db:.0f} dB below the speech; {advice}."


def _clipping(recording: RecordingQuality) -> str | None:
    if recording.clipped_share <= MOST_CLIPPED:
        return None
    return f"{recording.clipped_share:.1%} of the samples clip; record at a lower level."


def _loudness(recording: RecordingQuality) -> str | None:
    if recording.loudness_lufs is not None and recording.loudness_lufs >= QUIETEST_LUFS:
        return None
    level = "below -70 LUFS" if recording.loudness_lufs is None else f"at {recording.loudness_lufs:.0f} LUFS"
    return f"The recording is {level}, which is quiet; go closer to the microphone, or raise its level."


def _bandwidth(recording: RecordingQuality) -> str | None:
    if recording.bandwidth_hz >= LEAST_BANDWIDTH_HZ:
        return None
    return (
        f"There is nothing above {recording.bandwidth_hz / 1000:.1f} kHz, as on a telephone; send a recording at "
        "22 kHz or more from a better microphone."
    )


def _silence(recording: RecordingQuality) -> str | None:
    if recording.silence_share <= MOST_SILENCE:
        return None
    return f"Nobody speaks in {recording.silence_share:.0%} of it; cut the pauses out."


def _speakers(similarity: float | None) -> QualityCheck:
    if similarity is None:
        message = "Not judged: that takes XTTS, and two stretches of 3 s of speech."
        return QualityCheck(name=SPEAKERS, verdict="not_judged", message=message)
    if similarity < LEAST_SIMILARITY:
        message = (
            f"Parts of the recordings sound like different people (similarity {similarity:.2f}); send one speaker "
            "without music or other voices."
        )
        return QualityCheck(name=SPEAKERS, verdict="warn", message=message)
    message = f"It sounds like one speaker throughout (similarity {similarity:.2f})."
    return QualityCheck(name=SPEAKERS, verdict="ok", message=message)


JUDGES: dict[str, Judge] = {
    "noise": _noise,
    "clipping": _clipping,
    "loudness": _loudness,
    "bandwidth": _bandwidth,
    "silence": _silence,
}

FINE = {
    "noise": "The speech stands clear of the noise.",
    "clipping": "Nothing is cut off.",
    "loudness": "It is loud enough.",
    "bandwidth": "It has the high frequencies of a voice.",
    "silence": "Somebody speaks in most of it.",
}
