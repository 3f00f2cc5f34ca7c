"""Pickles of an attacker: what they would call is refused unread, and none takes memory or time."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import random
import re
import resource
import struct
import time
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serving.engines.rvc.upload import read_upload
from tests.factories.rvc import content_of
from tests.serving.engines.rvc.hostile import CANARY, TOUCH, Calls, refused, repacked, with_pickle, written

pytestmark = pytest.mark.usefixtures("_nothing_happens")
PAYLOADS = {
    "system": (Calls(os.system, TOUCH), "posix.system"),
    "eval": (Calls(eval, f"__import__('os').system('{TOUCH}')"), "builtin"),
    "exec": (Calls(exec, f"open('{CANARY}', 'w')"), "builtin"),
    "open": (Calls(open, str(CANARY), "w"), "io.open"),
    "getattr": (Calls(getattr, Calls(__import__, "os"), "system"), "builtin"),
    "write a tensor": (Calls(torch.save, 1, str(CANARY)), "torch.serialization.save"),
    "memory": (Calls(bytearray, 10**12), "bytearray"),
    "tensor memory": (Calls(torch.FloatTensor, 10**11), "torch.FloatTensor"),
    "numpy scalar": (np.float64(0.5), "numpy"),
    "numpy array": (np.zeros(3), "numpy"),
    "path": (Path("/etc/passwd"), "pathlib"),
    "set": ({1}, "set"),
    "bytes": (b"bytes", "_codecs.encode"),
}


@pytest.mark.parametrize("place", ["top", "info", "config", "weight", "unknown"])
@pytest.mark.parametrize("name", PAYLOADS)
def test_whatever_a_pickle_would_call_is_named_and_not_called(name: str, place: str, tmp_path: Path) -> None:
    payload, expected = PAYLOADS[name]
    content: Any = content_of()
    if place == "top":
        content = payload
    elif place == "config":
        content["config"][12] = payload
    elif place == "weight":
        content["weight"]["dec.conv_pre.bias"] = payload
    else:
        content[place] = payload
    torch.save(content, tmp_path / "voice.pth")
    message = refused(tmp_path / "voice.pth")
    assert "asks for " in message
    assert expected in message


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_is_no_checkpoint(protocol: int, tmp_path: Path) -> None:
    message = refused(written(pickle.dumps(Calls(os.system, TOUCH), protocol), tmp_path))
    assert "not one that torch.save wrote" in message


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_other_protocols_inside_a_checkpoint_hide_nothing(protocol: int, sound: bytes, tmp_path: Path) -> None:
    pickled = pickle.dumps({"weight": Calls(os.system, TOUCH)}, protocol)
    assert re.search(r"asks for|protocol", refused(written(with_pickle(sound, pickled), tmp_path)))


def test_opcodes_that_call_without_a_global_are_refused(sound: bytes, tmp_path: Path) -> None:
    for pickled in (
        b"\x80\x02(S'" + TOUCH.encode() + b"'\nios\nsystem\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.",
    ):
        assert "the opcode" in refused(written(with_pickle(sound, pickled), tmp_path))


def test_files_of_torch_before_1_6_are_refused_whatever_they_hold(tmp_path: Path) -> None:
    for content in (content_of(), {"weight": Calls(os.system, TOUCH)}):
        torch.save(content, tmp_path / "voice.pth", _use_new_zipfile_serialization=False)
        assert "before 1.6" in refused(tmp_path / "voice.pth")


@pytest.mark.parametrize("shape", [(10**6, 10**6), (10**9,), (1, 2**40), (2**31, 2**31)])
@pytest.mark.parametrize("stride", [0, 1])
def test_a_tensor_larger_than_its_bytes_is_refused_before_it_takes_memory(
    shape: tuple[int, ...], stride: int, tmp_path: Path
) -> None:
    storage = torch.zeros(4).half()
    content = content_of()
    content["weight"]["dec.conv_pre.bias"] = storage
    torch.save(content, tmp_path / "voice.pth")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lie = _lying(tmp_path / "voice.pth", shape, stride)
    message = refused(written(lie, tmp_path))
    assert re.search(r"damaged|larger tensors|has shape", message)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def _lying(path: Path, shape: tuple[int, ...], stride: int) -> bytes:
    """The file with a bias of four values declared ``shape``."""
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read("voice/data.pkl")
    dimensions = b"".join(b"\x8a\x08" + struct.pack("<q", size) for size in shape)
    strides = b"".join(b"K" + bytes([stride]) for _ in shape)
    start = pickled.index(b"dec.conv_pre.bias")
    at = pickled.index(b"K\x04\x85", start)  # the shape (4,)
    end = pickled.index(b"K\x01\x85", at)
    end += pickled[end:].index(b"\x85") + 1
    tail = pickled[end:]
    memo = re.match(rb"[qr]", tail)
    assert memo
    lie = b"(" + dimensions + b"t" + pickled[at + 3 : end - 3] + b"(" + strides + b"t"
    return with_pickle(path.read_bytes(), pickled[:at] + lie + tail)


def test_a_call_hidden_anywhere_in_a_sound_pickle_is_refused(sound: bytes, tmp_path: Path) -> None:
    """Between any two opcodes: calls of what is forbidden, and of what is allowed with what it does not take."""
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        pickled = archive.read("voice/data.pkl")
    places = [at for _, _, at in pickletools.genops(pickled) if at is not None]
    text = b"X" + struct.pack("<I", len(TOUCH)) + TOUCH.encode()
    hidden = [
        b"cposix\nsystem\n" + text + b"\x85R0",
        b"cos\nsystem\n" + text + b"\x85R0",
        b"csubprocess\nrun\n" + text + b"\x85R0",
        b"cbuiltins\neval\n" + text + b"\x85R0",
        b"ctorch.hub\nload\n" + text + b"\x85R0",
        b"ctorch._utils\n_rebuild_tensor_v2\n" + text + b"\x85R0",
        b"ctorch._utils\n_rebuild_parameter\n)R0",
        b"ctorch\nHalfStorage\n" + text + b"\x85R0",
        b"ccollections\nOrderedDict\n" + text + b"\x85R0",
    ]
    chance = random.Random(2)
    for at in chance.sample(places[1:], 20):
        for call in chance.sample(hidden, 3):
            refused(written(with_pickle(sound, pickled[:at] + call + pickled[at:]), tmp_path))


def test_a_key_that_takes_for_ever_to_hash_is_refused_at_once(sound: bytes, tmp_path: Path) -> None:
    """Sixty tuples of twice the one before: 180 bytes, 2 ** 60 steps."""
    doubled = b"".join(b"h" + bytes([level]) + b"\x86q" + bytes([level + 1]) for level in range(60))
    pickled = b"\x80\x02}K\x01\x85q\x00" + doubled + b"K\x01s."
    started = time.perf_counter()
    assert "uses a tuple twice" in refused(written(with_pickle(sound, pickled), tmp_path))
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("place", ["config", "info", "version", "sr", "f0", "vocoder", "embedder_model"])
def test_lists_that_are_exponentially_long_as_text_are_not_written_out(place: str, tmp_path: Path) -> None:
    nested: list[Any] = [1]
    for _ in range(60):
        nested = [nested, nested]
    content = content_of()
    if place == "config":
        content["config"][12] = nested
    else:
        content[place] = nested
    torch.save(content, tmp_path / "voice.pth")
    started = time.perf_counter()
    if place in {"info", "version", "sr", "f0", "embedder_model"}:
        read_upload(tmp_path / "voice.pth")
    else:
        refused(tmp_path / "voice.pth")
    assert time.perf_counter() - started < 10


def test_a_dictionary_whose_methods_are_replaced_is_read_as_a_dictionary(tmp_path: Path) -> None:
    content = OrderedDict(content_of())
    hidden = {b"gex": b"get", b"itemx": b"items", b"keyx": b"keys"}
    for name in hidden:
        setattr(content, name.decode(), 7)
    torch.save(content, tmp_path / "voice.pth")

    def rename(records: dict[str, bytes]) -> dict[str, bytes]:
        pickled = records["voice/data.pkl"]
        for name, method in hidden.items():
            assert pickled.count(name) == 1
            pickled = pickled.replace(name, method)
        return {**records, "voice/data.pkl": pickled}

    path = written(repacked((tmp_path / "voice.pth").read_bytes(), rename), tmp_path)
    assert read_upload(path).config.version == "v2"
