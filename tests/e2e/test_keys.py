"""API keys with the official clients, unmodified, against a real server with two ingress replicas."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from openai import AuthenticationError, OpenAI, PermissionDeniedError

from tests.audio_measure import duration_of
from tests.e2e.servers import Server, serving

pytestmark = [pytest.mark.xdist_group("keys_server"), pytest.mark.timeout(600)]

STOPS_WITHIN_S = 5.0
"""What docs/security.md promises of a revoked key, on every replica."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("keys") / "data",
        environment={
            "KUBEVOICE_ENGINE": "espeak",
            "KUBEVOICE_AUTH__ENABLED": "true",
            "KUBEVOICE_REPLICAS__INGRESS": "2",
        },
    ) as server:
        yield server


def keys(server: Server, *arguments: str) -> str:
    """What ``kubevoice keys`` prints beside the running server."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBEVOICE_")}
    command = [sys.executable, "-m", "serving.cli", "keys", *arguments, "--data", str(server.data)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120).stdout


def made(server: Server, name: str, scope: str = "speech", tenant: str = "acme") -> str:
    return keys(server, "create", "--name", name, "--scope", scope, "--tenant", tenant).strip()


def openai_with(server: Server, key: str) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def test_openai_client_speaks_with_its_key_and_not_with_another(server: Server) -> None:
    with openai_with(server, made(server, "openai")) as client:
        assert duration_of(client.audio.speech.create(model="tts-1", voice="alloy", input="Let me in.").read()) > 0.3
        with pytest.raises(PermissionDeniedError, match="scope"):
            client.post("/audio/voices", body={}, cast_to=object)
    with openai_with(server, "kv_wrong") as client, pytest.raises(AuthenticationError):
        client.models.list()


def test_elevenlabs_client_speaks_with_its_key_and_not_with_another(server: Server) -> None:
    address = f"{server.url}/elevenlabs"
    with httpx.Client(timeout=60) as http:
        client = ElevenLabs(base_url=address, api_key=made(server, "eleven"), httpx_client=http)
        audio = b"".join(client.text_to_speech.stream("f1", text="Let me in.", output_format="mp3_24000_48"))
        assert duration_of(audio) > 0.3
        with pytest.raises(ApiError) as refused:
            ElevenLabs(base_url=address, api_key="kv_wrong", httpx_client=http).models.list()
    assert refused.value.status_code == 401


def test_key_that_is_revoked_stops_on_every_ingress(server: Server) -> None:
    text = made(server, "short-lived")
    header = {"Authorization": f"Bearer {text}"}
    with httpx.Client(base_url=server.url, headers=header) as http:
        for _ in range(20):  # both replicas have it in their memory
            assert http.get("/v1/models").status_code == 200
        identity = next(row.split()[0] for row in keys(server, "list").splitlines() if "short-lived" in row)
        keys(server, "revoke", identity, "--yes")
        time.sleep(STOPS_WITHIN_S)
        assert {http.get("/v1/models").status_code for _ in range(20)} == {401}


def test_tenants_do_not_meet(server: Server) -> None:
    ours, theirs = (made(server, "isolation", "voices", tenant) for tenant in ("acme", "globex"))
    with httpx.Client(base_url=server.url) as http:
        sample = subprocess.run(
            [sys.executable, "-m", "serving.cli", "say", "This is the voice of one tenant.", "-o", "-"],
            check=True,
            capture_output=True,
            timeout=120,
        ).stdout
        added = http.post(
            "/v1/audio/voices",
            headers={"Authorization": f"Bearer {ours}"},
            data={"name": "secret"},
            files={"audio_sample": sample},
            timeout=60,
        )
        assert added.status_code == 200, added.text
        foreign = {"Authorization": f"Bearer {theirs}"}
        assert http.get(f"/v1/audio/voices/{added.json()['id']}", headers=foreign).status_code == 404
        assert "secret" not in http.get("/v1/audio/voices", headers=foreign).text
