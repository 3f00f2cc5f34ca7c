"""Errors of an engine's work as clients see them."""

from __future__ import annotations

import logging

from serving.errors import EngineError, KubevoiceError

logger = logging.getLogger(__name__)


def typed(error: BaseException, work: str) -> KubevoiceError:
    """Our own errors as they are; any other as an EngineError that says that ``work`` failed, logged with its stack."""
    if isinstance(error, KubevoiceError):
        return error
    logger.error("%s failed", work, exc_info=error)
    return EngineError(f"{work} failed ({type(error).__name__}); the server's log has more")
