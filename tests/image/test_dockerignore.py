"""The build context is what the Dockerfile copies and nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.image.dockerfile import parse
from tests.image.ignored import ignored

ROOT = Path(__file__).parents[2]
PATTERNS = (ROOT / ".dockerignore").read_text()
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "packages"
]

SECRET_OR_HEAVY = [
    ".git/config",
    ".venv/bin/python",
    ".env",
    "compose.override.yaml",
    "id_rsa",
    "model.pth",
    "models/xtts/xtts_v2/main/model.pth",
    "kubevoice.db",
    "tests/image/test_dockerignore.py",
    "charts/kubevoice/values.yaml",
    "docs/image.md",
    "Dockerfile",
    ".ruff_cache/x",
    "serving/__pycache__/local.cpython-311.pyc",
    "serving/cli/__pycache__/serve.cpython-311.pyc",
    "serving/old.pyc",
]


@pytest.mark.parametrize("path", SECRET_OR_HEAVY)
def test_it_stays_out_of_the_image(path: str) -> None:
    assert ignored(path, PATTERNS)


def test_everything_that_is_copied_exists_and_gets_in() -> None:
    for source in copied():
        assert (ROOT / source).exists(), source
        assert not ignored(source, PATTERNS), source


def test_every_source_file_gets_in() -> None:
    files = [path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert {"serving/store/migrations/versions/0001_voices.py", "training/exits.py"} <= set(files)
    assert not [file for file in files if ignored(file, PATTERNS)]


def test_every_package_of_the_wheel_is_copied() -> None:
    assert set(PACKAGES) <= copied()


def test_nothing_gets_in_that_is_not_copied() -> None:
    top = {path.name for path in ROOT.iterdir()}
    assert {name for name in top if not ignored(name, PATTERNS)} == copied()


@pytest.mark.parametrize(
    ("path", "patterns", "expected"),
    [
        ("a/b/c.txt", "a", True),  # a folder takes its files with it
        ("b/a", "a", False),  # from the top, not anywhere
        ("b/a", "**/a", True),
        ("a", "**/a", True),
        ("a/b.txt", "*.txt", False),  # a star stays in its folder
        ("a/b/c.txt", "a/**/*.txt", True),
        ("a/b.txt", "*\n!a\na/*.txt", True),  # the last that matches wins
        ("a/b.txt", "*\n!a", False),
        ("a.pyc", "*.py[cod]", True),
        ("a.py", "*.py[cod]", False),
        ("ab", "a?", True),
        ("a", "/a/", True),
        ("a.b", "#a.b\n\na+b", False),
    ],
)
def test_patterns_are_read_as_docker_reads_them(path: str, patterns: str, expected: bool) -> None:
    assert ignored(path, patterns) is expected


def copied() -> set[str]:
    """What the Dockerfile takes from the context."""
    file = parse((ROOT / "Dockerfile").read_text())
    return {source for item in file.all("COPY") if item.option("from") is None for source in item.value.split()[:-1]}
