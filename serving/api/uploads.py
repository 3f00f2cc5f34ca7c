"""Large forms: their files go to the volume as they come, under a limit each, and are gone when the block ends."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.api.errors import ECHO_CHARS
from serving.errors import InvalidRequest, PayloadTooLarge
from serving.files import refusing
from serving.store.volume import STAGING, Volume

FIELDS = 64
FIELD_BYTES = 16 * 1024
"""Most bytes of a field that is no file: 4,000 characters of any script."""

FORM = "multipart/form-data"

Fields = TypeVar("Fields", bound=BaseModel)


@dataclass(frozen=True)
class Form:
    """``fields`` by name, and ``files`` by the name of theirs; ``names`` are what the client calls those files."""

    fields: dict[str, str]
    files: dict[str, Path]
    names: dict[str, str]

    def file(self, name: str) -> Path:
        """The file ``name``; raises InvalidRequest if there is none."""
        if name not in self.files:
            raise InvalidRequest(f"{name}: send it as a file, with a file name", name, "missing_field")
        return self.files[name]


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/")


@asynccontextmanager
async def uploaded(request: Request, volume: Volume, limits: Mapping[str, int]) -> AsyncIterator[Form]:
    """The form of ``request``; ``limits`` are the files that it may have, and the most bytes of each.

    Raises InvalidRequest and PayloadTooLarge naming the field, StorageError if the volume refuses.
    """
    async with form_folder(request, volume) as folder:
        parser = _VolumeParser(request, folder, limits)
        try:
            fields = await read_fields(parser, folder)
        finally:
            for file in parser.opened:
                file.close()
        yield Form(fields, parser.paths, parser.names)


@asynccontextmanager
async def form_folder(request: Request, volume: Volume) -> AsyncIterator[Path]:
    """A folder on ``volume`` for ``request``'s files. Raises InvalidRequest if that is no form, StorageError."""
    if not is_form(request):
        raise InvalidRequest(f"send the form as {FORM}", code="invalid_body")
    folder = volume.root / STAGING / f"upload-{secrets.token_hex(8)}"
    with refusing(folder):
        await asyncio.to_thread(folder.mkdir)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def parse_fields(model: type[Fields], values: Mapping[str, str]) -> Fields:
    """``values`` as ``model``; raises RequestValidationError, which names the field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


class FormParser(MultiPartParser):
    """Starlette's parser, which names a field that is too long."""

    def __init__(self, request: Request, max_files: int) -> None:
        super().__init__(
            request.headers, request.stream(), max_files=max_files, max_fields=FIELDS, max_part_size=FIELD_BYTES
        )

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) + end - start > FIELD_BYTES:
            name = part.field_name[:ECHO_CHARS]
            raise InvalidRequest(f"{name}: a field has at most {FIELD_BYTES:,} bytes", name)
        super().on_part_data(data, start, end)


async def read_fields(parser: FormParser, folder: Path, repeated: Collection[str] = ()) -> dict[str, str]:
    """Read the form to its end; its fields that are no files. Only those named ``repeated`` may come more than once.

    Raises InvalidRequest naming the field, StorageError if the volume of ``folder`` refuses.
    """
    try:
        with refusing(folder):
            items = (await parser.parse()).multi_items()
    except MultiPartException as error:
        raise InvalidRequest(f"the form is not usable: {error.message}", code="invalid_body") from None
    for name, count in Counter(name for name, _ in items).items():
        if count > 1 and name not in repeated:
            raise InvalidRequest(f"{name[:ECHO_CHARS]}: send it once", name[:ECHO_CHARS])
    return {name: value for name, value in items if isinstance(value, str)}


class _VolumeParser(FormParser):
    """Its files lie in ``folder`` under names of ours."""

    def __init__(self, request: Request, folder: Path, limits: Mapping[str, int]) -> None:
        super().__init__(request, len(limits))
        self.paths: dict[str, Path] = {}
        self.names: dict[str, str] = {}
        self.opened: list[BinaryIO] = []
        self._folder, self._limits = folder, limits
        self._written = 0

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is None:
            if part.field_name in self._limits:
                name = part.field_name
                raise InvalidRequest(f"{name}: send it as a file, with a file name", name)
            return
        part.file.file.close()
        name = part.field_name
        if name not in self._limits:
            shown = name[:ECHO_CHARS]
            raise InvalidRequest(f"{shown}: this form has no file of that name", shown, "unknown_field")
        path = self._folder / f"{len(self.opened)}"
        file = path.open("w+b")
        self.opened.append(file)
        self.paths[name], self.names[name] = path, part.file.filename or ""
        self._written = 0
        part.file = UploadFile(file, size=0)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            self._written += end - start
            name = self._current_part.field_name
            if self._written > self._limits[name]:
                raise PayloadTooLarge(
                    f"{name} is larger than the {self._limits[name]:,} bytes that this server takes", name
                )
        super().on_part_data(data, start, end)
