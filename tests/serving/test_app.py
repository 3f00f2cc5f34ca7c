from pathlib import Path

import pytest
from ray import cloudpickle
from ray.serve import Application

from serving.app import build
from serving.errors import ConfigurationError, ModelFilesError
from serving.settings import load_settings, with_secrets, without_secrets


def test_a_config_file_can_name_the_builder_and_pass_settings(tmp_path: Path) -> None:
    assert isinstance(build({"data": str(tmp_path), "engine": "espeak"}), Application)


def test_parsed_settings_work_too(tmp_path: Path) -> None:
    assert isinstance(build(load_settings({"data": tmp_path})), Application)


def test_replicas_may_scale(tmp_path: Path) -> None:
    assert isinstance(build({"data": str(tmp_path), "replicas": {"min": 0, "max": 4}}), Application)


def bound_state(application: Application) -> str:
    """What Serve keeps of an application, as far as it is text."""
    state: bytes = cloudpickle.dumps(application)  # type: ignore[no-untyped-call]
    return state.decode(errors="ignore")


def test_a_databases_password_from_the_environment_does_not_enter_serves_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEVOICE_DATABASE__URL", "postgresql+psycopg://kubevoice:s3cret@db/kubevoice")
    args = {"data": str(tmp_path), "engine": "espeak"}
    assert "s3cret" not in bound_state(build(args))

    bound = build({**args, "database": {"url": "postgresql+psycopg://kubevoice:0ther@db/kubevoice"}})
    assert "0ther" in bound_state(bound), "what was given on purpose is used"


def test_secrets_of_keys_from_the_environment_do_not_enter_serves_state_and_come_back_in_the_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEVOICE_AUTH__PEPPER", "s3cret-pepper-of-this-cluster")
    monkeypatch.setenv("KUBEVOICE_AUTH__ROOT_KEY", "s3cret-root-key-of-this-cluster")
    args = {"data": str(tmp_path), "engine": "espeak", "auth": {"enabled": True}}
    assert "s3cret" not in bound_state(build(args))

    replica = with_secrets(without_secrets(load_settings(args)))
    assert replica == load_settings(args)


def test_an_application_that_may_sleep_starts_awake(tmp_path: Path) -> None:
    application = build({"data": str(tmp_path), "engine": "espeak", "replicas": {"min": 0, "max": 4}})
    speech = next(iter(application._bound_deployment.init_args))
    assert isinstance(speech, Application)
    scaling = speech._bound_deployment._deployment_config.autoscaling_config
    assert scaling is not None
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (0, 1, 4)


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"http\.port"):
        build({"data": str(tmp_path), "http": {"port": "many"}})


def test_xtts_without_weights_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="kubevoice models pull"):
        build({"data": str(tmp_path), "engine": "xtts"})


def content_encoder(data: Path) -> None:
    directory = data / "models" / "shared" / "contentvec"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"")


def bound_conversion(application: Application) -> Application | None:
    conversion = list(application._bound_deployment.init_args)[2]
    assert conversion is None or isinstance(conversion, Application)
    return conversion


def resources(application: Application) -> tuple[float, float]:
    """CPUs and GPUs of a replica."""
    options = application._bound_deployment.ray_actor_options or {}
    return options["num_cpus"], options["num_gpus"]


def test_conversion_is_served_where_its_content_encoder_is(tmp_path: Path) -> None:
    args = {"data": str(tmp_path), "engine": "espeak"}
    assert bound_conversion(build(args)) is None
    content_encoder(tmp_path)
    conversion = bound_conversion(build(args))
    assert conversion is not None
    assert conversion._bound_deployment.name == "Rvc"
    assert resources(conversion) == (1, 1)
    assert bound_conversion(build({**args, "rvc": {"enabled": False}})) is None


def test_conversion_has_replicas_and_devices_of_its_own(tmp_path: Path) -> None:
    content_encoder(tmp_path)
    rvc = {"device": "cpu", "replicas": {"min": 0, "max": 3, "cpus": 2, "ongoing": 6}}
    conversion = bound_conversion(build({"data": str(tmp_path), "engine": "espeak", "rvc": rvc}))
    assert conversion is not None
    deployment = conversion._bound_deployment
    scaling = deployment._deployment_config.autoscaling_config
    assert scaling is not None
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (0, 1, 3)
    assert scaling.target_ongoing_requests == 3
    assert deployment._deployment_config.max_ongoing_requests == 6
    assert resources(conversion) == (2, 0)


def test_a_request_that_waits_soon_sees_that_a_slot_is_free(tmp_path: Path) -> None:
    content_encoder(tmp_path)
    application = build({"data": str(tmp_path), "engine": "espeak"})
    conversion = bound_conversion(application)
    assert conversion is not None
    speech = application._bound_deployment.init_args[0]
    for each in (speech, conversion):
        assert each._bound_deployment._deployment_config.request_router_config.max_backoff_s == 0.05


def test_conversion_that_is_asked_for_and_lacks_its_encoder_gets_replicas_that_wait_for_it(tmp_path: Path) -> None:
    assert bound_conversion(build({"data": str(tmp_path), "engine": "espeak", "rvc": {"enabled": "true"}})) is not None
