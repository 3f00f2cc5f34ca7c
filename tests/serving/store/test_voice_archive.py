"""A voice in a zip, and every zip that is none."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from dataclasses import replace
from typing import Any

import pytest

from serving.errors import InvalidRequest
from serving.store.voice_archive import ArchivedVoice, pack, unpack

VOICE = ArchivedVoice("Zoë", "en", "warm", "agreed on paper", None, (b"RIFF one", b"RIFF two"))


def entries() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(pack(VOICE))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def with_manifest(**changes: Any) -> bytes:
    files = entries()
    manifest = json.loads(files["manifest.json"])
    return zipped({**files, "manifest.json": json.dumps({**manifest, **changes}).encode()})


def test_a_voice_comes_out_as_it_went_in_and_always_as_the_same_bytes() -> None:
    assert unpack(pack(VOICE)) == VOICE
    assert pack(VOICE) == pack(unpack(pack(VOICE)))
    assert list(entries()) == ["manifest.json", "references/0.wav", "references/1.wav"]


def test_a_dictionary_travels_with_its_voice() -> None:
    voice = replace(VOICE, pronunciations=b'[{"word": "SQL", "spoken": "sequel"}]')
    assert unpack(pack(voice)) == voice


def test_a_voice_of_more_recordings_than_a_zip_takes_is_refused() -> None:
    assert len(unpack(pack(replace(VOICE, references=(b"RIFF",) * 25))).references) == 25
    with pytest.raises(InvalidRequest, match="26 recordings; a file takes 25"):
        pack(replace(VOICE, references=(b"RIFF",) * 26))


def test_a_dictionary_alone_is_no_voice() -> None:
    with pytest.raises(InvalidRequest, match="numbered from 0"):
        unpack(pack(replace(VOICE, references=(), pronunciations=b"[]")))


def test_a_zip_made_by_hand_of_the_same_files_is_taken() -> None:
    assert unpack(zipped(dict(reversed(entries().items())))) == VOICE


def test_a_list_of_very_many_files_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped({str(number): b"" for number in range(1001)})
    monkeypatch.delattr(zipfile, "ZipFile")
    with pytest.raises(InvalidRequest, match="more files than a voice has"):
        unpack(bomb)


def overlapping() -> bytes:
    """Twenty entries that all are one: what makes bombs of zips that are not compressed."""
    big = zipped({"manifest.json": b"{}", "references/0.wav": bytes(10_000)})
    end = big.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", big, end + 16)[0]
    first = big.index(b"PK\x01\x02", start + 4)
    record = big[first:end]
    copies = b"".join(record.replace(b"references/0.wav", b"references/%d.wav" % number) for number in range(10))
    directory = big[start:first] + copies
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 11, 11, len(directory), start, 0)
    return big[:start] + directory + tail


BAD = [
    ("nothing", b"", "not a whole zip"),
    ("no zip", b"hello" * 100, "not a whole zip"),
    ("half a zip", pack(VOICE)[:-40], "not a whole zip"),
    ("a path upwards", zipped({**entries(), "../evil.wav": b"x"}), r"\.\./evil\.wav"),
    ("an absolute path", zipped({**entries(), "/etc/passwd": b"x"}), "/etc/passwd"),
    ("latents", zipped({**entries(), "conditioning/x.safetensors": b"x"}), "conditioning/x.safetensors"),
    ("no manifest", zipped({"references/0.wav": b"x"}), "no manifest.json"),
    ("a bomb", zipped({**entries(), "references/2.wav": bytes(10_000_000)}, zipfile.ZIP_DEFLATED), "compressed"),
    ("a bomb that is not compressed", overlapping(), "together larger"),
    ("a large manifest", zipped({**entries(), "manifest.json": b" " * 300_000}), "larger than 262,144"),
    ("another hash", zipped({**entries(), "references/1.wav": b"RIFF bad"}), "references/1.wav .*sha256"),
    ("another size", zipped({**entries(), "references/1.wav": b"RIFF"}), "references/1.wav .*size"),
    ("an entry too many", zipped({**entries(), "references/2.wav": b"x"}), "references/2.wav is not in"),
    ("too few", zipped({k: v for k, v in entries().items() if "1" not in k}), "no 'references/1.wav'"),
    ("another version", with_manifest(version=2), "version 2"),
    ("another format", with_manifest(format="png"), "not that of a voice"),
    ("no object", zipped({**entries(), "manifest.json": b"[1]"}), "not that of a voice"),
    ("no JSON", zipped({**entries(), "manifest.json": b"{"}), "not JSON"),
    ("deep JSON", zipped({**entries(), "manifest.json": b"[" * 100_000}), "not JSON"),
    ("an unknown fact", with_manifest(tenant="acme"), "tenant"),
    ("a name of another kind", with_manifest(name=5), "name"),
    ("no files", with_manifest(files={}), "files"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_is_no_export_is_refused_by_what_is_wrong_with_it(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        unpack(data)
    assert caught.value.param == "file"
    assert len(caught.value.message) < 400


def test_an_entry_twice_is_refused() -> None:
    sink = io.BytesIO(pack(VOICE))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(sink, "a") as archive:
        archive.writestr("references/0.wav", b"RIFF one")
    with pytest.raises(InvalidRequest, match=r"references/0\.wav is there twice"):
        unpack(sink.getvalue())


def test_a_damaged_entry_is_named() -> None:
    data = bytearray(pack(VOICE))
    data[data.index(b"RIFF two") + 5] ^= 1
    with pytest.raises(InvalidRequest, match=r"references/1\.wav is damaged"):
        unpack(bytes(data))


@pytest.mark.parametrize("position", range(0, len(pack(VOICE)), 7))
def test_no_flipped_byte_makes_another_error(position: int) -> None:
    data = bytearray(pack(VOICE))
    data[position] ^= 0xFF
    try:
        found = unpack(bytes(data))
    except InvalidRequest:
        return
    assert found.references == VOICE.references
