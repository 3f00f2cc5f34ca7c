"""Log lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest

from serving.logs import configure_logging, request_id
from serving.settings_groups import LogSettings

logger = logging.getLogger("serving.some.module")


@pytest.fixture(autouse=True)
def _restored_logger() -> Iterator[None]:
    root = logging.getLogger("serving")
    handlers, level, propagate = root.handlers, root.level, root.propagate
    yield
    root.handlers, root.propagate = handlers, propagate
    root.setLevel(level)


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_json_line_has_time_level_logger_message_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    logger.info("spoke %d words", 3, extra={"fields": {"voice": "Zoë", "status": 200}})

    (line,) = json_lines(capsys.readouterr().err)
    assert datetime.fromisoformat(str(line.pop("time"))).tzinfo is not None
    assert line == {
        "level": "INFO", "logger": "serving.some.module", "message": "spoke 3 words", "voice": "Zoë", "status": 200,
    }  # fmt: skip


def test_the_current_requests_id_is_in_its_lines_only(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    token = request_id.set("req_1")
    logger.info("inside")
    request_id.reset(token)
    logger.info("outside")

    inside, outside = json_lines(capsys.readouterr().err)
    assert inside["request_id"] == "req_1"
    assert "request_id" not in outside


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    try:
        int("five")
    except ValueError:
        logger.exception("failed")

    (line,) = json_lines(capsys.readouterr().err)
    assert "ValueError" in str(line["exception"])


@pytest.mark.parametrize("hostile", ['"}\n{"level": "ERROR"', "\x1b[31mred\r\n", "\0"])
def test_what_a_client_sends_cannot_forge_a_line(capsys: pytest.CaptureFixture[str], hostile: str) -> None:
    for style in ("json", "text"):
        configure_logging(LogSettings.model_validate({"format": style}))
        logger.info("request", extra={"fields": {"path": hostile}})

        text = capsys.readouterr().err
        assert len(text.splitlines()) == 1
        assert "\x1b" not in text
        if style == "json":
            assert json_lines(text)[0]["level"] == "INFO"


def test_text_lines_show_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format="text"))
    logger.warning("slow", extra={"fields": {"seconds": 3, "path": "/v1/models"}})

    assert capsys.readouterr().err.endswith("WARNING slow seconds=3 path=/v1/models\n")


def test_the_level_is_kept_and_configuring_twice_does_not_double_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        configure_logging(LogSettings(level="WARNING"))
    logger.info("quiet")
    logger.warning("loud")

    assert [line["message"] for line in json_lines(capsys.readouterr().err)] == ["loud"]
