"""Which audio is made first, and that all of it arrives in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from serving.engines.xtts.checkpoint import LoadedXtts
from serving.engines.xtts.scheduler import Limits, Scheduler
from serving.engines.xtts.sentence import AHEAD_S, Request, Sentence
from serving.engines.xtts.vocoder import Vocoder
from serving.engines.xtts.vocoding import MAX_FRAMES, Vocoding
from serving.errors import EngineError
from tests.factories.sentences import Listener, make_request

TOKENS = 60


@pytest.fixture(scope="module")
def vocoder(loaded: LoadedXtts) -> Vocoder:
    return Vocoder.from_generator(loaded.model.hifigan_decoder.waveform_decoder, torch.device("cpu"))


class Speaker:
    """Sentences whose latents are noise, decoded as far as a test says."""

    def __init__(self, vocoder: Vocoder, loaded: LoadedXtts) -> None:
        self.scheduler = Scheduler(Limits(slots=8, prefill_tokens=1000))
        self.vocoding = Vocoding(vocoder, self.scheduler, self._latents, 24000)
        self._conditioning = loaded.speakers["Ada"]
        self._noise = torch.randn(TOKENS, 64, generator=torch.Generator().manual_seed(0))
        self.broken: list[Sentence] = []

    def request(self, *texts: str, speed: float = 1.0) -> tuple[Request, Listener]:
        listener = Listener()
        request = make_request(*texts, deliver=listener, speed=speed)
        request.conditioning = self._conditioning
        self.scheduler.submit(request)
        return request, listener

    def decode(self, sentence: Sentence, tokens: int, *, finish: bool = False) -> None:
        sentence.tokens = tokens
        if sentence.row is None and not finish:
            sentence.row = len(self.scheduler.active)
            self.scheduler.active.append(sentence)
        if finish:
            sentence.finish = "stop"

    def speak(self) -> None:
        while self.vocoding.turn(wait=True):
            pass

    def _latents(self, sentence: Sentence) -> torch.Tensor:
        return self._noise * torch.nan if sentence in self.broken else self._noise


@pytest.fixture
def speaker(vocoder: Vocoder, loaded: LoadedXtts) -> Speaker:
    return Speaker(vocoder, loaded)


def pcm(listener: Listener) -> np.ndarray:
    return np.concatenate([chunk.pcm for chunk in listener.chunks])


def test_the_first_sound_comes_after_few_tokens_and_later_chunks_are_longer(speaker: Speaker) -> None:
    request, listener = speaker.request("A sentence.")
    arrivals = []
    for tokens in range(1, TOKENS + 1):
        speaker.decode(request.sentences[0], tokens)
        speaker.speak()
        arrivals.append(len(listener.chunks))
    assert arrivals.index(1) + 1 == 8
    lengths = [chunk.seconds for chunk in listener.chunks]
    assert 0.15 < lengths[0] < 0.25
    assert lengths == sorted(lengths)
    assert listener.ends == 0
    speaker.decode(request.sentences[0], TOKENS, finish=True)
    speaker.speak()
    assert listener.ends == 1
    assert sum(chunk.output_tokens for chunk in listener.chunks) == TOKENS
    assert len(pcm(listener)) == request.grid.total(TOKENS) * 256


def test_streamed_or_at_once_it_is_the_same_audio(speaker: Speaker) -> None:
    streamed, whole = speaker.request("A sentence."), speaker.request("A sentence.")
    for tokens in range(1, TOKENS + 1):
        speaker.decode(streamed[0].sentences[0], tokens)
        speaker.speak()
    for request, _ in (streamed, whole):
        speaker.decode(request.sentences[0], TOKENS, finish=True)
    speaker.speak()
    assert len(whole[1].chunks) < len(streamed[1].chunks)
    one, other = pcm(streamed[1]), pcm(whole[1])
    assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


def test_a_window_is_no_longer_than_others_may_wait_for(speaker: Speaker) -> None:
    request, listener = speaker.request("A sentence.", speed=0.25)
    speaker.decode(request.sentences[0], TOKENS, finish=True)
    speaker.speak()
    assert listener.ended
    assert max(len(chunk.pcm) for chunk in listener.chunks) <= MAX_FRAMES["cpu"] * 256


def test_who_waits_for_the_first_sound_goes_before_who_has_audio_left(speaker: Speaker) -> None:
    (_, early), (_, late) = speaker.request("One sentence."), speaker.request("Another.")
    first, second = (request.sentences[0] for request in speaker.scheduler.requests)
    speaker.decode(first, 8)
    speaker.speak()
    speaker.decode(first, 50)
    speaker.decode(second, 8)
    speaker.vocoding.turn(wait=True)
    assert (len(early.chunks), len(late.chunks)) == (1, 1)


def test_streams_far_ahead_wait_while_somebody_is_about_to_hear_nothing(speaker: Speaker) -> None:
    (ahead, listener), (urgent, _) = speaker.request("One sentence."), speaker.request("Another.")
    ahead.sentences[0].offset_s = AHEAD_S + 1
    speaker.decode(ahead.sentences[0], TOKENS, finish=True)
    speaker.decode(urgent.sentences[0], 1)
    assert not speaker.vocoding.turn(wait=True)
    urgent.sentences[0].offset_s = AHEAD_S  # it is not urgent any more
    speaker.speak()
    assert listener.ended


def test_a_later_sentence_that_is_done_first_waits_for_the_one_before(speaker: Speaker) -> None:
    request, listener = speaker.request("One sentence.", "And another.")
    first, second = request.sentences
    speaker.decode(second, 30, finish=True)
    speaker.speak()
    assert second.complete
    assert not listener.chunks
    speaker.decode(first, TOKENS, finish=True)
    speaker.speak()
    assert [chunk.finish_reason for chunk in listener.chunks if chunk.finish_reason] == ["stop", "stop"]
    assert len(pcm(listener)) == (request.grid.total(TOKENS) + request.grid.total(30)) * 256
    assert listener.ends == 1


def test_a_sentence_too_fast_to_leave_a_frame_ends_without_a_chunk(speaker: Speaker) -> None:
    request, listener = speaker.request("No.", speed=4.0)
    speaker.decode(request.sentences[0], 2, finish=True)
    speaker.speak()
    assert listener.ended
    assert not listener.chunks


def test_a_silent_sentence_counts_as_work_for_it_lets_others_follow(speaker: Speaker) -> None:
    request, _ = speaker.request("No.", "And more.", speed=4.0)
    speaker.decode(request.sentences[0], 2, finish=True)
    assert speaker.vocoding.turn(wait=True)
    assert request.current == 1
    assert not speaker.vocoding.turn(wait=True)


def test_a_sentence_that_has_become_audio_keeps_no_latents(speaker: Speaker) -> None:
    request, _ = speaker.request("A sentence.", "Another.")
    for sentence in request.sentences:
        sentence.latents = torch.zeros(TOKENS, 64)
    speaker.decode(request.sentences[0], TOKENS, finish=True)
    speaker.decode(request.sentences[1], 8)
    speaker.speak()
    assert request.sentences[0].latents is None
    assert request.sentences[1].latents is not None


def broken_off(request: Request) -> None:
    request.departed = request.ended = True


def begun_again(request: Request) -> None:
    request.sentences[0].restart()


@pytest.mark.parametrize("change", [broken_off, begun_again])
def test_audio_on_its_way_is_dropped_when_nobody_wants_it_any_more(
    speaker: Speaker, change: Callable[[Request], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    request, listener = speaker.request("A sentence.")
    speaker.decode(request.sentences[0], 8)
    with monkeypatch.context() as slow_device:
        slow_device.setattr("serving.engines.xtts.readback.Readback.ready", False)
        assert speaker.vocoding.turn(wait=False)
    assert not listener.chunks
    change(request)
    speaker.vocoding.turn(wait=True)
    assert not listener.chunks
    assert not request.sentences[0].chunks


def test_audio_that_is_not_finite_ends_its_request_and_no_other(speaker: Speaker) -> None:
    (bad, unlucky), (good, listener) = speaker.request("One sentence."), speaker.request("Another.")
    speaker.broken = bad.sentences
    for request in (bad, good):
        speaker.decode(request.sentences[0], TOKENS, finish=True)
    speaker.speak()
    assert isinstance(unlucky.error, EngineError)
    assert listener.error is None
    assert listener.ended
