"""Build arguments change what they are meant to change; only the cheap stages are built here."""

from __future__ import annotations

import base64
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.image.containers import Builder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("image"),
    pytest.mark.usefixtures("base"),
]

TAG = "localhost/kubevoice-test:stage"


def pins(builder: Builder, *options: str) -> dict[str, list[str]]:
    """The lists that the first stage writes."""
    tag = builder.build(TAG, "--target=pins", *options)
    names = ("torch.txt", "constraints.txt", "requirements.txt")
    try:
        return {name: builder.run(tag, "cat", f"/pins/{name}").splitlines() for name in names}
    finally:
        builder("rmi", "--force", tag)


def has(lines: list[str], name: str) -> bool:
    return any(line.startswith(name) for line in lines)


def test_by_default_torch_comes_with_the_pinned_cuda_libraries_and_espeak_is_in(builder: Builder) -> None:
    found = pins(builder)
    assert {line.partition("==")[0] for line in found["torch.txt"]} > {"torch", "torchaudio", "triton", "nvidia-cublas"}
    assert not has(found["torch.txt"], "torchcodec")
    assert has(found["constraints.txt"], "nvidia-cublas==")
    assert has(found["requirements.txt"], "ray[serve]==")
    assert has(found["requirements.txt"], "espeakng-loader==")


def test_another_index_gives_torch_and_torchaudio_and_leaves_its_libraries_to_pip(builder: Builder) -> None:
    found = pins(builder, "--build-arg=TORCH_INDEX_URL=https://download.pytorch.org/whl/cu126")
    assert [line.partition("==")[0] for line in found["torch.txt"]] == ["torch", "torchaudio"]
    assert not has(found["constraints.txt"], "nvidia-")
    assert not has(found["constraints.txt"], "cuda-")
    assert has(found["constraints.txt"], "torch==")
    assert has(found["constraints.txt"], "triton==")


def test_without_extras_the_gpl_part_is_left_out(builder: Builder) -> None:
    found = pins(builder, "--build-arg=EXTRAS=")
    assert not has(found["requirements.txt"], "espeak")
    assert has(found["requirements.txt"], "coqui-tts")


def test_an_extra_that_does_not_exist_fails_the_build(builder: Builder) -> None:
    with pytest.raises(AssertionError, match="espaek"):
        pins(builder, "--build-arg=EXTRAS=espaek")


@pytest.fixture
def index(tmp_path: Path, builder: Builder) -> Iterator[str]:
    """An index as PyTorch's: torch and torchaudio with a local version, and nothing else; its wheels are empty."""
    found = pins(builder, "--build-arg=TORCH_INDEX_URL=any")["torch.txt"]
    for name, version in (line.split("==") for line in found):
        folder = tmp_path / name
        folder.mkdir()
        wheel = empty_wheel(folder, name, f"{version}+cpu")
        (folder / "index.html").write_text(f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def empty_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel that holds its metadata."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: sympy\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}\n"
        for path, text in files.items()
    )
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


def test_pins_without_a_local_version_are_met_by_another_index(builder: Builder, index: str) -> None:
    """The wheels of download.pytorch.org are called 2.14.1+cpu."""
    tag = builder.build(TAG, "--target=torch", "--network=host", f"--build-arg=TORCH_INDEX_URL={index}")
    installed = builder.run(tag, "pip", "--python", "/opt/venv/bin/python", "list", "--format=freeze").splitlines()
    builder("rmi", "--force", tag)
    assert sorted(line.partition("==")[0] for line in installed) == ["torch", "torchaudio"]
    assert all(line.endswith("+cpu") for line in installed)
