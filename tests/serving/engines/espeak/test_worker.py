"""espeak-ng in a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from serving.engines.espeak import library, worker
from serving.engines.espeak.worker import EspeakProcess
from serving.errors import EngineError, InvalidRequest, Unavailable
from tests.audio_measure import is_silent

VOICE = "gmw/en-US"

# Found by random search: glibc ends espeak-ng 1.52 with "buffer overflow detected" when it speaks this in Burmese.
FATAL = (
    "\u1038\xa0\U000787ea\u200d\U000e38edO<speak>\U000e37ad\u200dD\u200d\U000dc1dc\u11e5\U0002734d\U000120e9^a\U000a64ae"
    ",%a\xa0\U000c2984\x7f\U0002a47e\u202e\u173e\U00106020\u10f3\u0c04]\U0010ffffp(|\xa0\u0e26h@ll\u0300\U000a119b"
    "\U0009876a\ufeffb\U000c9387\u1230,\u200d12"
)


@pytest.fixture
def espeak_process() -> Iterator[EspeakProcess]:
    process = EspeakProcess()
    yield process
    process.close()


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def test_it_gives_what_the_library_gives(espeak_process: EspeakProcess) -> None:
    for text in ("Hello there.", "Zoë \U0001f600 \ud800", ""):
        spoken = espeak_process.synthesise(text, VOICE, "f1", 175)
        assert np.array_equal(spoken, library.synthesise(text, VOICE, "f1", 175))


def test_a_text_that_kills_espeak_is_refused_and_the_next_one_is_spoken(espeak_process: EspeakProcess) -> None:
    with pytest.raises(InvalidRequest) as caught:
        espeak_process.synthesise(FATAL, "sit/my", "f1", 175)

    assert caught.value.param == "input"
    assert not is_silent(espeak_process.synthesise("Hello.", VOICE, "f1", 175))


def test_a_process_that_was_killed_between_texts_is_started_again(espeak_process: EspeakProcess) -> None:
    before = set(children())
    espeak_process.synthesise("Hello.", VOICE, "f1", 175)
    (own,) = set(children()) - before
    os.kill(own.pid, signal.SIGKILL)
    psutil.wait_procs([own], timeout=5)

    assert not is_silent(espeak_process.synthesise("Hello.", VOICE, "f1", 175))


def test_a_text_during_which_the_process_was_killed_is_spoken_all_the_same(espeak_process: EspeakProcess) -> None:
    before = set(children())
    espeak_process.synthesise("Hello.", VOICE, "f1", 175)
    (own,) = set(children()) - before
    own.suspend()
    killer = threading.Timer(0.2, own.kill)
    killer.start()

    assert not is_silent(espeak_process.synthesise("Hello.", VOICE, "f1", 175))
    killer.join()


def test_a_process_that_never_speaks_is_not_blamed_on_the_text(
    espeak_process: EspeakProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "espeakng_loader.py").write_text("raise SystemExit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(Unavailable, match="exit code 7"):
        espeak_process.synthesise("Hello.", VOICE, "f1", 175)


def test_a_process_that_hangs_is_replaced(espeak_process: EspeakProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(children())
    espeak_process.synthesise("Hello.", VOICE, "f1", 175)
    (own,) = set(children()) - before
    own.suspend()
    monkeypatch.setattr(worker, "TIMEOUT_S", 3.0)  # enough for the next process to start

    assert not is_silent(espeak_process.synthesise("Hello.", VOICE, "f1", 175))
    assert not own.is_running()


def test_an_error_of_the_library_comes_through(espeak_process: EspeakProcess) -> None:
    with pytest.raises(EngineError, match="no/voice"):
        espeak_process.synthesise("Hello.", "no/voice", "f1", 175)


def test_ctrl_c_in_the_terminal_does_not_end_it(espeak_process: EspeakProcess) -> None:
    before = set(children())
    espeak_process.synthesise("Hello.", VOICE, "f1", 175)
    (own,) = set(children()) - before
    own.send_signal(signal.SIGINT)

    assert not is_silent(espeak_process.synthesise("Hello.", VOICE, "f1", 175))
    assert own.is_running()


def test_nothing_is_left_of_one_that_is_closed_or_forgotten() -> None:
    before = set(children())
    closed, forgotten = EspeakProcess(), EspeakProcess()
    closed.synthesise("Hello.", VOICE, "f1", 175)
    forgotten.synthesise("Hello.", VOICE, "f1", 175)

    closed.close()
    closed.close()
    del forgotten

    assert set(children()) == before
