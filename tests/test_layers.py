"""The arrows of CONTRIBUTING.md: who may import whom inside ``serving``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import serving

ROOT = Path(serving.__file__).parent
LEAVES = {"errors", "settings", "files", "logs", "metrics", ""}
ALLOWED = {
    "audio": LEAVES,
    "engines": LEAVES | {"audio"},
    "store": LEAVES,
    "voices": LEAVES | {"audio"},
    "selection": LEAVES | {"engines", "store"},
    "launch": LEAVES,
    "api": LEAVES | {"selection", "voices", "engines", "store", "audio"},
    "deployments": LEAVES | {"api", "selection", "engines", "store"},
}
FOREIGN = {
    "api": {"ray", "kubernetes"},
    "engines": {"ray", "fastapi", "kubernetes", "httpx"},
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
