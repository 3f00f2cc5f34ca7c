"""Files of an attacker, made from a sound one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.engines.rvc.upload import read_upload
from serving.errors import InvalidRequest

CANARY = Path("/tmp/kubevoice-rvc-canary")
TOUCH = f"touch {CANARY}"


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def refused(path: Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_upload(path)
    assert caught.value.param == "file"
    assert len(caught.value.message) < 400
    return caught.value.message


def written(data: bytes, directory: Path) -> Path:
    path = directory / "voice.pth"
    path.write_bytes(data)
    return path


def repacked(
    data: bytes, change: Callable[[dict[str, bytes]], dict[str, bytes]], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """The same archive with other records."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, content in change(records).items():
            archive.writestr(name, content)
    return packed.getvalue()


def with_pickle(data: bytes, pickled: bytes) -> bytes:
    return repacked(data, lambda records: {**records, "voice/data.pkl": pickled})
