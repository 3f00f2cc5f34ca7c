"""The OpenAPI document: what users generate clients from, and what schemathesis attacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from serving.api import build_app
from serving.api.schemas import SpeechBody
from serving.engines.espeak import EspeakEngine
from serving.launch import Launcher, connect
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.database import Database
from serving.store.voices import VoiceStore
from serving.store.volume import Volume
from tests.factories.kubernetes_api import TEMPLATE, kubeconfig, running_api
from tests.serving.api.scripted_converter import ScriptedConverter

OPERATIONS = {
    "create_speech", "list_voices", "create_voice", "get_voice", "delete_voice", "list_models", "get_model", "healthz",
    "create_key", "list_keys", "get_key", "revoke_key", "list_audit",
    "export_voice", "import_voice",
    "readyz", "metrics", "create_conversion", "create_conversion_model", "list_conversion_models",
    "get_conversion_model", "delete_conversion_model",
    "create_voice_consent", "list_voice_consents", "get_voice_consent", "update_voice_consent", "delete_voice_consent",
    "get_pronunciations", "replace_pronunciations", "delete_pronunciations",
    "list_profiles", "create_profile", "set_default_profile", "get_profile", "replace_profile", "delete_profile",
    "elevenlabs_speech", "elevenlabs_speech_stream", "elevenlabs_conversion", "elevenlabs_conversion_stream",
    "elevenlabs_voices", "elevenlabs_search_voices", "elevenlabs_default_settings", "elevenlabs_voice",
    "elevenlabs_add_voice", "elevenlabs_delete_voice", "elevenlabs_models",
    "create_job", "list_jobs", "get_job", "cancel_job", "retry_job", "delete_job", "list_job_items",
    "get_job_item_audio", "get_job_audio", "get_job_subtitles",
    "create_dataset", "add_dataset_files", "list_datasets", "get_dataset", "get_dataset_report", "delete_dataset",
    "create_training_run", "list_training_runs", "get_training_run", "cancel_training_run", "resume_training_run",
    "delete_training_run", "get_training_logs", "get_training_evaluation", "list_training_samples",
    "get_training_sample", "promote_training_run", "rollback_training_run",
}  # fmt: skip
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


BOUNDED = settings(max_examples=25, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate))


@pytest.fixture(scope="module")
def app(espeak: EspeakEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """One application for hundreds of generated requests."""
    root: Path = tmp_path_factory.mktemp("schema")
    Volume(root).create()
    database = Database.for_volume(None, root)
    database.migrate()
    store = VoiceStore(Volume(root), database)
    with running_api() as kubernetes, pytest.MonkeyPatch.context() as patch:
        kubernetes.add_template()
        patch.setenv("KUBECONFIG", str(kubeconfig(root / "kubeconfig", kubernetes.url)))
        launcher = Launcher(connect(), TEMPLATE)
        yield build_app(espeak, store, Settings(data=root), LocalMetrics(), ScriptedConverter(), launcher)
    database.close()


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


@pytest.fixture(scope="module")
def api(app: FastAPI) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app)


# What has only a path, or not even that, cannot break its schema.
ATTACKS = [(name, GenerationMode.POSITIVE) for name in sorted(OPERATIONS)]
ATTACKS += [
    (name, GenerationMode.NEGATIVE)
    for name in (
        "create_speech",
        "create_voice",
        "create_voice_consent",
        "list_voice_consents",
        "create_conversion",
        "create_conversion_model",
        "create_profile",
        "create_training_run",
        "create_dataset",
        "create_job",
        "elevenlabs_speech",
        "elevenlabs_conversion",
        "elevenlabs_add_voice",
        "elevenlabs_search_voices",
    )
]


@pytest.mark.parametrize(("operation", "mode"), ATTACKS)
def test_generated_requests_get_documented_answers(api: Any, operation: str, mode: GenerationMode) -> None:
    @BOUNDED
    @given(case=api.find_operation_by_id(operation).as_strategy(generation_mode=mode))
    def attack(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    attack()


def test_every_operation_has_a_plain_id_and_a_description(document: dict[str, Any]) -> None:
    operations = [(path, each) for path, methods in document["paths"].items() for each in methods.values()]

    assert {operation["operationId"] for _, operation in operations} == OPERATIONS
    assert all(operation["description"] for _, operation in operations)
    elsewhere = [operation for path, operation in operations if not path.startswith("/elevenlabs/")]
    assert "422" not in {status for operation in elsewhere for status in operation["responses"]}


def test_the_document_is_valid_openapi(api: Any) -> None:
    api.validate()


def test_the_examples_of_the_speech_body_are_valid_and_speak(document: dict[str, Any], app: FastAPI) -> None:
    body = document["components"]["schemas"]["SpeechBody"]
    examples = body["examples"]
    resolved = {**body, "components": document["components"]}

    assert len(examples) >= 3
    for example in examples:
        jsonschema_rs.validate(resolved, example)
        SpeechBody.model_validate(example)
        assert TestClient(app).post("/v1/audio/speech", json=example).status_code == 200, example


@pytest.mark.parametrize(
    ("path", "header"),
    [("/v1/audio/speech", "X-Kubevoice-Warning"), ("/v1/audio/conversions", "X-Kubevoice-Sample-Rate")],
)
def test_every_audio_format_is_documented(document: dict[str, Any], path: str, header: str) -> None:
    answer = document["paths"][path]["post"]["responses"]["200"]

    assert set(answer["content"]) >= {"audio/mpeg", "audio/wav", "audio/flac", "audio/aac", "audio/pcm"}
    assert header in answer["headers"]


def test_a_conversion_is_documented_as_a_form_and_as_a_body_with_its_options(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/audio/conversions"]["post"]
    content = operation["requestBody"]["content"]
    options = {parameter["name"] for parameter in operation["parameters"]}

    assert set(content) == {"multipart/form-data", "audio/*"}
    assert options >= {"model", "pitch", "f0_method", "index_rate", "protect", "response_format", "sample_rate"}
    assert set(content["multipart/form-data"]["schema"]["properties"]) == {"file", *options}


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(text=st.text(max_size=120), speed=st.floats(0.25, 4.0))
def test_no_text_of_any_script_is_a_server_error(app: FastAPI, text: str, speed: float) -> None:
    body = {"model": "tts-1", "input": text, "voice": "alloy", "speed": speed, "response_format": "pcm"}
    answer = TestClient(app).post("/v1/audio/speech", json=body)

    if answer.status_code == 200:
        assert len(answer.content) > 0
    else:
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")
