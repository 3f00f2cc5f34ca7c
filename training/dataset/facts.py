"""What is known of one clip, and why clips are dropped."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from training.dataset.metadata import Split

REASONS = {
    "missing_file": "the file is not there",
    "unreadable": "the file cannot be decoded",
    "no_text": "nothing says what is spoken",
    "listed_twice": "the recording is listed more than once",
    "unknown_language": "the model does not speak the language",
    "too_many_characters": "the text is longer than the model takes in this language",
    "unreadable_text": "the model's front end cannot read the text out",
    "too_many_tokens": "the text has too many tokens",
    "unknown_tokens": "the model has no token for a character",
    "no_speech": "nobody speaks",
    "too_short": "the clip is too short",
    "too_long": "the clip is too long",
    "clipping": "the recording was too loud and its peaks are cut off",
    "offset": "the waveform is not centred on zero",
    "mostly_silence": "there is more silence than speech",
    "duplicate": "another clip is the same",
    "pace": "far more or fewer characters per second than the others: the text is probably another",
    "other_speaker": "the voice is unlike the others",
}
"""Why a clip is dropped, in the order in which reasons are looked for: a clip has the first that applies."""

WARNINGS = {
    "cut_in_speech": "somebody speaks right at its start or end, so a word may be cut",
    "noisy": "speech is hardly louder than what is behind it",
    "some_clipping": "a few of its peaks are cut off",
    "quiet": "its peaks keep it quieter than the others",
}
"""What to listen to; such clips are kept."""

Measured = Annotated[float, Field(allow_inf_nan=False)]


class ClipFacts(BaseModel):
    """One clip, or what should have been one, as its recording alone tells; rounded, so that reports compare.

    ``start`` and ``end`` are seconds in the recording, ``file`` is relative to the dataset and None where none was
    written. ``loudness_before`` and ``loudness`` are LUFS, ``peak`` dBFS, ``snr`` dB; ``speech``, ``clipped`` and
    ``offset`` are shares of the clip, of its samples and of full scale. ``reason`` is a key of ``REASONS`` and
    ``detail`` a sentence with what was measured. ``sha256`` is of the samples, ``envelope`` the course of its level.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    recording: str
    text: str
    speaker: str
    language: str
    split: Split | None = None
    file: str | None = None
    start: Measured | None = None
    end: Measured | None = None
    seconds: Measured | None = None
    tokens: int | None = None
    loudness_before: Measured | None = None
    loudness: Measured | None = None
    peak: Measured | None = None
    snr: Measured | None = None
    speech: Measured | None = None
    clipped: Measured | None = None
    offset: Measured | None = None
    speaker_similarity: Measured | None = None
    reason: str | None = None
    detail: str | None = None
    warnings: tuple[str, ...] = ()
    sha256: str | None = None
    envelope: tuple[int, ...] = ()

    def dropped(self, reason: str, detail: str) -> ClipFacts:
        """The same clip, dropped."""
        assert reason in REASONS
        return self.model_copy(update={"reason": reason, "detail": detail})
