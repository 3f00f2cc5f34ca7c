"""Which files of a build context a .dockerignore keeps out, by Docker's own rules."""

from __future__ import annotations

import re
from pathlib import PurePosixPath


def ignored(path: str, patterns: str) -> bool:
    """Whether ``path`` stays out: the last pattern wins that matches it or a folder above it."""
    parents = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
    out = False
    for line in patterns.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        exception = pattern.startswith("!")
        expression = _expression(pattern.removeprefix("!").strip("/"))
        if any(expression.fullmatch(name) for name in (path, *parents)):
            out = not exception
    return out


def _expression(pattern: str) -> re.Pattern[str]:
    """``**`` crosses folders, also none; ``*``, ``?`` and ``[...]`` stay inside one."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", pattern)
    return re.compile("".join(parts.get(token, token if token[0] == "[" else re.escape(token)) for token in tokens))
