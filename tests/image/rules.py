"""What a Dockerfile of ours must be like. A rule yields a sentence for everything that breaks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tests.image.dockerfile import Dockerfile, Instruction

Rule = Callable[[Dockerfile], Iterator[str]]

LABELS = {"title", "description", "version", "revision", "created", "source", "licenses"}
BUILD_TOOLS = re.compile(r"\b(build-essential|gcc|g\+\+|clang|make|cmake|git|ffmpeg|\S+-dev)\b")
SECRET = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|CREDENTIAL)", re.IGNORECASE)


def bases_are_pinned(file: Dockerfile) -> Iterator[str]:
    known: set[str] = set()
    for image, name in file.stages():
        tag = image.rpartition("/")[2].partition(":")[2]
        if image not in known and "@sha256:" not in image and tag in ("", "latest"):
            yield f"{image} has no tag that stays"
        known.add(name)


def stages_that_are_copied_from_exist(file: Dockerfile) -> Iterator[str]:
    names = [name for _, name in file.stages()]
    for item in file.all("COPY"):
        source = item.option("from")
        if source is not None and source not in names[: item.stage]:
            yield f"line {item.line}: no earlier stage is called {source}"


def apt_is_minimal_and_leaves_nothing(file: Dockerfile) -> Iterator[str]:
    for item in file.all("RUN"):
        if re.search(r"\bapt (install|update|upgrade)", item.value) or "apt-get upgrade" in item.value:
            yield f"line {item.line}: only apt-get update and install are meant for scripts and repeatable"
        if "apt-get install" not in item.value:
            continue
        for needed in ("apt-get update", "--no-install-recommends", "--yes", "rm -rf /var/lib/apt/lists/*"):
            if needed not in item.value:
                yield f"line {item.line}: {needed} is missing beside apt-get install"


def pip_leaves_no_cache(file: Dockerfile) -> Iterator[str]:
    for item in file.all("RUN"):
        cached = any("type=cache" in option for option in item.options) or "--no-cache-dir" in item.value
        if re.search(r"\bpip\b.* install\b", item.value) and not cached:
            yield f"line {item.line}: pip install needs a cache mount or --no-cache-dir"


def nothing_is_added_from_urls(file: Dockerfile) -> Iterator[str]:
    for item in file.all("ADD"):
        yield f"line {item.line}: ADD fetches and unpacks; COPY, or download with a checksum"


def nobody_becomes_root(file: Dockerfile) -> Iterator[str]:
    for item in file.all("RUN"):
        if re.search(r"\b(sudo|gosu|su)\b", item.value):
            yield f"line {item.line}: sudo and its like hide who runs what"
    user = file.effective("USER")
    if user is None or not re.fullmatch(r"[1-9]\d*(:\d+)?", user.value):
        yield "USER must end as a number other than 0: Kubernetes cannot tell that a name is not root"


def what_runs_cannot_rewrite_itself(file: Dockerfile) -> Iterator[str]:
    for item in file.all("COPY", stage=file.last_stage):
        if item.option("chown") not in (None, "root", "0", "root:root", "0:0"):
            yield f"line {item.line}: code belongs to root, so that the process that runs it cannot change it"


def no_failure_is_swallowed(file: Dockerfile) -> Iterator[str]:
    for item in file.all("RUN"):
        shell = "".join(shell.value for shell in file.all("SHELL", stage=item.stage) if shell.line < item.line)
        plain = _unquoted(item)
        if re.search(r"[^|]\|[^|]", plain) and "pipefail" not in plain + shell:
            yield f"line {item.line}: a pipe hides failures without pipefail"
        if ";" in plain and not re.match(r"set -\w*e", plain) and '"-e' not in shell:
            yield f"line {item.line}: after ; a failure goes unnoticed; use && or begin with set -e"


def commands_are_lists(file: Dockerfile) -> Iterator[str]:
    for item in file.all("CMD", "ENTRYPOINT"):
        if item.list is None:
            yield f"line {item.line}: {item.keyword} in shell form puts a shell between the signal and the process"
    entry = file.effective("ENTRYPOINT")
    if entry is None or (entry.list or [""])[0] != "tini":
        yield "ENTRYPOINT must be tini, which reaps what Ray leaves behind and passes signals on"


def health_is_told(file: Dockerfile) -> Iterator[str]:
    check = file.effective("HEALTHCHECK")
    if check is None or not check.value.startswith("CMD "):
        yield "HEALTHCHECK is missing"


def labels_are_there(file: Dockerfile) -> Iterator[str]:
    labels = file.labels()
    for name in sorted(LABELS - {label.removeprefix("org.opencontainers.image.") for label in labels}):
        yield f"label org.opencontainers.image.{name} is missing"


def no_secret_is_baked_in(file: Dockerfile) -> Iterator[str]:
    for item in file.all("ENV", "ARG"):
        if SECRET.search(item.value):
            yield f"line {item.line}: {item.keyword} stays readable in the image; use RUN --mount=type=secret"


def no_build_tools_stay(file: Dockerfile) -> Iterator[str]:
    for item in file.all("RUN", stage=file.last_stage):
        if "apt-get install" in item.value and (found := BUILD_TOOLS.search(item.value)):
            yield f"line {item.line}: {found[0]} does not belong in what runs"


def gpus_are_given_not_taken(file: Dockerfile) -> Iterator[str]:
    for item in file.all("ENV"):
        if "NVIDIA_VISIBLE_DEVICES" in item.value:
            yield f"line {item.line}: NVIDIA_VISIBLE_DEVICES hands GPUs to pods that asked for none"


def paths_are_absolute(file: Dockerfile) -> Iterator[str]:
    for item in file.all("WORKDIR"):
        if not item.value.startswith("/"):
            yield f"line {item.line}: WORKDIR {item.value} depends on the one before"


RULES: tuple[Rule, ...] = (
    bases_are_pinned,
    stages_that_are_copied_from_exist,
    apt_is_minimal_and_leaves_nothing,
    pip_leaves_no_cache,
    nothing_is_added_from_urls,
    nobody_becomes_root,
    what_runs_cannot_rewrite_itself,
    no_failure_is_swallowed,
    commands_are_lists,
    health_is_told,
    labels_are_there,
    no_secret_is_baked_in,
    no_build_tools_stay,
    gpus_are_given_not_taken,
    paths_are_absolute,
)


def _unquoted(item: Instruction) -> str:
    """The command without what is quoted, where ; and | are no operators."""
    return re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", "", item.value, flags=re.DOTALL)
