"""Files of an attacker: none is run, none is taken, and none leaves anything behind."""

from __future__ import annotations

import io
import os
import pickle
import random
import re
import resource
import struct
import time
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serving.engines.rvc.container import RECORDS
from serving.engines.rvc.upload import read_upload
from serving.errors import InvalidRequest
from tests.factories.rvc import content_of, make_voice

CANARY = Path("/tmp/kubevoice-rvc-canary")
TOUCH = f"touch {CANARY}"


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.fixture(autouse=True)
def _nothing_happens(tmp_path: Path) -> Iterator[None]:
    """No payload runs, and nothing but the upload lies where it lay."""
    CANARY.unlink(missing_ok=True)
    yield
    assert not CANARY.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"voice.pth"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_voice(tmp_path_factory.mktemp("sound") / "voice.pth").read_bytes()


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


def test_deflated_records_are_refused_unread(sound: bytes, tmp_path: Path) -> None:
    bomb = repacked(sound, lambda r: {**r, "voice/data/0": bytes(300_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 5_000_000
    assert "compressed" in refused(written(bomb, tmp_path))


def test_records_that_overlap_or_declare_more_than_there_is_are_refused(sound: bytes, tmp_path: Path) -> None:
    """The directory's entries all point to one record, or state a size of gigabytes."""
    entry = sound.index(b"PK\x01\x02")
    for size in (2**31, len(sound) + 1):
        lie = bytearray(sound)
        lie[entry + 20 : entry + 28] = struct.pack("<II", size, size)
        refused(written(bytes(lie), tmp_path))
    first = sound[entry + 42 : entry + 46]
    lie = bytearray(sound)
    while (entry := lie.find(b"PK\x01\x02", entry + 1)) > 0:
        lie[entry + 42 : entry + 46] = first
    refused(written(bytes(lie), tmp_path))


@pytest.mark.parametrize(
    "name",
    ["../../../tmp/kubevoice-rvc-canary", "/tmp/kubevoice-rvc-canary", "voice/../../x", "C:\\x", "voice\\..\\x", "a:b"],
)
def test_records_outside_their_folder_are_refused_and_never_written(name: str, sound: bytes, tmp_path: Path) -> None:
    path = written(repacked(sound, lambda records: {**records, name: b"x"}), tmp_path)
    assert "outside its folder" in refused(path)


def test_an_archive_of_voices_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "voice.pth", "w") as archive:
        archive.writestr("my voice/voice.pth", b"x")
        archive.writestr("my voice/added_IVF256_Flat.index", b"x")
    assert "unpack it" in refused(tmp_path / "voice.pth")


def test_archives_of_something_else_are_refused(sound: bytes, tmp_path: Path) -> None:
    def many(records: dict[str, bytes]) -> dict[str, bytes]:
        return records | {f"voice/extra/{at}": b"" for at in range(RECORDS)}

    changes: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
        "no checkpoint": lambda records: {"a.txt": b"x"},
        "TorchScript": lambda records: records | {"voice/constants.pkl": b"\x80\x02]."},
        "too many records": many,
        "far too long": lambda records: records | {"voice/data.pkl": bytes(5_000_000)},
        "damaged": lambda records: records | {"voice/data.pkl": b"\x80\x02\xff"},
    }
    for reason, change in changes.items():
        assert reason in refused(written(repacked(sound, change), tmp_path))
    assert "no checkpoint" in refused(written(repacked(sound, lambda records: {}), tmp_path))


def test_records_that_are_not_there_are_noticed(sound: bytes, tmp_path: Path) -> None:
    for missing in ("voice/data/3", "voice/version"):
        data = repacked(sound, lambda records, gone=missing: {k: v for k, v in records.items() if k != gone})  # type: ignore[misc]
        refused(written(data, tmp_path))


def test_a_flipped_bit_is_noticed(sound: bytes, tmp_path: Path) -> None:
    chance = random.Random(0)
    data = bytearray(sound)
    at = sound.index(b"voice/data/7") + 200
    data[at] ^= 1 << chance.randrange(8)
    assert "damaged" in refused(written(bytes(data), tmp_path))


def test_half_a_file_is_refused_wherever_it_ends(sound: bytes, tmp_path: Path) -> None:
    ends = [0, 1, 3, 4, 30, 64, 1000, *range(5000, len(sound), len(sound) // 40), *range(len(sound) - 60, len(sound))]
    for end in ends:
        assert re.search(r"cut short|not one that torch.save wrote|damaged", refused(written(sound[:end], tmp_path)))


def test_random_bytes_are_refused(sound: bytes, tmp_path: Path) -> None:
    chance = random.Random(0)
    for size in (1, 100, 10_000, 1_000_000):
        refused(written(chance.randbytes(size), tmp_path))
        refused(written(b"PK\x03\x04" + chance.randbytes(size), tmp_path))


def test_a_damaged_file_is_refused_or_is_a_voice(sound: bytes, tmp_path: Path) -> None:
    """Bytes changed anywhere: the reader raises its own error or takes a voice that is whole, nothing else."""
    chance = random.Random(1)
    refusals = 0
    for _ in range(60):
        data = bytearray(sound)
        for _ in range(chance.choice([1, 3, 30])):
            data[chance.choice([chance.randrange(len(data)), chance.randrange(30_000)])] = chance.randrange(256)
        try:
            voice = read_upload(written(bytes(data), tmp_path))
        except InvalidRequest:
            refusals += 1
        else:
            assert all(tensor.isfinite().all() for tensor in voice.weights.values())
    assert refusals > 50


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


def test_checksums_are_torch_s_own(sound: bytes) -> None:
    """What the reader relies on: files of torch.save have right ones."""
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        assert all(zlib.crc32(archive.read(info)) == info.CRC for info in archive.infolist())
