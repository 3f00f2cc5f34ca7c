"""Reads a Dockerfile: its instructions, the stage each belongs to, and build arguments put in."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, replace
from itertools import takewhile

STAGE = re.compile(r"(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?$", re.IGNORECASE)
VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Instruction:
    """One instruction on one line, without its options; ``stage`` counts from 0, -1 is before the first FROM."""

    keyword: str
    value: str
    options: tuple[str, ...]
    line: int
    stage: int

    @property
    def list(self) -> list[str] | None:
        """The elements of the JSON form; None for the shell form."""
        try:
            found = json.loads(self.value)
        except ValueError:
            return None
        return found if isinstance(found, list) else None

    def option(self, name: str) -> str | None:
        """The value of ``--name=value``."""
        return next((option.partition("=")[2] for option in self.options if option.startswith(f"--{name}=")), None)


@dataclass(frozen=True)
class Dockerfile:
    """Instructions in order."""

    instructions: tuple[Instruction, ...]

    def all(self, *keywords: str, stage: int | None = None) -> list[Instruction]:
        """Those with one of ``keywords``, in one stage or anywhere."""
        return [item for item in self.instructions if item.keyword in keywords and stage in (None, item.stage)]

    @property
    def last_stage(self) -> int:
        """The number of the stage that becomes the image."""
        return max(item.stage for item in self.instructions)

    @property
    def arguments(self) -> dict[str, str]:
        """The defaults of build arguments, those of one name as its first ARG has them."""
        found: dict[str, str] = {}
        for item in self.all("ARG"):
            for word in shlex.split(item.value):
                name, _, default = word.partition("=")
                found.setdefault(name, expand(default, found))
        return found

    def stages(self) -> list[tuple[str, str]]:
        """(image with arguments put in, stage name or "") of every FROM."""
        globals_ = Dockerfile(tuple(takewhile(lambda item: item.keyword != "FROM", self.instructions))).arguments
        found = []
        for item in self.all("FROM"):
            match = STAGE.match(item.value)
            assert match, f"line {item.line}: FROM {item.value}"
            found.append((expand(match["image"], globals_), match["name"] or ""))
        return found

    def effective(self, keyword: str) -> Instruction | None:
        """The last ``keyword`` of the last stage or of the stages it is built on."""
        stages = self.stages()
        stage = self.last_stage
        while True:
            if found := self.all(keyword, stage=stage):
                return found[-1]
            names = [name for _, name in stages[:stage]]
            if stages[stage][0] not in names:
                return None
            stage = names.index(stages[stage][0])

    def labels(self) -> dict[str, str]:
        """The labels of the last stage, arguments left as they are written."""
        words = [word for item in self.all("LABEL", stage=self.last_stage) for word in shlex.split(item.value)]
        return {name: value for name, _, value in (word.partition("=") for word in words)}


def expand(text: str, values: dict[str, str]) -> str:
    """``text`` with ``$NAME`` and ``${NAME}`` replaced; unknown names become empty."""
    return VARIABLE.sub(lambda match: values.get(match[1] or match[2], ""), text)


def parse(text: str) -> Dockerfile:
    """Raises AssertionError for what this reader does not know: heredocs and parser directives."""
    assert "<<" not in text, "heredocs are not read here, nor by older builders"
    found: list[Instruction] = []
    stage, start, joined = -1, 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue  # also inside a continued instruction
        start = start if joined else number
        joined += line.strip().removesuffix("\\")
        if line.rstrip().endswith("\\"):
            continue
        item = _instruction(joined, start)
        stage += item.keyword == "FROM"
        found.append(replace(item, stage=stage))
        joined = ""
    assert not joined, f"line {start}: the continuation leads nowhere"
    return Dockerfile(tuple(found))


def _instruction(text: str, line: int) -> Instruction:
    keyword, _, rest = text.partition(" ")
    options = []
    while match := re.match(r"\s*(--[a-z-]+(?:=\S+)?)\s+", rest):
        options.append(match[1])
        rest = rest[match.end() :]
    return Instruction(keyword.upper(), rest.strip(), tuple(options), line, -1)
