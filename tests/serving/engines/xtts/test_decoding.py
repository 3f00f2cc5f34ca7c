"""Everything is tried as on a CPU, which looks at each step's tokens at once, and as on a GPU, one step late."""

from typing import Any

import pytest
import torch

from serving.engines.base import Sampling
from serving.engines.xtts import decoding as module
from serving.engines.xtts.cache import SlotCache
from serving.engines.xtts.checkpoint import Latents
from serving.engines.xtts.decoder import Decoder
from serving.engines.xtts.decoding import Decoding, Step
from serving.engines.xtts.scheduler import Limits, Scheduler
from serving.engines.xtts.sentence import Request, Sentence
from serving.errors import EngineError
from tests.factories.sentences import Listener, make_request

CPU = torch.device("cpu")
SAMPLED = Sampling(temperature=0.75, top_k=50, top_p=0.85, repetition_penalty=5.0)
GREEDY = Sampling(temperature=0.75, top_k=1, top_p=0.85, repetition_penalty=5.0)
TEXTS = ("One of several sentences.", "Two is another, and longer than the one before.", "Three.", "And a fourth one.")


class Rows:
    """A decoder's rows, and the requests in them."""

    def __init__(self, decoder: Decoder, slots: int = 4, step: Step | None = None, *, padded: bool = False) -> None:
        self.scheduler = Scheduler(Limits(slots, 10_000, padded=padded))
        self.cache = SlotCache(decoder.shape, slots, CPU, torch.float32)
        self.decoding = Decoding(decoder, self.scheduler, self.cache, step)

    def submit(self, text: str, sampling: Sampling = SAMPLED, seed: int = 1) -> Sentence:
        """A request of one sentence, in a voice that goes with its seed."""
        request = make_request(text, deliver=Listener(), sampling=sampling, seed=seed)
        voice = torch.randn(1, 32, 64, generator=torch.Generator().manual_seed(seed))
        request.conditioning = Latents(voice, torch.zeros(1, 512, 1))
        self.scheduler.submit(request)
        return request.sentences[0]

    def enter(self) -> None:
        entering = [sentence for sentence in self.scheduler.admit() if not sentence.request.ended]
        self.decoding.start(entering, sampling_of)

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.enter()
            self.decoding.step()

    def finish(self, *sentences: Sentence) -> None:
        while not all(sentence.finish or sentence.request.ended for sentence in sentences):
            self.turns(1)


def sampling_of(request: Request) -> Sampling:
    return request.asked.sampling


def spoken(rows: Rows, sentence: Sentence) -> tuple[str | None, torch.Tensor]:
    """How a finished sentence ended, and its latents to a precision that products of any number of rows reach."""
    latents = rows.decoding.latents(sentence)
    assert latents.shape == (sentence.tokens, 64)
    return sentence.finish, latents


def same(one: tuple[str | None, torch.Tensor], other: tuple[str | None, torch.Tensor]) -> bool:
    if one[0] != other[0] or one[1].shape != other[1].shape:
        return False
    return float((one[1] - other[1]).abs().max() / other[1].abs().max()) <= 1e-5


def alone(decoder: Decoder, *asked: Any) -> tuple[str | None, torch.Tensor]:
    rows = Rows(decoder, slots=1)
    sentence = rows.submit(*asked)
    rows.finish(sentence)
    return spoken(rows, sentence)


@pytest.fixture(params=[0, 1], ids=["at once", "a step late"], autouse=True)
def ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setitem(module.LAUNCHED_AHEAD, "cpu", request.param)
    return int(request.param)


@pytest.mark.parametrize("padded", [False, True])
def test_sentences_that_come_and_go_are_each_as_alone(decoder: Decoder, padded: bool) -> None:
    asked = [(TEXTS[index % 4], GREEDY if index == 2 else SAMPLED, index) for index in range(7)]
    rows = Rows(decoder, slots=3, padded=padded)
    sentences = [rows.submit(*asked[index]) for index in range(3)]
    for later in asked[3:]:
        rows.turns(7)
        sentences.append(rows.submit(*later))
    rows.finish(*sentences)
    expected = [alone(decoder, *one) for one in asked]
    assert all(same(spoken(rows, sentence), one) for sentence, one in zip(sentences, expected, strict=True))
    assert {finish for finish, _ in expected} == {"stop"}
    assert len({len(latents) for _, latents in expected}) > 3
    assert not same(expected[0], alone(decoder, TEXTS[0], SAMPLED, 100))
    rows.turns(1)
    assert rows.decoding.tokens == sum(sentence.tokens for sentence in sentences)


def test_a_row_that_gets_free_is_filled_by_the_last_which_does_not_notice(decoder: Decoder) -> None:
    rows = Rows(decoder)
    sentences = [rows.submit(text, SAMPLED, seed) for seed, text in enumerate(TEXTS)]
    rows.turns(9)
    first, second, third, last = sentences
    for sentence in (first, second, first):
        sentence.request.departed = True
        rows.decoding.release(sentence)
    assert rows.scheduler.active == [last, third]
    assert [sentence.row for sentence in sentences] == [None, None, 1, 0]
    for gone in (first, second):
        rows.scheduler.remove(gone.request)
    rows.finish(third, last)
    for seed in (2, 3):
        assert same(spoken(rows, sentences[seed]), alone(decoder, TEXTS[seed], SAMPLED, seed))
    assert rows.scheduler.active == []


def test_a_sentence_that_made_room_goes_on_where_it_was(decoder: Decoder) -> None:
    rows = Rows(decoder, slots=2)
    one, other = rows.submit(TEXTS[0], SAMPLED, 3), rows.submit(TEXTS[1], SAMPLED, 4)
    rows.turns(10)
    rows.decoding.suspend(one)
    assert (one.row, other.row) == (None, 0)
    tokens, heard_so_far = one.tokens, rows.decoding.latents(one)[: one.tokens].clone()
    assert tokens >= 10
    newcomer = rows.submit(TEXTS[2], SAMPLED, 5)
    newcomer.request.submitted -= 100
    rows.turns(6)
    assert (one.row, newcomer.row, one.tokens) == (None, 1, tokens)
    assert torch.equal(rows.decoding.latents(one)[:tokens], heard_so_far)
    rows.finish(one, other, newcomer)
    assert torch.equal(rows.decoding.latents(one)[:tokens], heard_so_far)
    for sentence, asked in ((one, (TEXTS[0], 3)), (other, (TEXTS[1], 4)), (newcomer, (TEXTS[2], 5))):
        assert same(spoken(rows, sentence), alone(decoder, asked[0], SAMPLED, asked[1]))


def test_a_sentence_that_there_is_no_memory_to_keep_stays_in_its_row(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    rows = Rows(decoder, slots=1)
    sentence = rows.submit(TEXTS[0], SAMPLED, 3)
    rows.turns(10)
    sentence.request.submitted += 100  # it is far ahead of its listener
    newcomer = rows.submit(TEXTS[1], SAMPLED, 4)
    assert rows.scheduler.yielding() is sentence
    with monkeypatch.context() as patch:
        patch.setattr(rows.cache, "save", full)
        rows.decoding.suspend(sentence)
    assert (sentence.row, sentence.saved) == (0, None)
    assert rows.scheduler.yielding() is None
    rows.finish(sentence, newcomer)
    assert same(spoken(rows, sentence), alone(decoder, TEXTS[0], SAMPLED, 3))


def test_a_sentence_that_just_ended_has_no_row_to_give(decoder: Decoder, ahead: int) -> None:
    rows = Rows(decoder, slots=1)
    sentence = rows.submit(TEXTS[0])
    tokens = len(alone(decoder, TEXTS[0])[1])
    rows.turns(tokens - 1)
    assert sentence.finish is (None if ahead else "stop")
    rows.decoding.suspend(sentence)
    assert (sentence.finish, sentence.tokens, sentence.saved) == ("stop", tokens, None)


def test_a_runaway_that_nobody_has_heard_is_spoken_once_more_with_another_seed(decoder: Decoder, ahead: int) -> None:
    rows = Rows(decoder)
    neighbour, runaway = rows.submit(TEXTS[1], SAMPLED, 4), rows.submit(TEXTS[0], SAMPLED, 3)
    runaway.max_tokens = 10
    while not runaway.attempt:
        assert runaway.tokens < 10
        rows.turns(1)
    assert (runaway.tokens, runaway.row) == (0, None)
    rows.turns(1)
    assert runaway.tokens == 2 - ahead  # none of the first attempt, whose last step may just have arrived
    rows.finish(runaway, neighbour)
    assert runaway.attempt == 1
    finish, latents = spoken(rows, runaway)
    assert (finish, len(latents)) == ("length", 10)
    assert not same((finish, latents), (finish, alone(decoder, TEXTS[0], SAMPLED, 3)[1][:10]))
    again = Rows(decoder)
    sentence = again.submit(TEXTS[0], SAMPLED, 3)
    sentence.attempt = 1
    again.finish(sentence)
    assert same((finish, latents), (finish, spoken(again, sentence)[1][:10]))
    assert same(spoken(rows, neighbour), alone(decoder, TEXTS[1], SAMPLED, 4))


@pytest.mark.parametrize(("heard", "sampling"), [(True, SAMPLED), (False, GREEDY)])
def test_a_runaway_that_was_heard_or_would_be_the_same_again_is_cut(
    decoder: Decoder, heard: bool, sampling: Sampling
) -> None:
    rows = Rows(decoder)
    runaway = rows.submit(TEXTS[0], sampling, 3)
    runaway.max_tokens, runaway.heard = 10, heard
    rows.finish(runaway)
    assert runaway.attempt == 0
    assert same(spoken(rows, runaway), ("length", alone(decoder, TEXTS[0], sampling, 3)[1][:10]))


def test_a_sentence_that_stops_with_its_very_last_token_is_no_runaway(decoder: Decoder) -> None:
    expected = alone(decoder, TEXTS[0], SAMPLED, 3)
    for limit, attempt in ((len(expected[1]), 0), (len(expected[1]) - 1, 1)):
        rows = Rows(decoder)
        sentence = rows.submit(TEXTS[0], SAMPLED, 3)
        sentence.max_tokens = limit
        rows.finish(sentence)
        assert sentence.attempt == attempt
        assert same(spoken(rows, sentence), expected) is (attempt == 0)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_token_that_is_not_finite_fails_its_own_request_and_nobody_in_that_row_later(
    decoder: Decoder, victim: int
) -> None:
    rows = Rows(decoder, slots=3)
    sentences = [rows.submit(TEXTS[seed], SAMPLED, seed) for seed in range(3)]
    rows.turns(5)
    rows.cache.values[:, victim, 40] = torch.nan
    rows.turns(3)
    listener = sentences[victim].request.deliver
    assert isinstance(listener, Listener)
    assert isinstance(listener.error, EngineError)
    assert sentences[victim].row is None
    assert rows.cache.values.isfinite().all()
    assert rows.cache.keys.isfinite().all()
    rows.scheduler.remove(sentences[victim].request)
    newcomer = rows.submit(TEXTS[3], SAMPLED, 3)
    rows.finish(*sentences, newcomer)
    for seed, sentence in enumerate([*sentences, newcomer]):
        if seed != victim:
            assert not sentence.request.ended
            assert same(spoken(rows, sentence), alone(decoder, TEXTS[seed], SAMPLED, seed))


@pytest.mark.parametrize("ahead", [1], indirect=True)
def test_a_row_that_it_has_left_meanwhile_is_cleaned_as_well(decoder: Decoder, ahead: int) -> None:
    """One step late, a sequence may have moved between the step that spoilt it and the look at its token."""
    rows = Rows(decoder, slots=3)
    sentences = [rows.submit(TEXTS[seed], SAMPLED, seed) for seed in range(3)]
    rows.turns(5)
    spoilt = sentences[2]
    rows.cache.values[:, 2, 40] = torch.nan
    rows.decoding.release(sentences[0])  # its listener left; the last row takes its place
    rows.scheduler.remove(sentences[0].request)
    assert spoilt.row == 0
    rows.turns(3)
    assert spoilt.request.ended
    assert rows.cache.values[:, len(rows.scheduler.active) :].isfinite().all()


def test_after_forgetting_all_rows_are_free_and_clean(decoder: Decoder) -> None:
    rows = Rows(decoder, slots=2)
    gone = [rows.submit(text) for text in TEXTS[:2]]
    rows.turns(4)
    rows.cache.keys[:, :, 20] = torch.inf
    rows.decoding.forget()
    assert [sentence.row for sentence in gone] == [None, None]
    rows.scheduler.requests.clear()
    newcomers = [rows.submit(TEXTS[seed], SAMPLED, seed) for seed in (2, 3)]
    rows.finish(*newcomers)
    for seed, sentence in zip((2, 3), newcomers, strict=True):
        assert same(spoken(rows, sentence), alone(decoder, TEXTS[seed], SAMPLED, seed))


def test_a_step_reads_the_rows_and_positions_in_use_and_hardly_more(decoder: Decoder) -> None:
    asked: list[tuple[int, int]] = []

    def step(cache: SlotCache, rows: int, positions: int) -> torch.Tensor:
        asked.append((rows, positions))
        assert int(cache.length[:rows].max()) < positions <= int(cache.length[:rows].max()) + 32
        return decoder.step(cache, rows, positions)

    rows = Rows(decoder, step=step)
    assert not rows.decoding.step()
    rows.finish(*[rows.submit(text) for text in TEXTS[:2]])
    rows.turns(1)
    assert not rows.decoding.step()
    assert {count for count, _ in asked} == {1, 2}
    assert len({positions for _, positions in asked}) > 1
    assert {positions % 32 for _, positions in asked} == {0}
