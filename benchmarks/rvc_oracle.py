"""infer-rvc-python 1.3.1 in an environment and a process of its own: its pins conflict with ours.

The environment is made once, in ``$XDG_CACHE_HOME/kubevoice`` or the folder for temporary files. It sees the packages
of ours behind its own, so that both run on the same torch, transformers and numpy.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rvc_worker
from benchmarks.coqui import Span
from serving.audio.pcm import Pcm

PACKAGES = (
    "infer-rvc-python==1.3.1",
    "faiss-cpu==1.10.0",
    "pyworld==0.3.4",
    "praat-parselmouth",
    "torchcrepe==0.0.20",
    "ffmpeg-python",
    "future",
)
"""It and those of its requirements that ours lack or have in another version."""


@dataclass(frozen=True, slots=True)
class RawVoice:
    """As a user has it: a .pth and an .index."""

    weights: Path
    index: Path


class InferRvc:
    """The process; one request at a time, since it can do no other."""

    name = "infer-rvc-python"

    def __init__(self, python: Path, shared: Path, threads: int, *, cpu: bool) -> None:
        command = [str(python), "-P", rvc_worker.__file__]
        self._command = shlex.join(command)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._folder = tempfile.TemporaryDirectory()
        hubert, rmvpe = shared / "contentvec", shared / "rmvpe.pt"
        self._ask("open", hubert=str(hubert), rmvpe=str(rmvpe), threads=threads, cpu=cpu)

    def convert(self, pcm: Pcm, voice: RawVoice, pitch: int) -> tuple[Span, Pcm]:
        """With RVC's default options; in ``pcm`` at 16 kHz, out what the voice makes."""
        answer, made = self._converted("convert", pcm, voice, pitch=pitch)
        return Span(answer["wall"], answer["cpu"]), made

    def reload(self, voice: RawVoice, pitch: int) -> Span:
        """What it does before a conversion with other options than the last one's."""
        answer = self._ask("reload", voice=str(voice.weights), index=str(voice.index), pitch=pitch)
        return Span(answer["wall"], answer["cpu"])

    def bare(self, pcm: Pcm, voice: RawVoice) -> tuple[Pcm, Pcm]:
        """No noise or loudness, the index searched as thoroughly as ours; its f0 in Hz, also of the context."""
        answer, made = self._converted("bare", pcm, voice)
        return made[: -answer["frames"]], made[-answer["frames"] :]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def _converted(self, do: str, pcm: Pcm, voice: RawVoice, **options: Any) -> tuple[dict[str, Any], Pcm]:
        source, target = (Path(self._folder.name) / name for name in ("in.npy", "out.npy"))
        np.save(source, pcm)
        files = {"audio": source, "target": target, "voice": voice.weights, "index": voice.index}
        answer = self._ask(do, **{name: str(path) for name, path in files.items()}, **options)
        made: Pcm = np.load(target)
        return answer, made

    def _ask(self, do: str, **values: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do} | values) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self.close()
            raise SystemExit(
                f"infer-rvc-python ended while it should {do} (exit status {self._process.returncode}); run "
                f"`{self._command}` by hand to see why"
            )
        found: dict[str, Any] = json.loads(answer)
        return found


def oracle_python() -> Path:
    """The Python of an environment with infer-rvc-python, made where there is none; SystemExit says why it cannot."""
    cache = os.environ.get("XDG_CACHE_HOME")
    root = Path(cache) / "kubevoice" if cache else Path(tempfile.gettempdir()) / f"kubevoice-{os.getuid()}"
    folder = root / f"infer-rvc-python-1.3.1-{sysconfig.get_python_version()}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    print(f"making an environment with infer-rvc-python in {folder} (once, about 150 MB)", flush=True)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _run("make the environment", sys.executable, "-m", "venv", "--clear", str(folder))
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (own / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    _run("install infer-rvc-python", str(python), "-m", "pip", "install", "--quiet", "--no-deps", *PACKAGES)
    _run("import infer-rvc-python", str(python), "-W", "ignore", "-c", "import infer_rvc_python")
    ready.touch()
    return python


def _run(what: str, *command: str) -> None:
    try:
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        reason = (done.stderr.strip() or f"exit status {done.returncode}") if done.returncode else ""
    except OSError as error:
        reason = str(error)
    if reason:
        raise SystemExit(
            f"could not {what} ({reason.splitlines()[-1]}); name a Python that has it with --oracle-python, or compare "
            "with the plain pipeline of the tests with --oracle plain"
        )
