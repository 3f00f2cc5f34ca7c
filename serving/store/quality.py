"""What is known of how good the recordings of a voice are, as ``profile.json``, the table and the API hold it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["ok", "warn", "not_judged"]

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RecordingQuality(_Facts):
    """One recording as it is kept; ``denoised``: its noise was taken out, ``snr_before_db`` is from before that.

    ``clipped_share`` is of the recording that was sent: what was cut off stays so.
    """

    seconds: Number
    sample_rate: int
    speech_seconds: Number
    silence_share: Number
    snr_db: Number
    clipped_share: Number
    peak_dbfs: Number
    loudness_lufs: Number | None
    bandwidth_hz: Number
    denoised: bool = False
    snr_before_db: Number | None = None


class QualityCheck(_Facts):
    """A verdict, and a sentence that says what to do about it."""

    name: Annotated[str, Field(max_length=64)]
    verdict: Verdict
    message: Annotated[str, Field(max_length=500)]


class QualityReport(_Facts):
    """``verdict`` is "warn" if one of the checks is; ``speaker_similarity`` is the lowest cosine between stretches of
    the recordings, by the model's own speaker encoder, None where it was not asked.
    """

    verdict: Literal["ok", "warn"]
    seconds: Number
    speech_seconds: Number
    speaker_similarity: Number | None = None
    checks: Annotated[tuple[QualityCheck, ...], Field(max_length=64)]
    recordings: Annotated[tuple[RecordingQuality, ...], Field(max_length=64)]
