import logging
import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from serving.engines.xtts import scheduler as scheduling
from serving.engines.xtts.checkpoint import LoadedXtts
from serving.engines.xtts.decoder import Decoder
from serving.engines.xtts.sentence import Request
from serving.engines.xtts.vocoder import Vocoder
from serving.errors import EngineError, NotFound, Overloaded, Unavailable
from tests.factories.sentences import WAIT_S, Listener, make_request
from tests.serving.engines.xtts.workbench import TEXT, Device, Held

Start = Callable[..., Device]


@pytest.fixture
def start(decoder: Decoder, loaded: LoadedXtts) -> Iterator[Start]:
    devices: list[Device] = []

    def start(**limits: int) -> Device:
        devices.append(Device(decoder, loaded, **limits))
        return devices[-1]

    yield start
    for device in devices:
        device.close()


def test_requests_are_spoken_to_their_end_and_then_forgotten(start: Start) -> None:
    device = start(slots=2)
    listeners = [device.submit(TEXT, TEXT, seed=seed)[1] for seed in range(3)]
    assert [listener.wait_for_end() for listener in listeners] == [None] * 3
    for listener in listeners:
        assert [chunk.finish_reason for chunk in listener.chunks if chunk.finish_reason] == ["stop", "stop"]
        assert sum(chunk.input_tokens for chunk in listener.chunks) == 2 * len(TEXT)
    assert device.call(lambda: None) is None
    assert device.scheduler.requests == []
    assert len(device.scheduler.finished) == 3


def test_a_step_that_frees_the_only_row_is_followed_by_another_turn(start: Start) -> None:
    device = start(slots=1)
    listener = Listener()
    too_fast = make_request(TEXT, TEXT, deliver=listener, speed=200.0)  # not a frame is left of it
    device.worker.submit(too_fast)
    assert listener.wait_for_end() is None
    with Held(device):
        request, listener = device.submit()
        request.sentences[0].max_tokens = 5  # a runaway before anything is heard: it begins again
    assert listener.wait_for_end() is None
    assert [chunk.finish_reason for chunk in listener.chunks] == ["length"]


def test_calls_run_on_the_thread_between_turns_and_tell_how_they_ended(start: Start) -> None:
    device = start()
    request, listener = device.submit(*[TEXT] * 10)
    listener.wait_for_chunk()
    seen: list[object] = []
    assert device.call(lambda: seen.extend([threading.current_thread().name, request.ended])) is None
    assert seen == ["test", False]
    assert isinstance(device.call(lambda: 1 / 0), ZeroDivisionError)
    assert listener.wait_for_end() is None


def test_numbers_too_small_to_matter_are_zeros_on_its_thread(start: Start) -> None:
    tiny, seen = torch.full((8,), torch.finfo(torch.float32).tiny), []
    assert start().call(lambda: seen.append(tiny / 2)) is None
    assert not seen[0].any()
    assert (tiny / 2).all()


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: device-side assert"), EngineError("typed already")])
def test_a_step_that_fails_ends_what_has_begun_and_spares_what_waits(
    start: Start, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    device = start(slots=1)
    with Held(device):
        (_, begun), (_, waiting) = device.submit(), device.submit(seed=2)
        device.step_error = error
    reason = begun.wait_for_end()
    assert isinstance(reason, EngineError)
    assert (reason is error) is isinstance(error, EngineError)
    assert ("device-side" in caplog.text) is isinstance(error, RuntimeError)
    assert "device-side" not in str(reason)
    assert begun.chunks == []
    assert waiting.wait_for_end() is None
    assert waiting.chunks
    assert device.worker.alive


def test_a_vocoder_that_fails_ends_what_has_begun_and_the_next_is_spoken(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = start()
    with monkeypatch.context() as patch:
        patch.setattr(Vocoder, "synthesize", lambda *_: 1 / 0)
        assert isinstance(device.submit()[1].wait_for_end(), EngineError)
    _, listener = device.submit()
    assert listener.wait_for_end() is None
    assert listener.chunks


def test_a_device_that_cannot_even_free_a_row_ends_everything_and_the_worker(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device = start(slots=1)
    monkeypatch.setattr(device.cache, "reset", lambda: 1 / 0)
    with Held(device):
        (_, begun), (_, waiting) = device.submit(), device.submit()
        device.step_error = RuntimeError("CUDA error")
        calls = [device.calling(lambda: None) for _ in range(2)]
    assert isinstance(begun.wait_for_end(), EngineError)
    reason = waiting.wait_for_end()
    assert isinstance(reason, Unavailable)
    assert "device has failed" in str(reason)
    assert isinstance(calls[1].result(WAIT_S), Unavailable)
    assert not device.worker.alive
    with pytest.raises(Unavailable):
        device.submit()
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)


@pytest.mark.parametrize(
    ("error", "expected"), [(NotFound("no such voice"), NotFound), (RuntimeError("torn file"), EngineError)]
)
def test_a_voice_that_cannot_be_had_ends_its_own_request_which_is_forgotten_at_once(
    start: Start, error: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = start()
    forgotten = threading.Event()
    remove = device.scheduler.remove

    def remove_and_tell(request: Request) -> None:
        remove(request)
        forgotten.set()

    monkeypatch.setattr(device.scheduler, "remove", remove_and_tell)
    device.condition_error = error
    reason = device.submit()[1].wait_for_end()
    assert isinstance(reason, expected)
    assert (reason is error) is isinstance(error, NotFound)
    assert forgotten.wait(WAIT_S)
    _, neighbour = device.submit(*[TEXT] * 5)
    neighbour.wait_for_chunk()
    device.condition_error = error
    assert device.submit()[1].wait_for_end()
    assert neighbour.wait_for_end() is None


def test_more_requests_than_may_wait_are_refused_but_nobody_who_has_begun(start: Start) -> None:
    device = start(slots=1, queue=2)
    with Held(device):
        listeners = [device.submit(seed=seed)[1] for seed in range(4)]
        listeners.append(device.submit(heard_in_s=0.0)[1])
    ends = [listener.wait_for_end() for listener in listeners]
    assert [type(end) for end in ends] == [type(None)] * 2 + [Overloaded] * 2 + [type(None)]


def test_a_departed_request_is_out_of_its_row_a_turn_later(start: Start) -> None:
    device = start(slots=1)
    request, listener = device.submit(*[TEXT] * 50)
    listener.wait_for_chunk()
    rows: list[int] = []
    with Held(device):
        request.departed = True
        device.worker.wake()
        next_turn = device.calling(lambda: rows.append(len(device.scheduler.active)))
    assert next_turn.result(WAIT_S) is None
    assert rows == [0]
    assert device.submit()[1].wait_for_end() is None
    assert not listener.ended


def test_who_departs_before_its_turn_is_never_decoded(start: Start) -> None:
    device = start()
    with Held(device):
        request, listener = device.submit()
        request.departed = True
        _, other = device.submit()
    assert other.wait_for_end() is None
    assert request.sentences[0].tokens == 0
    assert listener.chunks == []


def test_who_departs_makes_room_for_who_comes_in_the_same_moment(start: Start) -> None:
    device = start(slots=1, queue=1)
    newcomers: list[Listener] = []

    def change_places() -> None:
        waiting.departed = True
        newcomers.append(device.submit()[1])

    with Held(device):
        (_, speaking), (waiting, _) = device.submit(), device.submit(heard_in_s=0.0)
        device.during_step = change_places
    assert speaking.wait_for_end() is None
    assert newcomers[0].wait_for_end() is None
    assert waiting.sentences[0].tokens == 0


def test_a_listener_who_comes_back_as_the_worker_goes_to_rest_is_noticed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "UNHEARD_S", 0.5)
    device = start()
    turn = device.vocoding.turn

    def listen_when_nothing_is_left_to_do(*, wait: bool) -> bool:
        worked = turn(wait=wait)
        for request in device.scheduler.requests:
            if not worked and not device.scheduler.active:
                request.heard_s = request.delivered_s
                device.worker.wake()
        return worked

    monkeypatch.setattr(device.vocoding, "turn", listen_when_nothing_is_left_to_do)
    assert device.submit(*[TEXT] * 3)[1].wait_for_end() is None


def test_unheard_audio_pauses_the_work_until_somebody_listens(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "UNHEARD_S", 0.5)
    device = start()
    request, listener = device.submit(*[TEXT] * 3)
    for _ in range(500):  # a turn each
        assert device.call(lambda: None) is None
    assert not listener.ended
    assert 0.5 < request.delivered_s < 3.0
    for _ in range(500):
        request.heard_s = request.delivered_s
        device.worker.wake()
        assert device.call(lambda: None) is None
    assert listener.wait_for_end() is None
    assert request.delivered_s > 3.0


def test_closing_ends_everything_and_nothing_is_taken_afterwards(start: Start) -> None:
    device = start(slots=1)
    _, speaking = device.submit(*[TEXT] * 50)
    speaking.wait_for_chunk()
    with Held(device):
        _, waiting = device.submit()
        call = device.calling(lambda: None)
        closing = threading.Thread(target=device.worker.close)
        closing.start()
        while device.worker.alive:
            pass
        with pytest.raises(Unavailable, match="closed"):
            device.submit()
    closing.join(WAIT_S)
    for listener in (speaking, waiting):
        assert isinstance(listener.wait_for_end(), Unavailable)
        assert listener.ends == 1
    assert isinstance(call.result(WAIT_S), Unavailable)
    device.worker.wake()
    device.close()


def test_a_long_turn_can_be_seen_and_an_idle_worker_closes_however_often_it_was_woken(start: Start) -> None:
    device = start()
    with Held(device):
        before = device.worker.stuck_s
        assert 0.0 < before < device.worker.stuck_s
    for _ in range(1000):
        device.worker.wake()
    device.close()
    assert not device.worker.alive
    assert device.worker.stuck_s == 0.0
