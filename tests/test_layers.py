"""The arrows of CONTRIBUTING.md: who may import whom inside ``serving``, and ``training`` what of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import serving
import training

ROOT = Path(serving.__file__).parent
LEAVES = {"errors", "settings", "settings_groups", "files", "logs", "metrics", ""}
ALLOWED = {
    "audio": LEAVES,
    "engines": LEAVES | {"audio"},
    "store": LEAVES,
    "quality": LEAVES | {"audio", "store"},
    "voices": LEAVES | {"quality", "engines", "audio", "store"},
    "selection": LEAVES | {"engines", "store"},
    "launch": LEAVES,
    "runs": LEAVES | {"launch", "store"},
    "jobs": LEAVES | {"selection", "engines", "store", "audio"},
    "api": LEAVES | {"runs", "launch", "selection", "quality", "voices", "engines", "store", "audio"},
    "deployments": LEAVES | {"api", "jobs", "launch", "selection", "engines", "store"},
}
FOREIGN = {
    "api": {"ray", "kubernetes"},
    "engines": {"ray", "fastapi", "kubernetes", "httpx"},
    "jobs": {"ray", "fastapi", "kubernetes"},
    "store": {"ray", "fastapi", "torch", "kubernetes"},
    "launch": {"ray", "fastapi", "torch", "sqlalchemy"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from serving import x` names a module; `from serving.x import y` is one already.
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "serving" else {node.module}
            )
    return found


def modules(layer: str) -> list[Path]:
    folder = ROOT / layer
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_imports_only_what_is_below_it(layer: str) -> None:
    for path in modules(layer):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "serving" and len(parts) > 1 and parts[1] != "__version__":
                assert parts[1] in ALLOWED[layer] | {layer}, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("layer", FOREIGN)
def test_a_layer_knows_nothing_of_what_others_are_for(layer: str) -> None:
    for path in modules(layer):
        known = {name.split(".")[0] for name in imports(path)}
        assert not known & FOREIGN[layer], path.relative_to(ROOT)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_serving_never_imports_training(path: Path) -> None:
    assert "training" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", sorted(Path(training.__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_training_imports_engines_the_store_and_audio_and_nothing_of_the_servers(path: Path) -> None:
    names = [name.split(".") for name in imports(path)]
    assert not {name[0] for name in names} & {"ray", "fastapi", "kubernetes"}
    for name in names:
        if name[0] == "serving" and len(name) > 1 and name[1] != "__version__":
            assert name[1] in LEAVES | {"engines", "store", "audio"}, f"{path} imports {'.'.join(name)}"
