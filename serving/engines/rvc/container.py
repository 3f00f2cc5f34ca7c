"""Looks into the file of an upload before torch does: its records, and what its pickle would call.

``torch.load(weights_only=True)`` runs no foreign code, but it lets a few bytes ask for any amount of memory
(``bytearray(10 ** 12)``) and of time (a tuple of tuples as a key). A voice needs five globals, so others are refused.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import BinaryIO

from serving.engines.rvc.records import ENCRYPTED, FLAGS, STORED, Damaged, NoArchive, OddLayout, locate, read_directory
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
    with path.open("rb") as file:
        try:
            _check_pickle(_pickle(file))
        except NoArchive as error:
            raise _not_a_zip(file, error) from error
        except OddLayout as error:
            raise refusal(f"is not as torch.save writes it ({error}); upload the .pth as it was exported") from error
        except Damaged as error:
            raise refusal("is damaged (a checksum does not match); copy or download it again") from error


def _not_a_zip(file: BinaryIO, error: Exception) -> InvalidRequest:
    file.seek(0)
    start = file.read(len(LEGACY))
    if start == LEGACY:
        return refusal("is in the format of torch before 1.6; load it with torch and save it again")
    if start.startswith(b"PK\x03\x04"):
        return refusal("is cut short or damaged; copy or download it again")
    return refusal(f"is not one that torch.save wrote ({error}); upload the .pth of an RVC voice")


def _pickle(file: BinaryIO) -> bytes:
    """The pickle that torch is going to load, of a file that can be read in one way only."""
    records, directory = read_directory(file)
    _check_names([record.name for record in records])
    if any(record.method != STORED or record.flags & ENCRYPTED for record in records):
        raise refusal("has compressed or encrypted records, which torch.save does not write; upload the original .pth")
    if any(record.flags & ~FLAGS for record in records):
        raise OddLayout("it has unknown flags")
    found = _find([record.name for record in records])
    size = records[found].size
    if size > PICKLE_BYTES:
        raise refusal("has a description of tensors that is far too long; it is no RVC voice")
    file.seek(locate(file, records, directory)[found])
    return file.read(size)


def _check_names(names: list[bytes]) -> None:
    """torch finds a record by its name without regard to case."""
    if any(name.lower().endswith((b".pth", b".pt", b".index", b".safetensors")) for name in names):
        raise refusal("is an archive of files; unpack it and upload the .pth and the .index themselves")
    if len(names) > RECORDS or len({name.lower() for name in names}) < len(names):
        raise refusal("has too many records or two of one name; it is no RVC voice")
    for name in names:
        if name.startswith(b"/") or b".." in name.split(b"/") or any(sign in name for sign in (b"\\", b":", b"\0")):
            raise _outside()


def _find(names: list[bytes]) -> int:
    """Which record is the pickle; torch looks for it in the folder of the first one."""
    found = [at for at, name in enumerate(names) if name.split(b"/")[1:] == [b"data.pkl"]]
    if len(found) != 1 or any(name.endswith(b"/constants.pkl") for name in names):
        raise refusal("is no checkpoint (a TorchScript model or another archive); upload the .pth of an RVC voice")
    folder = names[found[0]].removesuffix(b"data.pkl")
    if not all(name.startswith(folder) and not name.endswith(b"/") for name in names):
        raise _outside()
    return found[0]


def _outside() -> InvalidRequest:
    return refusal("has a record outside its folder; it was not written by torch.save")


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
