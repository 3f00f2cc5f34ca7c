"""The image as it is built: what is in it, and what is not."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from serving.store.volume import Volume
from tests.charts.rendering import one, render
from tests.image.containers import Builder
from tests.image.ignored import ignored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.xdist_group("image")]

MEGABYTE = 1_000_000

STALE = """
import importlib.util, pathlib, struct, sys
for name in ("serving", "ray", "torch", "fastapi"):
    for source in pathlib.Path(importlib.util.find_spec(name).origin).parent.glob("*.py"):
        cached = pathlib.Path(importlib.util.cache_from_source(source))
        seconds, size = struct.unpack("<II", cached.read_bytes()[8:16])
        if (seconds, size) != (int(source.stat().st_mtime), source.stat().st_size):
            sys.exit(f"{source} would be compiled again at every start")
print("fresh")
"""


def labels(builder: Builder, image: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(builder("inspect", "--type=image", "--format={{json .Config.Labels}}", image))
    return found


def test_ray_has_the_version_that_the_label_says(builder: Builder, image: str) -> None:
    version = labels(builder, image)["io.kubevoice.ray.version"]
    assert builder.run(image, "ray", "--version").strip() == f"ray, version {version}"


@pytest.mark.parametrize("shell", ["-c", "-lc"])
def test_a_shell_finds_what_kuberay_calls(builder: Builder, image: str, shell: str) -> None:
    """KubeRay before 1.4, and later on request, starts a login shell, which sets PATH anew."""
    tools = ("ray", "python", "kubevoice", "wget", "grep", "tini")
    found = builder.run(image, "/bin/bash", shell, "--", f"command -v {' '.join(tools)}").split()
    assert [Path(path).name for path in found] == list(tools)
    assert found[:3] == [f"/opt/venv/bin/{tool}" for tool in tools[:3]]


def test_nothing_that_builds_is_left(builder: Builder, image: str) -> None:
    script = (
        "for tool in gcc cc c++ clang make cmake git ffmpeg; do command -v $tool; done; "
        "ls -d /opt/venv/bin/pip* ~/.cache /var/cache/pip /var/cache/apt/archives/*.deb /pins /build; "
        "ls /var/lib/apt/lists"
    )
    assert builder.run(image, "sh", "-c", f"({script}) 2>/dev/null; true", options=("--user=0",)) == ""


def test_the_user_is_not_root_and_owns_no_code(builder: Builder, image: str) -> None:
    assert builder.run(image, "id", "-u").strip() == "1000"
    search = "find /opt /etc /usr -xdev -writable -not -type l 2>/dev/null; true"
    assert builder.run(image, "sh", "-c", search, options=()) == ""


def test_anybody_may_write_to_tmp(builder: Builder, image: str) -> None:
    """A mount on /tmp takes over its mode, and Kubernetes may choose any user."""
    assert builder.run(image, "stat", "--format=%a", "/tmp", options=()).strip() == "1777"


def test_everything_is_compiled_already(builder: Builder, image: str) -> None:
    assert builder.run(image, "python", "-c", STALE).strip() == "fresh"


@pytest.mark.parametrize("user", ["1000:1000", "12345:0"])
def test_it_speaks_without_a_server_as_any_user(builder: Builder, image: str, user: str) -> None:
    options = ("--read-only", "--tmpfs=/tmp", f"--user={user}", "--env=KUBEVOICE_DATA=/tmp/data", "--network=none")
    command = "kubevoice say 'The image speaks.' -o /tmp/a.wav 2>&1 && head -c 4 /tmp/a.wav"
    assert builder.run(image, "sh", "-c", command, options=options).endswith("RIFF")


def test_it_imports_all_that_xtts_needs(builder: Builder, image: str) -> None:
    command = (
        "from TTS.tts.models.xtts import Xtts; import torchaudio, soxr, av, psycopg, kubernetes; print('imported')"
    )
    assert builder.run(image, "python", "-c", command).splitlines()[-1] == "imported"


def test_it_shows_runs_where_it_may_write_nothing_and_call_nobody(builder: Builder, image: str, tmp_path: Path) -> None:
    """As the chart's TensorBoard pod: its arguments, its user, a volume that is read-only."""
    tmp_path.chmod(0o755)
    run = Volume(tmp_path).training_run("acme", "anna") / "tensorboard"
    writer = EventFileWriter(str(run))
    writer.add_event(Event(step=1, summary=Summary(value=[Summary.Value(tag="train_loss", simple_value=2.0)])))
    writer.close()
    deployment = one(render({"tensorboard": {"enabled": True}}), "Deployment")
    arguments = " ".join(deployment["spec"]["template"]["spec"]["containers"][0]["args"])
    ask = "wget --quiet --output-document=- http://127.0.0.1:6006/data"
    until = f"for i in $(seq 300); do {ask}/runs | grep acme && break; sleep 0.2; done"
    curve = f"{ask}/'plugin/scalars/scalars?run=acme%2Fanna%2Ftensorboard&tag=train_loss'"
    script = f"{arguments} >&2 & {until}; {curve}; kill $!; wait $!"
    options = ("--read-only", "--tmpfs=/tmp", "--network=none", f"--volume={tmp_path}:/data:ro")
    assert builder.run(image, "bash", "-c", script, options=options).split("\n") == [
        '["acme/anna/tensorboard"]',
        "[[0.0, 1, 2.0]]",
    ]


def test_it_trains(builder: Builder, image: str) -> None:
    options = ("--read-only", "--tmpfs=/tmp", "--network=none")
    script = "import training.exits, peft, silero_vad, pyloudnorm; silero_vad.load_silero_vad(); print('imported')"
    assert builder.run(image, "python", "-c", script, options=options).splitlines()[-1] == "imported"
    assert "--port" in builder.run(image, "kubevoice", "tensorboard", "--help", options=options)


def test_the_layer_of_the_code_is_small_and_the_newest(builder: Builder, image: str) -> None:
    """Prints the layers and their sizes (pytest -rP)."""
    report = builder("history", "--no-trunc", "--human=false", "--format={{.Size}}|{{.CreatedBy}}", image)
    rows = [line.split("|", 1) for line in report.splitlines()]
    layers = [(size_of(size), text) for size, text in rows if size_of(size) > MEGABYTE // 100]
    sys.stdout.writelines(f"{size / MEGABYTE:9.1f} MB  {text[:100]}\n" for size, text in layers)
    code, libraries, torch = layers[:3]
    assert "COPY" in code[1]
    assert code[0] < 5 * MEGABYTE < 500 * MEGABYTE < libraries[0]
    assert torch[0] > 150 * MEGABYTE


def size_of(text: str) -> int:
    """Bytes of "1234" (docker) or "1.2 GB" (podman)."""
    number, _, unit = text.strip().removesuffix("B").strip().partition(" ")
    match = re.fullmatch(r"([\d.]+)\s*([kMG]?)", f"{number} {unit}".strip())
    assert match, text
    return int(float(match[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[match[2]])


def test_the_builder_leaves_out_what_our_reader_of_dockerignore_leaves_out(
    builder: Builder, base: str, context: Path
) -> None:
    names = ["pyproject.toml", ".env", "model.pth", ".git/config", "serving/a.py", "serving/cli/b.py", "tests/c.py"]
    names += ["serving/__pycache__/a.pyc", "serving/cli/old.pyo", "docs/image.md", "deep/pyproject.toml"]
    for name in names:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).touch()
    (context / "Dockerfile").write_text(f"FROM {base}\nCOPY . /context\n")
    tag = builder.build("localhost/kubevoice-test:context", context=context)
    found = builder.run(tag, "sh", "-c", "cd /context && find . -type f").split()
    patterns = (context / ".dockerignore").read_text()
    assert sorted(found) == sorted(f"./{name}" for name in names if not ignored(name, patterns))
    builder("rmi", tag)
