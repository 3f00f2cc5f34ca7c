"""The FastAPI application: a pure function of an engine, a store, the settings and a metrics recorder."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from serving import __version__
from serving.api import conversion_models, conversions, health, models, speech, voices
from serving.api.context import Context
from serving.api.errors import add_error_handlers
from serving.api.middleware import RequestLog
from serving.api.schemas import ErrorBody
from serving.engines.base import SpeechService
from serving.engines.conversion import VoiceConverter
from serving.engines.rvc.absent import AbsentConverter
from serving.metrics import Metrics
from serving.selection import NO_CONVERSION
from serving.settings import Settings
from serving.store.conversion_models import ConversionModelStore
from serving.store.voices import VoiceStore

DESCRIPTION = """Text to speech in OpenAI's convention: point an OpenAI client's `base_url` at `/v1`. Voice conversion.
Errors are OpenAI's error object and carry an `X-Request-ID` header."""

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be served as it is; `param` names the field"},
    "5XX": {"model": ErrorBody, "description": "The engine or the volume failed"},
    429: {"model": ErrorBody, "description": "At capacity: try again after `Retry-After` seconds"},
    503: {"model": ErrorBody, "description": "Cannot speak at the moment: try again after `Retry-After` seconds"},
}


def build_app(
    engine: SpeechService,
    store: VoiceStore,
    settings: Settings,
    metrics: Metrics,
    converter: VoiceConverter | None = None,
) -> FastAPI:
    """The application with all routes, error handlers and middleware; ``store`` says where conversion models are."""
    app = FastAPI(
        title="kubevoice",
        version=__version__,
        description=DESCRIPTION,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    models_store = ConversionModelStore(store.volume, store.database)
    app.state.context = Context(
        engine, store, settings, metrics, converter or AbsentConverter(NO_CONVERSION), models_store
    )
    for router in (speech.router, voices.router, conversions.router, conversion_models.router, models.router):
        app.include_router(router, responses=ERRORS)
    app.include_router(health.router)
    add_error_handlers(app)
    app.add_middleware(RequestLog, context=app.state.context)
    return app
