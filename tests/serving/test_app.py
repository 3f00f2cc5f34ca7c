from pathlib import Path

import pytest
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


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"http\.port"):
        build({"data": str(tmp_path), "http": {"port": "many"}})


def test_xtts_without_weights_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="kubevoice models pull"):
        build({"data": str(tmp_path), "engine": "xtts"})
