import pytest

from serving.engines.failures import typed
from serving.errors import EngineError, NotFound


def test_our_own_errors_stay_as_they_are() -> None:
    error = NotFound("no such voice")
    assert typed(error, "XTTS") is error


def test_any_other_error_is_an_engine_error_and_its_words_are_for_the_log_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = typed(RuntimeError("CUDA error at 0x7f"), "the conversion")
    assert isinstance(error, EngineError)
    assert str(error) == "the conversion failed (RuntimeError); the server's log has more"
    assert "the conversion failed" in caplog.text
    assert "CUDA error at 0x7f" in caplog.text
