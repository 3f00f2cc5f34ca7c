"""The form of a dataset: some fields, and any number of files under one name, which keep theirs."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.requests import Request

from serving.api.errors import ECHO_CHARS
from serving.api.uploads import FormParser, form_folder, read_fields
from serving.errors import InvalidRequest, PayloadTooLarge
from serving.store.raw_files import ARCHIVE, place, raw_path, unpack
from serving.store.volume import Volume

FILES = "files"
MOST_FILES = 10_000


@dataclass(frozen=True)
class DatasetForm:
    """``fields`` by name; ``files`` as (name of the client, where it lies)."""

    fields: dict[str, str]
    files: list[tuple[str, Path]]
    limit: int

    def fill(self, raw: Path) -> None:
        """Move the files into ``raw``, archives unpacked; raises InvalidRequest and PayloadTooLarge."""
        unpacked = 0
        for name, path in self.files:
            if name.lower().endswith(ARCHIVE):
                unpacked += unpack(path, raw, self.limit - unpacked, FILES)
                continue
            if (below := raw_path(name, FILES)) is not None:
                place(raw / below, FILES)
                path.rename(raw / below)
        if not any(path.is_file() for path in raw.rglob("*")):
            raise InvalidRequest("files: there is no recording among them", FILES)


@asynccontextmanager
async def dataset_form(
    request: Request, volume: Volume, limit: int, names: Iterable[str]
) -> AsyncIterator[DatasetForm]:
    """The form of ``request``: files of ``limit`` bytes together, and the fields ``names``.

    Raises InvalidRequest and PayloadTooLarge naming the field, StorageError if the volume refuses.
    """
    async with form_folder(request, volume) as folder:
        parser = _Parser(request, folder, limit)
        fields = await read_fields(parser, folder, repeated={FILES})
        form = DatasetForm(fields, parser.files, limit)
        _check(form, set(names))
        yield form


def _check(form: DatasetForm, names: set[str]) -> None:
    for field in form.fields:
        if field not in names:
            shown = field[:ECHO_CHARS]
            raise InvalidRequest(f"{shown}: this form has no field of that name", shown, "unknown_field")
    if not form.files:
        raise InvalidRequest(
            "files: send recordings and transcripts, or a zip of them, as files", FILES, "missing_field"
        )


class _Appended(UploadFile):
    """A file that is open only while a block is written: a form may have more of them than a process may open."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.BytesIO(), size=0)
        path.touch(exist_ok=False)
        self._path = path

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(self._append, data)

    async def seek(self, offset: int) -> None:
        """Nobody reads it here."""

    def _append(self, data: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(data)


class _Parser(FormParser):
    """Its files lie in ``folder`` under names of ours."""

    def __init__(self, request: Request, folder: Path, limit: int) -> None:
        super().__init__(request, MOST_FILES)
        self.files: list[tuple[str, Path]] = []
        self._folder, self._limit, self._written = folder, limit, 0

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is None:
            if part.field_name == FILES:
                raise InvalidRequest("files: send it as a file, with a file name", FILES)
            return
        part.file.file.close()
        if part.field_name != FILES:
            shown = part.field_name[:ECHO_CHARS]
            raise InvalidRequest(f"{shown}: this form has no file of that name", shown, "unknown_field")
        name = part.file.filename or ""
        if not name.lower().endswith(ARCHIVE):
            raw_path(name, FILES)  # refused before it is read
        path = self._folder / f"{len(self.files)}"
        part.file = _Appended(path)
        self.files.append((name, path))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            self._written += end - start
            if self._written > self._limit:
                raise PayloadTooLarge(f"files are larger than the {self._limit:,} bytes this server takes", FILES)
        super().on_part_data(data, start, end)
