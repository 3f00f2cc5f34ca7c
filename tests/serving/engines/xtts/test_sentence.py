import itertools
import random
import time

import numpy as np
import pytest

from serving.engines.base import SpeechChunk
from serving.engines.pace import CHARACTER_S
from serving.engines.xtts.sentence import AHEAD_S, TOKEN_S, Request, Sentence, budget
from serving.engines.xtts.text import Piece
from serving.errors import EngineError
from tests.factories.sentences import MAX_AUDIO, Listener, make_request

RATE = 24000


def chunk(seconds: float = 1.0, tokens: int = 1) -> SpeechChunk:
    return SpeechChunk(np.zeros(round(seconds * RATE), np.float32), RATE, output_tokens=tokens)


def make(sentence: Sentence, *chunks: SpeechChunk, last: bool = False) -> None:
    """As the vocoder does: what was made is offered to the request at once."""
    sentence.chunks.extend(chunks)
    sentence.complete = last
    sentence.request.hand_over()


def listened(*texts: str, speed: float = 1.0) -> tuple[Request, Listener]:
    listener = Listener()
    return make_request(*texts, deliver=listener, speed=speed), listener


@pytest.mark.parametrize("seed", range(20))
def test_chunks_are_delivered_in_order_whatever_order_they_were_made_in(seed: int) -> None:
    request, listener = listened("a", "b", "c", "d")
    left = {sentence.index: [1, 2, 3] for sentence in request.sentences}
    chance = random.Random(seed)
    while left:
        index = chance.choice(list(left))
        number = left[index].pop(0)
        make(request.sentences[index], chunk(tokens=10 * index + number), last=not left[index])
        if not left[index]:
            del left[index]
    expected = [10 * index + number for index, number in itertools.product(range(4), (1, 2, 3))]
    assert [delivered.output_tokens for delivered in listener.chunks] == expected
    assert (listener.ends, listener.error) == (1, None)
    assert request.ended
    assert request.departed


def test_nothing_is_kept_back_that_can_be_heard_and_nothing_given_before_its_time() -> None:
    request, listener = listened("a", "b")
    first, second = request.sentences
    make(second, chunk(tokens=3))
    assert not listener.chunks
    assert request.first_audio is None
    assert [sentence.heard for sentence in request.sentences] == [False, False]
    make(first, chunk(tokens=1))
    assert [delivered.output_tokens for delivered in listener.chunks] == [1]
    assert [sentence.heard for sentence in request.sentences] == [True, False]
    make(first, chunk(tokens=2), last=True)
    assert [delivered.output_tokens for delivered in listener.chunks] == [1, 2, 3]
    assert [sentence.heard for sentence in request.sentences] == [True, True]
    assert not listener.ended


def test_the_end_comes_once_and_nothing_after_it() -> None:
    request, listener = listened("a")
    make(request.sentences[0], chunk(), last=True)
    request.hand_over()
    request.fail(EngineError("too late"))
    assert (len(listener.chunks), listener.ends, listener.error) == (1, 1, None)


def test_a_sentence_without_audio_ends_as_well() -> None:
    request, listener = listened("a", "b")
    make(request.sentences[0], last=True)
    make(request.sentences[1], chunk(), last=True)
    assert (len(listener.chunks), listener.ends) == (1, 1)


def test_failing_ends_once_with_the_error_and_drops_what_was_made() -> None:
    request, listener = listened("a", "b")
    make(request.sentences[1], chunk())
    error = EngineError("broken")
    request.fail(error)
    request.fail(EngineError("again"))
    make(request.sentences[0], chunk(), last=True)
    assert listener.error is error
    assert (listener.chunks, listener.ends) == ([], 1)
    assert request.ended
    assert request.departed


def test_what_is_unheard_is_what_was_delivered_and_not_taken() -> None:
    request, _ = listened("a")
    make(request.sentences[0], chunk(2.0), chunk(0.5))
    request.heard_s += 2.0
    assert request.unheard_s == pytest.approx(0.5)


def test_the_clock_of_later_sentences_moves_with_the_true_length_of_earlier_ones() -> None:
    request, _ = listened("x" * 10, "y" * 20, "z")
    first, second, third = request.sentences
    assert [sentence.offset_s for sentence in request.sentences] == pytest.approx(
        [0.0, 10 * CHARACTER_S, 30 * CHARACTER_S]
    )
    assert second.decode_due == pytest.approx(request.submitted + 10 * CHARACTER_S)
    make(first, chunk(3.0), last=True)
    assert request.first_audio is not None
    assert request.play_start == request.first_audio >= request.submitted
    assert second.decode_due == pytest.approx(request.first_audio + 3.0)
    assert third.decode_due == pytest.approx(request.first_audio + 3.0 + 20 * CHARACTER_S)
    make(second, chunk(1.0), last=True)
    assert third.decode_due == pytest.approx(request.first_audio + 4.0)
    third.tokens, third.emitted = 40, 10
    assert third.decode_due == pytest.approx(request.first_audio + 4.0 + 40 * TOKEN_S)
    assert third.vocode_due(0.01) == pytest.approx(request.first_audio + 4.1)


def test_the_rest_of_a_text_is_due_when_what_comes_before_has_been_heard() -> None:
    request = make_request("x", heard_in_s=20.0)
    (sentence,) = request.sentences
    assert sentence.decode_due == pytest.approx(request.submitted + 20.0)
    make(sentence, chunk())
    assert request.play_start == pytest.approx(request.submitted + 20.0)  # it came early
    late = make_request("x", heard_in_s=20.0)
    late.submitted -= 25.0
    make(late.sentences[0], chunk())
    assert late.play_start == late.first_audio


def test_a_slow_listener_is_not_in_a_hurry_while_much_lies_unheard() -> None:
    request, _ = listened("x" * 100, "y")
    first, second = request.sentences
    make(first, chunk(AHEAD_S + 4.0))
    request.submitted = request.first_audio = time.monotonic() - 100.0  # it has been given a hundred seconds for that
    first.tokens = round((AHEAD_S + 6.0) / TOKEN_S)
    request.heard_s = 1.0
    now = time.monotonic()
    assert first.decode_due - now == pytest.approx(AHEAD_S + 5.0, abs=0.1)  # it plays what was decoded and not heard
    assert first.vocode_due(0.01) - now == pytest.approx(AHEAD_S + 3.0, abs=0.1)
    assert second.decode_due - now == pytest.approx(second.offset_s - 1.0, abs=0.1)
    request.heard_s = 4.0  # as fast as it can, for what the engine knows
    assert first.decode_due < now - 80.0


def test_speed_shortens_what_is_expected_and_what_is_decoded() -> None:
    request, _ = listened("x" * 10, "y", speed=2.0)
    assert request.sentences[1].offset_s == pytest.approx(5 * CHARACTER_S)
    request.sentences[0].tokens = 100
    assert request.sentences[0].decoded_s == pytest.approx(50 * TOKEN_S)


def test_a_character_of_a_dense_script_takes_three_times_as_long() -> None:
    for language, factor in (("en", 1), ("zh", 3), ("ja", 3), ("ko", 3)):
        request = make_request("x" * 10, "y", language=language)
        assert request.sentences[1].offset_s == pytest.approx(10 * factor * CHARACTER_S)


def test_a_sentence_that_is_spoken_again_forgets_everything_and_has_another_seed() -> None:
    request, listener = listened("a", "b")
    sentence = request.sentences[1]
    fresh = {name: getattr(sentence, name) for name in Sentence.__slots__}
    seed = sentence.seed
    make(sentence, chunk())
    for name in ("row", "position", "tokens", "emitted", "windows", "counted"):
        setattr(sentence, name, 7)
    sentence.saved, sentence.latents, sentence.finish = object(), object(), "stop"
    sentence.restart()
    assert {name: getattr(sentence, name) for name in Sentence.__slots__} == fresh | {"attempt": 1}
    assert sentence.seed != seed
    make(sentence, chunk(tokens=2), last=True)
    make(request.sentences[0], chunk(tokens=1), last=True)
    assert [delivered.output_tokens for delivered in listener.chunks] == [1, 2]


def test_no_two_attempts_and_no_two_sentences_of_a_request_share_a_seed() -> None:
    request, _ = listened(*"abcde")
    seeds = []
    for sentence in request.sentences:
        seeds.append(sentence.seed)
        sentence.restart()
        seeds.append(sentence.seed)
    assert len({seed % 2**62 for seed in seeds}) == 10


def test_a_sentence_may_take_seconds_more_the_longer_it_is_up_to_the_model_s_limit() -> None:
    def seconds(characters: int, language: str) -> float:
        return budget(Piece("x" * characters, (1,)), language, MAX_AUDIO) * TOKEN_S

    assert 4.0 < seconds(1, "en") < 5.0
    assert seconds(11, "en") - seconds(1, "en") == pytest.approx(5.0, abs=2 * TOKEN_S)
    for language in ("zh", "ja", "ko"):
        assert seconds(6, language) - seconds(1, language) == pytest.approx(7.5, abs=2 * TOKEN_S)
    assert budget(Piece("x" * 250, (1,)), "en", MAX_AUDIO) == MAX_AUDIO
    request, _ = listened("x", "x" * 10)
    assert [sentence.max_tokens for sentence in request.sentences] == [
        budget(sentence.piece, "en", MAX_AUDIO) for sentence in request.sentences
    ]
