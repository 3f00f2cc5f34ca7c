"""The FastAPI application: a pure function of an engine, a store, the settings and a metrics recorder."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from serving import __version__
from serving.api import (
    audit,
    conversion_models,
    conversions,
    datasets,
    health,
    job_results,
    jobs,
    keys,
    models,
    profiles,
    pronunciations,
    speech,
    training,
    training_logs,
    training_results,
    voice_consents,
    voice_files,
    voices,
)
from serving.api.audited import Audit
from serving.api.context import Context
from serving.api.cors import add_cors
from serving.api.document import DocumentedApi
from serving.api.elevenlabs import routes as elevenlabs
from serving.api.errors import add_error_handlers
from serving.api.guard import Guard
from serving.api.key_cache import TTL_S
from serving.api.launching import NOT_SERVED, training_parts
from serving.api.middleware import RequestLog
from serving.api.quotas import Quotas
from serving.api.schemas import ErrorBody
from serving.engines.base import SpeechService
from serving.engines.conversion import VoiceConverter
from serving.engines.rvc.absent import AbsentConverter
from serving.errors import KubevoiceError
from serving.launch import RunLauncher
from serving.metrics import Metrics
from serving.selection import NO_CONVERSION
from serving.settings import Settings
from serving.store.api_keys import ApiKeyStore
from serving.store.audit import AuditStore
from serving.store.conversion_models import ConversionModelStore
from serving.store.job_items import JobItemStore
from serving.store.jobs import JobStore
from serving.store.speech_profiles import SpeechProfileStore
from serving.store.voice_consents import VoiceConsentStore
from serving.store.voices import VoiceStore

DESCRIPTION = """Text to speech in OpenAI's convention: point an OpenAI client's `base_url` at `/v1`. Voice conversion.
Errors are OpenAI's error object and carry an `X-Request-ID` header.
Under `/elevenlabs` is the same in ElevenLabs' convention."""

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be served as it is; `param` names the field"},
    "5XX": {"model": ErrorBody, "description": "The engine or the volume failed"},
    429: {"model": ErrorBody, "description": "At capacity, or over a quota: try again after `Retry-After` seconds"},
    503: {"model": ErrorBody, "description": "Cannot speak at the moment: try again after `Retry-After` seconds"},
}


def build_app(
    engine: SpeechService,
    store: VoiceStore,
    settings: Settings,
    metrics: Metrics,
    converter: VoiceConverter | None = None,
    launcher: RunLauncher | KubevoiceError = NOT_SERVED,
    keys_ttl_s: float = TTL_S,
) -> FastAPI:
    """The application with all routes, error handlers and middleware; ``store`` says where everything else is stored.

    ``launcher`` runs training, or is why nothing does. API keys are looked up again after ``keys_ttl_s`` seconds.
    """
    app = DocumentedApi(
        title="kubevoice",
        version=__version__,
        description=DESCRIPTION,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    models_store = ConversionModelStore(store.volume, store.database)
    trains = (
        launcher if isinstance(launcher, KubevoiceError) else training_parts(store.volume, store.database, launcher)
    )
    app.state.context = Context(
        engine,
        store,
        VoiceConsentStore(store.volume),
        settings,
        metrics,
        converter or AbsentConverter(NO_CONVERSION),
        models_store,
        trains,
        _keys(store, settings),
        SpeechProfileStore(store.database),
        JobStore(store.volume, store.database),
        JobItemStore(store.database),
        AuditStore(store.database),
        Quotas(settings.quotas, metrics),
    )
    for part in (
        speech, voices, voice_files, voice_consents, profiles, conversions, conversion_models, models, datasets,
        training, training_logs, training_results, jobs, job_results, keys, audit, pronunciations,
    ):  # fmt: skip
        app.include_router(part.router, responses=ERRORS)
    app.include_router(elevenlabs.router)
    app.include_router(health.router)
    add_error_handlers(app)
    app.add_middleware(Audit, context=app.state.context)  # inside the guard, which knows who asks
    app.add_middleware(Guard, context=app.state.context, ttl_s=keys_ttl_s)
    app.add_middleware(RequestLog, context=app.state.context)  # around the guard: refusals are logged too
    add_cors(app, settings.http.cors_origins)
    return app


def _keys(store: VoiceStore, settings: Settings) -> ApiKeyStore:
    pepper = settings.auth.pepper
    return ApiKeyStore(store.database, store.volume.root, pepper.get_secret_value() if pepper else None)
