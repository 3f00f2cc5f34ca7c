"""Every recording becomes clips, or a reason why not."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.tokenizer import Tokenizer

from serving.audio.pcm import Pcm
from serving.audio.wav import read_wav
from tests.factories.recordings import a_spec, silence, spoken, write_wav
from tests.factories.whisper import cached_whisper
from training.dataset.base_model import BaseModel
from training.dataset.clips import Made, Tools, make_clips
from training.dataset.loudness import loudness
from training.dataset.metadata import SAMPLE_RATE
from training.dataset.segments import Segment, speaks_at_edge
from training.dataset.sources import Recording, Utterance
from training.dataset.transcription import Transcriber
from training.dataset.voice_activity import VoiceActivity
from training.dataset.waveform import Waveform, read_waveform

TEXT = "Seven and eight and nine and ten."

Make = Callable[..., Made]


@pytest.fixture
def make(base: BaseModel, activity: VoiceActivity, tmp_path: Path) -> Make:
    """Clips of samples, or of a file, with a text."""

    def run(
        source: Pcm | Path | None, *said: Utterance | str, transcriber: Transcriber | None = None, repeats: int = 0
    ) -> Made:
        utterances = tuple(Utterance(one) if isinstance(one, str) else one for one in said)
        path = write_wav(tmp_path / "raw/a.wav", source) if isinstance(source, np.ndarray) else source
        recording = Recording("a.wav", path, utterances, repeats)
        folder = tmp_path / "clips"
        folder.mkdir(exist_ok=True)
        tools = Tools(a_spec(), base, activity, transcriber)
        return make_clips(recording, folder, "clips/key", tools, lambda seconds: None)

    return run


def test_a_clip_is_mono_at_22050_hz_at_its_loudness_with_all_that_was_measured(make: Make, tmp_path: Path) -> None:
    made = make(np.concatenate([silence(2), spoken(TEXT) * np.float32(0.2), silence(1)]), TEXT)
    (clip,) = made.clips
    assert clip.reason is None
    assert clip.id == f"a-{hashlib.sha256(b'a.wav').hexdigest()[:8]}"
    assert clip.file == f"clips/key/{clip.id}.wav"
    path = tmp_path / "clips" / f"{clip.id}.wav"
    audio = read_wav(path)
    assert audio.sample_rate == 22050
    assert audio.seconds == pytest.approx(clip.seconds, abs=0.001)
    assert loudness(audio.pcm) == pytest.approx(-23, abs=0.1)
    assert clip.loudness == pytest.approx(-23, abs=0.1)
    assert clip.loudness_before is not None
    assert clip.loudness_before < -28
    assert clip.start == pytest.approx(2.4, abs=0.3)
    assert clip.peak == pytest.approx(20 * np.log10(np.abs(audio.pcm).max()), abs=0.05)
    assert clip.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert clip.tokens is not None
    assert len(made.embeddings) == 1


def offset(pcm: Pcm) -> Pcm:
    return pcm + np.float32(0.2)


def clipped(pcm: Pcm) -> Pcm:
    return np.clip(pcm * 30, -1, 1)


def mostly_silent(_: Pcm) -> Pcm:
    return np.concatenate([spoken("One."), silence(7), spoken("Two.")])


def long(_: Pcm) -> Pcm:
    return np.concatenate([spoken(TEXT)] * 5)


@pytest.mark.parametrize(
    ("reason", "text", "change", "detail"),
    [
        ("no_text", " ... ", None, "no letters"),
        ("no_speech", TEXT, lambda pcm: silence(2), "nobody"),
        ("too_short", "Six.", lambda pcm: spoken("Six."), "at least 1 s"),
        ("too_long", "One two three.", long, "at most 11.6 s"),
        ("too_many_tokens", "1234567 " * 6, None, "at most 200"),
        ("too_many_characters", "o" * 120 + " " + "a" * 140, None, "261 characters, at most 250"),
        ("unknown_tokens", "Seven ☃ eight.", None, "☃"),
        ("clipping", TEXT, clipped, "cut off"),
        ("offset", TEXT, offset, "0.2"),
        ("mostly_silence", "One two.", mostly_silent, "%"),
    ],
)
def test_what_is_no_clip_has_a_reason_and_what_was_measured(
    make: Make, tmp_path: Path, reason: str, text: str, change: Callable[[Pcm], Pcm] | None, detail: str
) -> None:
    pcm = spoken(TEXT)
    made = make(change(pcm) if change else pcm, text)
    (clip,) = made.clips
    assert clip.reason == reason
    assert detail in (clip.detail or "")
    assert clip.file is None
    assert not made.embeddings
    assert not list((tmp_path / "clips").iterdir())


def test_a_language_that_the_model_lacks_is_a_reason(make: Make) -> None:
    (clip,) = make(spoken(TEXT), Utterance(TEXT, language="sv")).clips
    assert clip.reason == "unknown_language"
    assert "sv" in (clip.detail or "")


def test_a_missing_file_and_one_that_cannot_be_read_are_reasons(make: Make, tmp_path: Path) -> None:
    assert [clip.reason for clip in make(None, TEXT).clips] == ["missing_file"]
    broken = tmp_path / "b.mp3"
    broken.write_bytes(b"ID3 nothing")
    assert [clip.reason for clip in make(broken, TEXT).clips] == ["unreadable"]
    gone = tmp_path / "gone.wav"
    assert [clip.reason for clip in make(gone, TEXT).clips] == ["unreadable"]


def test_a_recording_without_a_text_is_a_reason(make: Make) -> None:
    (clip,) = make(spoken(TEXT)).clips
    assert (clip.reason, clip.text) == ("no_text", "")


def test_further_lines_of_a_table_are_told_and_do_not_rename_the_clip(make: Make) -> None:
    (alone,) = make(spoken(TEXT), TEXT).clips
    first, second, third = make(spoken(TEXT), TEXT, repeats=2).clips
    assert first == alone
    assert (second.reason, third.reason) == ("listed_twice", "listed_twice")
    assert len({first.id, second.id, third.id}) == 3


def test_a_line_without_words_is_transcribed_too(make: Make) -> None:
    made = make(spoken("One two three."), "  ", transcriber=Transcriber(cached_whisper(), threads=1))
    assert made.clips[0].text.startswith("One two three.")


class Multilingual(Transcriber):
    """Refuses languages as a model of many does; the tiny one takes all for English."""

    def sentences(self, waveform: Waveform, language: str, heard: Callable[[float], None]) -> list[Segment]:
        Tokenizer(self._model.hf_tokenizer, multilingual=True, task="transcribe", language=language)
        return super().sentences(waveform, language, heard)


@pytest.mark.parametrize("language", ["English", "xx"])
def test_nothing_is_transcribed_in_a_language_that_the_model_lacks(make: Make, language: str) -> None:
    transcriber = Multilingual(cached_whisper(), threads=1)
    (clip,) = make(spoken("One two three."), Utterance("", language=language), transcriber=transcriber).clips
    assert clip.reason == "unknown_language"
    assert language in (clip.detail or "")


def test_noise_and_speech_at_the_edge_are_warnings(make: Make) -> None:
    noise = np.random.default_rng(0).standard_normal(len(spoken(TEXT))).astype(np.float32)
    (noisy,) = make(spoken(TEXT) + 0.05 * noise, TEXT).clips
    (clean,) = make(spoken(TEXT), TEXT).clips
    (cut,) = make(spoken(TEXT)[round(0.6 * SAMPLE_RATE) : -round(0.6 * SAMPLE_RATE)], TEXT).clips
    assert "noisy" in noisy.warnings
    assert noisy.snr is not None
    assert clean.snr is not None
    assert noisy.snr < 15 < clean.snr
    assert clean.warnings == ()
    assert "cut_in_speech" in cut.warnings


def test_a_click_keeps_a_clip_quiet_and_that_is_a_warning(make: Make) -> None:
    pcm = spoken(TEXT) * np.float32(0.05)
    pcm[len(pcm) // 2] = 0.9
    (clip,) = make(pcm, TEXT).clips
    assert clip.warnings == ("quiet",)
    assert clip.peak == pytest.approx(-1, abs=0.05)


def test_subtitles_cut_a_recording_into_clips_named_by_their_times(make: Make) -> None:
    texts = ("Twelve eleven ten nine.", "Two times two is four.", "Five plus five is ten.")
    ends = np.cumsum([len(spoken(text)) for text in texts]) / SAMPLE_RATE
    starts = [0.0, *ends[:-1]]
    cues = [
        Utterance(text, start=float(start) + 0.35, end=float(end) - 0.35)
        for text, start, end in zip(texts, starts, ends, strict=True)
    ]
    long_cue = Utterance("Six.", start=float(ends[-1]) + 5, end=float(ends[-1]) + 6)  # beyond the end
    made = make(np.concatenate([spoken(text) for text in texts]), *cues, long_cue)
    kept = [clip for clip in made.clips if clip.reason is None]
    assert " ".join(clip.text for clip in kept) == " ".join(texts)
    assert [clip.reason for clip in made.clips if clip.reason] == ["no_speech"]
    for clip, following in itertools.pairwise(kept):
        assert clip.end is not None
        assert following.start is not None
        assert clip.end <= following.start
    assert kept[0].id.endswith("-00000350")
    assert len({clip.id for clip in made.clips}) == len(made.clips)


def test_a_recording_without_a_text_is_transcribed_sentence_by_sentence(make: Make) -> None:
    """The model says the same whatever it hears; where its words are is up to its alignment."""
    pcm = np.concatenate([spoken("One two three."), spoken("Four five six seven.")])
    made = make(pcm, transcriber=Transcriber(cached_whisper(), threads=1))
    assert " ".join(clip.text for clip in made.clips).startswith("One two three. Four five six seven.")
    assert any(clip.reason is None for clip in made.clips)


def test_the_edge_of_a_clip_is_speech_only_where_it_is_loud(activity: VoiceActivity, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", spoken(TEXT))
    with tempfile.TemporaryFile() as spool:
        waveform = read_waveform(path, path.name, spool, activity, lambda seconds: None)
    assert not speaks_at_edge(waveform, 0.0, waveform.seconds)
    assert speaks_at_edge(waveform, 0.7, waveform.seconds)
