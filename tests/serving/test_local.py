import socket
from contextlib import nullcontext
from pathlib import Path

import pytest

from serving.errors import ConfigurationError
from serving.local import check_exposure, ready_text, usable_port, with_gpus
from serving.settings import Settings, load_settings
from serving.store.api_keys import ApiKeyStore
from serving.store.voices import VoiceStore


def listening(**http: object) -> Settings:
    return load_settings({"http": http})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    check_exposure(listening(host=host))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.1.2.3", "voice.example.org", "", "0", "127.1.example.org", "::ffff:0.0.0.0"]
)
def test_other_addresses_are_refused_without_keys(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--allow-unauthenticated") as failure:
        check_exposure(listening(host=host))
    assert failure.value.param == "http.host"


def test_other_addresses_are_allowed_when_the_user_says_so() -> None:
    check_exposure(listening(host="0.0.0.0", allow_unauthenticated=True))


@pytest.mark.parametrize(
    ("auth", "refused"),
    [({}, True), ({"enabled": True}, False), ({"root_key": "k" * 20}, False), ({"enabled": False}, True)],
)
def test_other_addresses_are_allowed_where_keys_are_asked_for(
    tmp_path: Path, auth: dict[str, object], refused: bool
) -> None:
    exposed = load_settings({"data": tmp_path, "http": {"host": "0.0.0.0"}, "auth": auth})
    with pytest.raises(ConfigurationError, match="keys create") if refused else nullcontext():
        check_exposure(exposed)
    assert list(tmp_path.iterdir()) == [], "nothing is made by asking"


def test_an_issuer_of_tokens_opens_other_addresses_too(tmp_path: Path) -> None:
    oidc = {"issuer": "https://login.example.org", "audience": "kubevoice"}
    check_exposure(load_settings({"data": tmp_path, "http": {"host": "0.0.0.0"}, "oidc": oidc}))
    closed = {"data": tmp_path, "http": {"host": "0.0.0.0"}, "oidc": oidc, "auth": {"enabled": False}}
    with pytest.raises(ConfigurationError):
        check_exposure(load_settings(closed))


def test_the_first_key_opens_other_addresses_unless_keys_are_switched_off(
    store: VoiceStore, settings: Settings
) -> None:
    http = {"host": "0.0.0.0"}
    with pytest.raises(ConfigurationError):
        check_exposure(load_settings({"data": settings.data, "http": http}))
    key, _ = ApiKeyStore(store.database, settings.data).create("acme", "laptop", ["speech"])
    check_exposure(load_settings({"data": settings.data, "http": http}))
    ApiKeyStore(store.database, settings.data).revoke("acme", key.id)
    check_exposure(load_settings({"data": settings.data, "http": http}))
    with pytest.raises(ConfigurationError):
        check_exposure(load_settings({"data": settings.data, "http": http, "auth": {"enabled": False}}))


def test_port_zero_becomes_a_free_port() -> None:
    port = usable_port(listening(port=0))
    with socket.create_server(("127.0.0.1", port)):
        assert port > 0


def test_a_taken_port_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigurationError, match="--port"):
        usable_port(listening(port=taken.getsockname()[1]))


def test_an_unknown_host_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.invalid"):
        usable_port(listening(host="nowhere.invalid"))


def test_the_ready_text_has_a_curl_for_the_right_address() -> None:
    text = ready_text(listening(port=9123), "espeak")
    assert "curl -sf http://127.0.0.1:9123/v1/audio/speech" in text


def test_an_ipv6_address_is_a_valid_url() -> None:
    assert "http://[::1]:8000/v1/audio/speech" in ready_text(listening(host="::1"), "espeak")


@pytest.mark.parametrize(
    ("gpus", "enabled", "speech", "conversion"),
    [
        (0.0, True, 0.0, 0.0),
        (1.0, True, 0.5, 0.5),
        (1.0, False, 1.0, 1.0),
        (2.0, True, 1.0, 1.0),
        (8.0, True, 1.0, 1.0),
    ],
)
def test_replicas_share_the_gpus_that_there_are(
    tmp_path: Path, gpus: float, enabled: bool, speech: float, conversion: float
) -> None:
    directory = tmp_path / "models" / "shared" / "contentvec"
    directory.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (directory / name).touch()
    fitted = with_gpus(load_settings({"data": tmp_path, "rvc": {"enabled": enabled}}), gpus)
    assert fitted.replicas.gpus == speech
    if enabled:
        assert fitted.rvc.replicas.gpus == conversion


def test_three_replicas_on_two_gpus_are_two_to_one(tmp_path: Path) -> None:
    fitted = with_gpus(load_settings({"data": tmp_path, "replicas": {"max": 3}}), 2.0)
    assert fitted.replicas.gpus == 0.5
