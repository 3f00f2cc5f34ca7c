"""Looks into the file of an upload before torch does: the zip's directory, and what its pickle would call.

``torch.load(weights_only=True)`` runs no foreign code, but it lets a few bytes ask for any amount of memory
(``bytearray(10 ** 12)``) and of time (a tuple of tuples as a key). A voice needs five globals, so others are refused.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

from serving.errors import InvalidRequest, PayloadTooLarge

RECORDS = 10_000
PICKLE_BYTES = 4 * 1024 * 1024
"""A real one has 70 KB."""

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How files of torch before 1.6 begin: a pickled magic number."""

FOREIGN = ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID")
"""Opcodes that call something, and that torch.save does not write for tensors and plain values."""

DTYPES = ("Half", "Float", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
CALLABLES = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {dtype}Storage" for dtype in DTYPES),
}


def refusal(reason: str) -> InvalidRequest:
    """The error of an upload that cannot be taken: ``reason`` says what is wrong with it and what to do."""
    return InvalidRequest(f"the file {reason}", "file")


def check_container(path: Path, max_bytes: int) -> None:
    """Raise PayloadTooLarge or InvalidRequest unless ``path`` is a sound file of torch.save for plain tensors."""
    size = path.stat().st_size
    if size > max_bytes:
        raise PayloadTooLarge(f"the file has {size} bytes, at most {max_bytes} are taken", "file")
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            _check_directory(records, size)
            pickled = archive.read(_pickle(records))
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise _not_a_zip(path, error) from error
    if damaged is not None:
        raise refusal("is damaged (a checksum does not match); copy or download it again")
    _check_pickle(pickled)


def _not_a_zip(path: Path, error: Exception) -> InvalidRequest:
    with path.open("rb") as file:
        start = file.read(len(LEGACY))
    if start == LEGACY:
        return refusal("is in the format of torch before 1.6; load it with torch and save it again")
    if start.startswith(b"PK\x03\x04"):
        return refusal("is cut short or damaged; copy or download it again")
    reason = " ".join(str(error).split())[:100]
    return refusal(f"is not one that torch.save wrote ({reason}); upload the .pth of an RVC voice")


def _check_directory(records: list[zipfile.ZipInfo], size: int) -> None:
    """torch.save stores records uncompressed, one after the other, under one folder."""
    names = [record.filename for record in records]
    if any(name.lower().endswith((".pth", ".pt", ".index", ".safetensors")) for name in names):
        raise refusal("is an archive of files; unpack it and upload the .pth and the .index themselves")
    if len(names) > RECORDS or len(set(names)) < len(names):
        raise refusal("has too many records or two of one name; it is no RVC voice")
    for name in names:
        if name.startswith(("/", "\\")) or ".." in name.split("/") or "\\" in name or ":" in name:
            raise refusal("has a record outside its folder; it was not written by torch.save")
    if any(record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1 for record in records):
        raise refusal("has compressed or encrypted records, which torch.save does not write; upload the original .pth")
    if sum(record.file_size for record in records) > size:
        raise refusal("declares more data than it has bytes; it was not written by torch.save")


def _pickle(records: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    found = [record for record in records if record.filename.split("/")[1:] == ["data.pkl"]]
    if len(found) != 1 or any(record.filename.endswith("/constants.pkl") for record in records):
        raise refusal("is no checkpoint (a TorchScript model or another archive); upload the .pth of an RVC voice")
    if found[0].file_size > PICKLE_BYTES:
        raise refusal("has a description of tensors that is far too long; it is no RVC voice")
    return found[0]


def _check_pickle(pickled: bytes) -> None:
    """Refuse by name whatever the pickle would call beside what makes tensors and ordered dictionaries."""
    tuples: set[object] = set()
    top_is_tuple = False
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            name = opcode.name
            if name == "GLOBAL" and argument not in CALLABLES:
                raise _asks_for(str(argument).replace(" ", "."))
            if name in FOREIGN:
                raise _asks_for(f"the opcode {name}")
            if name == "PROTO" and argument != 2:
                raise refusal(f"is a pickle of protocol {argument}; save it again with torch.save's defaults")
            if name.endswith("PUT") and top_is_tuple:
                tuples.add(argument)
            elif name.endswith("GET") and argument in tuples:
                raise refusal("uses a tuple twice, which torch.save does not write for a voice")
            top_is_tuple = name.startswith("TUPLE") or (top_is_tuple and name.endswith("PUT"))
    except (ValueError, UnicodeDecodeError, IndexError) as error:
        raise refusal("is damaged; copy or download it again") from error


def _asks_for(what: str) -> InvalidRequest:
    return refusal(f"asks for {what[:100]}, more than tensors and plain values, and was not loaded; it may be harmful")
