from pathlib import Path

import pytest
from ray import cloudpickle
from ray.serve import Application

from serving.app import build
from serving.errors import ConfigurationError, ModelFilesError
from serving.settings import load_settings


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


def test_an_application_that_may_sleep_starts_awake(tmp_path: Path) -> None:
    application = build({"data": str(tmp_path), "engine": "espeak", "replicas": {"min": 0, "max": 4}})
    (speech,) = (each for each in application._bound_deployment.init_args if isinstance(each, Application))
    scaling = speech._bound_deployment._deployment_config.autoscaling_config
    assert scaling is not None
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (0, 1, 4)


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"http\.port"):
        build({"data": str(tmp_path), "http": {"port": "many"}})


def test_xtts_without_weights_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="kubevoice models pull"):
        build({"data": str(tmp_path), "engine": "xtts"})
