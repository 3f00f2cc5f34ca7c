"""The Dockerfile keeps our rules, and every rule notices when it is broken."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.image import rules
from tests.image.dockerfile import parse
from tests.image.rules import RULES, Rule

ROOT = Path(__file__).parents[2]
DOCKERFILE = parse((ROOT / "Dockerfile").read_text())

BROKEN: list[tuple[Rule, str]] = [
    (rules.bases_are_pinned, "FROM python"),
    (rules.bases_are_pinned, "FROM registry:5000/python:latest AS a\nFROM a"),
    (rules.bases_are_pinned, "ARG TAG=latest\nFROM python:${TAG}"),
    (rules.stages_that_are_copied_from_exist, "FROM python:3.11 AS a\nCOPY --from=b /x /x"),
    (rules.stages_that_are_copied_from_exist, "FROM python:3.11 AS a\nCOPY --from=a /x /x"),
    (rules.apt_is_minimal_and_leaves_nothing, "FROM a:1\nRUN apt install --yes wget"),
    (rules.apt_is_minimal_and_leaves_nothing, "FROM a:1\nRUN apt-get update && apt-get install --yes wget"),
    (
        rules.apt_is_minimal_and_leaves_nothing,
        "FROM a:1\nRUN apt-get update \\\n && apt-get install --yes --no-install-recommends wget\n"
        "RUN rm -rf /var/lib/apt/lists/*",
    ),
    (rules.pip_leaves_no_cache, "FROM a:1\nRUN pip --python /x install numpy"),
    (rules.nothing_is_added_from_urls, "FROM a:1\nADD https://example.com/x /x"),
    (rules.nobody_becomes_root, "FROM a:1\nUSER 1000\nRUN sudo true"),
    (rules.nobody_becomes_root, "FROM a:1"),
    (rules.nobody_becomes_root, "FROM a:1\nUSER kubevoice"),
    (rules.nobody_becomes_root, "FROM a:1\nUSER 1000\nUSER 0"),
    (rules.nobody_becomes_root, "FROM a:1 AS x\nUSER 1000\nFROM a:1"),
    (rules.what_runs_cannot_rewrite_itself, "FROM a:1\nCOPY --chown=1000:1000 serving /app"),
    (rules.no_failure_is_swallowed, "FROM a:1\nRUN cat x | grep y"),
    (rules.no_failure_is_swallowed, "FROM a:1\nRUN cat x; rm x"),
    (rules.commands_are_lists, 'FROM a:1\nENTRYPOINT ["tini", "--"]\nCMD kubevoice serve'),
    (rules.commands_are_lists, 'FROM a:1\nCMD ["kubevoice", "serve"]'),
    (rules.health_is_told, "FROM a:1"),
    (rules.health_is_told, "FROM a:1\nHEALTHCHECK --interval=1s CMD true\nHEALTHCHECK NONE"),
    (rules.labels_are_there, 'FROM a:1\nLABEL org.opencontainers.image.title="x y" maintainer=me'),
    (rules.no_secret_is_baked_in, "FROM a:1\nARG HF_TOKEN"),
    (rules.no_build_tools_stay, "FROM a:1\nRUN apt-get install --yes \\\n # why\n  gcc"),
    (rules.no_build_tools_stay, "FROM a:1\nRUN apt-get install libpq-dev"),
    (rules.gpus_are_given_not_taken, "FROM a:1\nENV A=b \\\n NVIDIA_VISIBLE_DEVICES=all"),
    (rules.paths_are_absolute, "FROM a:1\nWORKDIR app"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_dockerfile_keeps_the_rule(rule: Rule) -> None:
    assert list(rule(DOCKERFILE)) == []


@pytest.mark.parametrize(("rule", "text"), BROKEN)
def test_the_rule_notices_what_breaks_it(rule: Rule, text: str) -> None:
    assert list(rule(parse(text)))


def test_every_rule_was_shown_to_notice_something() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.bases_are_pinned, "FROM registry:5000/python@sha256:abc AS a\nFROM a"),
        (rules.no_failure_is_swallowed, 'FROM a:1\nSHELL ["/bin/bash", "-o", "pipefail", "-c"]\nRUN cat x | grep y'),
        (rules.no_failure_is_swallowed, "FROM a:1\nRUN set -eu; grep 'a|b;' x || true"),
        (rules.nobody_becomes_root, "FROM a:1 AS x\nUSER 1000:1000\nFROM x"),
    ],
)
def test_the_rule_lets_pass_what_keeps_it(rule: Rule, text: str) -> None:
    assert list(rule(parse(text))) == []


def test_comments_and_continuations_are_read_as_a_builder_reads_them() -> None:
    run, copy = parse(
        "# syntax\nRUN --mount=type=cache,target=/x a \\\n  # not this\n\n  b\nCOPY --from=x a b"
    ).instructions
    assert (run.value.split(), run.options, run.line) == (["a", "b"], ("--mount=type=cache,target=/x",), 2)
    assert (copy.option("from"), copy.value, copy.line) == ("x", "a b", 6)


def test_ray_is_the_same_in_image_project_constraints_and_chart() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (required,) = re.findall(r"^ray\[serve\]==(\S+)$", "\n".join(project["dependencies"]), re.MULTILINE)
    (pinned,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    chart = yaml.safe_load((ROOT / "charts" / "kubevoice" / "values.yaml").read_text())["ray"]["version"]
    assert DOCKERFILE.arguments["RAY_VERSION"] == required == pinned == chart


def test_python_is_one_that_the_project_supports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f">={DOCKERFILE.arguments['PYTHON_VERSION']}," in project["requires-python"]


def test_the_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert DOCKERFILE.arguments["EXTRAS"] in project["optional-dependencies"]


def test_code_comes_after_everything_that_is_larger() -> None:
    copies = [item.option("from") for item in DOCKERFILE.all("COPY", stage=DOCKERFILE.last_stage)]
    assert copies == ["torch", "libraries", "package"]
    sources = [name for _, name in DOCKERFILE.stages()]
    for stage in ("pins", "torch", "libraries"):
        for copy in DOCKERFILE.all("COPY", stage=sources.index(stage)):
            assert not {"serving", "training"} & set(copy.value.split()), f"a change of code would rebuild {stage}"


def test_the_command_is_accepted_by_kubevoice() -> None:
    command = DOCKERFILE.effective("CMD")
    assert command is not None
    assert command.list is not None
    from typer.testing import CliRunner

    from serving.cli import app

    executable, *arguments = command.list
    assert executable == "kubevoice"
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    assert all(argument in result.output for argument in arguments if argument.startswith("--"))


def test_the_environment_names_only_settings_that_exist() -> None:
    from serving.settings import setting_rows

    text = "\n".join(item.value for item in DOCKERFILE.all("ENV"))
    assert set(re.findall(r"KUBEVOICE_\w+", text)) <= {name for name, _, _ in setting_rows()}


def test_the_health_check_asks_the_port_that_is_exposed() -> None:
    check, port = DOCKERFILE.effective("HEALTHCHECK"), DOCKERFILE.effective("EXPOSE")
    assert check is not None
    assert port is not None
    assert json.loads(check.value.removeprefix("CMD "))[-1] == f"http://127.0.0.1:{port.value}/readyz"
