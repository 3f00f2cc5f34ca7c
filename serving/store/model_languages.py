"""Which languages an XTTS model speaks, from its ``config.json`` alone: no torch is loaded for that."""

from __future__ import annotations

import json
from pathlib import Path

from serving.errors import InvalidRequest


def model_languages(directory: Path) -> tuple[str, ...]:
    """The codes that ``config.json`` names; empty where it cannot be read or names none."""
    try:
        config = json.loads((directory / "config.json").read_bytes())
    except (OSError, ValueError):
        return ()
    named = config.get("languages") if isinstance(config, dict) else None
    return tuple(one for one in named if isinstance(one, str)) if isinstance(named, list) else ()


def check_language(code: str, directory: Path, param: str) -> None:
    """Raise InvalidRequest naming ``param`` if the model in ``directory`` is known not to speak ``code``."""
    languages = model_languages(directory)
    if languages and _base(code) not in {_base(language) for language in languages}:
        model = f"{directory.parent.name}@{directory.name}"
        raise InvalidRequest(
            f"language {code!r} is not one that model {model} speaks; take one of {', '.join(languages)}", param
        )


def _base(code: str) -> str:
    """``en`` of ``en-US``: the tokenizer tells no more apart."""
    return code.lower().replace("_", "-").split("-")[0]
