"""Logs: one JSON object a line with the request's id, or text for people."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from serving.settings_groups import LogSettings

AUDIT = "kubevoice.audit"
"""The logger of who changed what; see ``serving.store.audit``."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that the current task works for."""


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", "request_id", ...}``; ``extra={"fields": {...}}`` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            line["request_id"] = current
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """The same for people: time, level, message, fields."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        fields = "".join(f" {key}={_on_one_line(value)}" for key, value in getattr(record, "fields", {}).items())
        return super().formatMessage(record) + fields


def _on_one_line(value: object) -> str:
    """``value`` as text; a client's line breaks and escape codes, as in a path, are shown and not obeyed."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def configure_logging(settings: LogSettings, names: Sequence[str] = ("serving",)) -> None:
    """Send the loggers below ``names``, and the audit log at any level, to standard error; others keep theirs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    for name in (*names, AUDIT):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO if name == AUDIT else settings.level)
        logger.propagate = False
