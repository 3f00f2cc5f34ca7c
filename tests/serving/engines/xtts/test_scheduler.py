import math
import time

import pytest

from serving.engines.xtts.scheduler import CONDITIONING, STAY_S, UNHEARD_S, Limits, Scheduler
from serving.engines.xtts.sentence import AHEAD_S, TOKEN_S, Request, Sentence
from serving.errors import Overloaded
from tests.factories.sentences import make_request

TEXT = "A sentence of some length."
PLENTY = 10_000


def scheduler(slots: int = 4, prefill_tokens: int = PLENTY, queue: int = 256, queue_age_s: float = 30.0) -> Scheduler:
    return Scheduler(Limits(slots, prefill_tokens, queue, queue_age_s))


def submitted(
    to: Scheduler, *texts: str, ago: float = 0.0, speed: float = 1.0, heard_in_s: float | None = 0.0
) -> Request:
    """A request that came ``ago`` seconds ago, and that no queue refuses."""
    request = make_request(*(texts or (TEXT,)), speed=speed, heard_in_s=heard_in_s)
    request.submitted -= ago
    to.submit(request)
    return request


def enter(scheduler: Scheduler, sentence: Sentence) -> None:
    sentence.row = len(scheduler.active)
    scheduler.active.append(sentence)


def decoded(sentence: Sentence, seconds: float) -> None:
    sentence.tokens = round(seconds / TOKEN_S)


def heard(request: Request, delivered_s: float, heard_s: float = 0.0, began_ago: float = 0.0) -> None:
    request.first_audio = time.monotonic() - began_ago
    request.delivered_s, request.heard_s = delivered_s, heard_s


def test_first_sentences_come_before_later_ones_and_equal_ones_in_the_order_they_came() -> None:
    it = scheduler(slots=8)
    requests = [submitted(it, TEXT, TEXT, ago=0.3 - index / 10) for index in range(3)]
    chosen = it.admit()
    assert chosen[:3] == [request.sentences[0] for request in requests]
    assert chosen[3:] == [request.sentences[1] for request in requests]
    equal = scheduler(slots=8)
    same = [submitted(equal) for _ in range(5)]
    for request in same:
        request.submitted = 1.0
    assert equal.admit() == [request.sentences[0] for request in same]


def test_no_more_enter_than_there_are_free_slots() -> None:
    it = scheduler(slots=3)
    requests = [submitted(it, ago=5 - index) for index in range(5)]
    enter(it, requests[0].sentences[0])
    assert it.admit() == [requests[1].sentences[0], requests[2].sentences[0]]
    for request in requests[1:3]:
        enter(it, request.sentences[0])
    assert it.admit() == []


def test_later_sentences_go_by_the_time_their_listener_gets_to_them() -> None:
    it = scheduler(slots=8)
    ahead = submitted(it, TEXT, TEXT, ago=20)
    behind = submitted(it, TEXT, TEXT, ago=20)
    for request, began_ago in ((ahead, 1.0), (behind, 1.5)):
        heard(request, delivered_s=1.0, began_ago=began_ago)
        enter(it, request.sentences[0])
    assert it.admit() == [behind.sentences[1], ahead.sentences[1]]
    behind.drift_s = 2.0
    assert it.admit() == [ahead.sentences[1], behind.sentences[1]]
    newcomer = submitted(it)
    assert it.admit()[0] is newcomer.sentences[0]


def test_who_leaves_audio_lying_comes_behind_who_waits_and_makes_room_for_them() -> None:
    it = scheduler(slots=1)
    slow = submitted(it, TEXT, TEXT, ago=100)
    heard(slow, delivered_s=40.0, heard_s=2.0, began_ago=99)
    newcomer = submitted(it)
    assert it.admit() == [newcomer.sentences[0]]
    enter(it, slow.sentences[0])
    decoded(slow.sentences[0], 40.0)
    assert it.yielding() is slow.sentences[0]
    assert math.isinf(it.latest_due())
    slow.heard_s = 39.0
    assert it.admit() == []
    assert it.yielding() is None


def test_faster_speech_is_due_sooner() -> None:
    it = scheduler()
    slow, fast = submitted(it, TEXT, TEXT), submitted(it, TEXT, TEXT, speed=2.0)
    fast.submitted = slow.submitted
    assert it.admit()[2:] == [fast.sentences[1], slow.sentences[1]]
    for request in (slow, fast):
        decoded(request.sentences[0], 3.0)
    assert slow.sentences[0].decode_due - fast.sentences[0].decode_due == pytest.approx(1.5, abs=TOKEN_S)


def test_prompts_are_read_up_to_the_cap_and_at_least_one_is() -> None:
    each = CONDITIONING + len(TEXT)
    it = scheduler(slots=8, prefill_tokens=2 * each)
    requests = [submitted(it, ago=5 - index) for index in range(4)]
    assert it.admit() == [request.sentences[0] for request in requests[:2]]
    for cap, count in ((2 * each - 1, 1), (1, 1), (4 * each, 4)):
        narrow = scheduler(slots=8, prefill_tokens=cap)
        for _ in range(4):
            submitted(narrow)
        assert len(narrow.admit()) == count
    requests[0].sentences[0].saved = object()
    assert len(it.admit()) == 3


def test_prompts_that_are_read_together_are_counted_as_long_as_the_longest() -> None:
    long, short = CONDITIONING + 200, CONDITIONING + 10
    for padded, cap, count in (
        (False, long + 2 * short, 3),
        (True, long + 2 * short, 1),
        (True, 2 * long - 1, 1),
        (True, 2 * long, 2),
        (True, 3 * long, 3),
    ):
        it = Scheduler(Limits(8, cap, padded=padded))
        for letters in (200, 10, 10):
            submitted(it, "x" * letters)
        assert len(it.admit()) == count
    grown = Scheduler(Limits(8, 2 * long - 1, padded=True))
    for letters in (10, 10, 200):  # the long one would make the short ones long
        submitted(grown, "x" * letters)
    assert len(grown.admit()) == 2


def test_a_stream_that_is_ahead_makes_room_for_one_who_waits() -> None:
    it = scheduler(slots=2)
    near, far = submitted(it), submitted(it)
    for request, seconds in ((near, 1.0), (far, AHEAD_S + 1)):
        heard(request, delivered_s=0.5)
        enter(it, request.sentences[0])
        decoded(request.sentences[0], seconds)
    assert it.yielding() is None
    submitted(it)
    assert it.yielding() is far.sentences[0]
    decoded(far.sentences[0], AHEAD_S - 0.5)
    assert it.yielding() is None


def test_who_makes_room_keeps_no_more_than_there_is_memory_for() -> None:
    it = Scheduler(Limits(1, PLENTY, saved=300))
    away, ahead = submitted(it), submitted(it)
    for request, position in ((away, 200), (ahead, 100)):
        heard(request, delivered_s=0.5)
        decoded(request.sentences[0], 30.0)
        request.sentences[0].position = position
    away.sentences[0].saved = object()
    enter(it, ahead.sentences[0])
    submitted(it)
    assert it.yielding() is ahead.sentences[0]
    ahead.sentences[0].position = 101
    assert it.yielding() is None
    it.remove(away)
    assert it.yielding() is ahead.sentences[0]


def test_nobody_makes_room_for_a_while_when_the_device_had_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    it = scheduler(slots=1)
    ahead = submitted(it)
    heard(ahead, delivered_s=0.5)
    enter(it, ahead.sentences[0])
    decoded(ahead.sentences[0], 60.0)
    submitted(it)
    it.stay()
    assert it.yielding() is None
    later = time.monotonic() + STAY_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert it.yielding() is ahead.sentences[0]


def test_a_stream_that_is_ahead_stays_while_there_is_room() -> None:
    it = scheduler(slots=2)
    far = submitted(it)
    heard(far, delivered_s=0.5)
    enter(it, far.sentences[0])
    decoded(far.sentences[0], 30.0)
    submitted(it)
    assert it.yielding() is None


def test_a_stream_that_is_ahead_stays_when_whoever_waits_has_time() -> None:
    it = scheduler(slots=1)
    ahead, waits = submitted(it), submitted(it)
    for request in (ahead, waits):
        heard(request, delivered_s=0.5)
        decoded(request.sentences[0], 10.0)
    enter(it, ahead.sentences[0])
    assert it.yielding() is None
    decoded(waits.sentences[0], 10.0 - AHEAD_S - 0.5)
    assert it.yielding() is ahead.sentences[0]


def test_someone_who_has_waited_for_long_does_not_drive_out_one_who_is_hardly_ahead() -> None:
    it = scheduler(slots=1)
    active = submitted(it)
    heard(active, delivered_s=0.5)
    enter(it, active.sentences[0])
    decoded(active.sentences[0], 1.0)
    submitted(it, ago=25)
    assert it.yielding() is None


def test_a_long_queue_is_refused_but_nobody_whose_text_has_begun() -> None:
    it = scheduler(slots=1, queue=2)
    waiting = [submitted(it), submitted(it)]
    with pytest.raises(Overloaded, match="2 requests wait"):
        it.submit(make_request(TEXT))
    it.submit(make_request(TEXT, heard_in_s=0.0))
    assert len(it.requests) == 3
    it.remove(it.requests[-1])
    enter(it, waiting[0].sentences[0])
    it.submit(make_request(TEXT))
    assert it.unstarted() == it.requests[1:]


def test_an_old_queue_is_refused_but_nobody_whose_text_has_begun() -> None:
    it = scheduler(slots=1, queue_age_s=30)
    old = submitted(it, ago=31)
    assert it.queue_age_s() == pytest.approx(31, abs=1)
    with pytest.raises(Overloaded, match="waited 31 s"):
        it.submit(make_request(TEXT))
    it.submit(make_request(TEXT, heard_in_s=0.0))
    enter(it, old.sentences[0])
    assert it.queue_age_s() < 1
    it.submit(make_request(TEXT))


def test_the_rest_of_a_text_waits_for_as_long_as_its_listener_is_busy_with_the_beginning() -> None:
    it = scheduler(slots=1)
    rest = submitted(it, heard_in_s=20.0, ago=5)
    new = submitted(it, heard_in_s=None)
    assert it.admit() == [new.sentences[0]]
    new.departed = True
    it.remove(new)
    enter(it, rest.sentences[0])
    assert it.yielding() is None
    submitted(it, heard_in_s=None)
    assert it.yielding() is rest.sentences[0]


def test_the_rest_of_a_text_is_not_in_the_queue_before_its_time() -> None:
    it = scheduler(slots=1, queue=1, queue_age_s=30)
    rest = submitted(it, heard_in_s=20.0, ago=15)
    assert (it.unstarted(), it.waiting(), it.queue_age_s()) == ([rest], [], 0.0)
    submitted(it, heard_in_s=None)
    rest.submitted -= 10
    assert len(it.waiting()) == 2
    assert it.queue_age_s() == pytest.approx(5, abs=1)
    with pytest.raises(Overloaded, match="2 requests wait"):
        it.submit(make_request(TEXT))


@pytest.mark.parametrize("change", [{"row": 0}, {"tokens": 1}, {"finish": "stop"}, {"attempt": 1}])
def test_a_request_counts_as_waiting_only_until_anything_was_decoded(change: dict[str, object]) -> None:
    it = scheduler()
    request = submitted(it, TEXT, TEXT, ago=100)
    assert it.unstarted() == [request]
    for name, value in change.items():
        setattr(request.sentences[0], name, value)
    assert it.unstarted() == []
    assert it.queue_age_s() == 0.0


def test_unheard_audio_pauses_a_request_until_it_is_heard() -> None:
    it = scheduler(slots=8)
    request, other = submitted(it, TEXT, TEXT, ago=1), submitted(it)
    first, second = request.sentences
    first.tokens = 5
    heard(request, delivered_s=UNHEARD_S + 1)
    assert it.admit() == [other.sentences[0]]
    assert list(it.speaking()) == []
    request.heard_s = 1.5
    assert set(it.admit()) == {first, second, other.sentences[0]}
    assert list(it.speaking()) == [first]


def test_sentences_far_beyond_the_one_that_is_heard_wait_even_if_there_is_room() -> None:
    it = scheduler(slots=3)
    request = submitted(it, *[TEXT] * 10)
    assert it.admit() == request.sentences[:3]
    request.current = 2
    assert it.admit() == request.sentences[2:5]
    enter(it, request.sentences[2])
    request.sentences[3].finish = "stop"
    assert it.admit() == [request.sentences[4]]


def test_audio_is_made_of_what_is_decoded_and_not_complete_from_the_current_sentence_on() -> None:
    it = scheduler()
    request = submitted(it, *[TEXT] * 5)
    for sentence in request.sentences[:4]:
        sentence.tokens = 5
    request.sentences[2].complete = True
    request.current = 1
    assert list(it.speaking()) == [request.sentences[1], request.sentences[3]]


def test_new_requests_that_ended_well_are_counted_and_others_are_not() -> None:
    it = scheduler()
    good, failed, rest = (submitted(it, ago=4, heard_in_s=heard_in_s) for heard_in_s in (None, None, 1.0))
    for request in (good, failed, rest):
        heard(request, delivered_s=2.0, began_ago=3.0)
    good.current = rest.current = 1
    for request in (good, failed, rest):
        it.remove(request)
    assert it.requests == []
    ((first_audio_s, factor),) = it.finished
    assert first_audio_s == pytest.approx(1.0, abs=0.5)
    assert factor == pytest.approx(2.0, abs=0.5)
