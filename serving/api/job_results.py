"""What a job gives: its items while they come, one download, subtitles."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse, StreamingResponse

from serving.api.caller import tenant
from serving.api.context import Context, Ctx
from serving.api.job_audio import joined, joined_bytes, zipped
from serving.api.job_schemas import JobItemCard, JobItemList, State
from serving.api.job_subtitles import MEDIA_TYPES, SubtitleFormat, subtitles
from serving.audio.encode import FORMATS, OUTPUT_RATE
from serving.errors import Conflict, EngineError, InvalidRequest, NotFound, StorageError
from serving.store.job import Job
from serving.store.job_items import JobItem

router = APIRouter(tags=["jobs"])

T = TypeVar("T", bytes, str)

ZIP = "application/zip"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORMATS: dict[str, Any] = {each.media_type: _BINARY for each in FORMATS.values()}
AUDIO: dict[str, Any] = {"description": "The audio", "content": _FORMATS}
WHOLE: dict[str, Any] = {"description": "One file, or a ZIP of a list's files", "content": {**_FORMATS, ZIP: _BINARY}}
SUBTITLES: dict[str, Any] = {
    "description": "A cue a sentence",
    "content": {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()},
}

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Number of the item, from 1")]


@router.get("/v1/jobs/{job}/items")
async def list_job_items(
    job: str,
    context: Ctx,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most items in the answer")] = 100,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Number: those behind it, the next page")] = 0,
    state: Annotated[State | None, Query(description="Only items in this state")] = None,
) -> JobItemList:
    """Items in order, also while the job runs."""

    def listed() -> JobItemList:
        found = context.jobs.get(tenant(), job)
        items = context.job_items.page(found, limit + 1, after=after, state=state)
        return JobItemList(data=[_card(found, each) for each in items[:limit]], has_more=len(items) > limit)

    return await asyncio.to_thread(listed)


@router.get("/v1/jobs/{job}/items/{item}/audio", response_class=FileResponse, responses={200: AUDIO})
async def get_job_item_audio(job: str, item: Number, context: Ctx) -> Response:
    """The audio of one item, as soon as it is spoken."""
    found = await asyncio.to_thread(context.jobs.get, tenant(), job)
    one = await asyncio.to_thread(context.job_items.get, found, item)
    if one.audio is None:
        raise NotFound(f"item {one.number} of job {found.id} has no audio: it is {one.state}", "item", "not_found")
    audio_format = found.options.response_format
    if found.kind == "list":
        if not await asyncio.to_thread(one.audio.is_file):
            raise await _lost(found, context)
        return FileResponse(one.audio, media_type=FORMATS[audio_format].media_type)
    content = await _begun(joined([one], audio_format, one.samples), found, context)
    return _streamed(content, audio_format, one.samples)


@router.get("/v1/jobs/{job}/audio", response_class=StreamingResponse, responses={200: WHOLE})
async def get_job_audio(job: str, context: Ctx) -> Response:
    """All of a job that has ended: one file in order of a text, a ZIP of a list. The same bytes every time."""
    found = await asyncio.to_thread(context.jobs.get, tenant(), job)
    audio_format = found.options.response_format
    if found.kind == "text":
        _require_whole(found)
        audio = joined(context.job_items.all(found), audio_format, found.samples)
        return _streamed(await _begun(audio, found, context), audio_format, found.samples)
    if found.active:
        raise Conflict(f"job {found.id} is {found.state}; take single items, or wait until it has ended", "job")
    content = await _begun(zipped(context.job_items.all(found), audio_format), found, context)
    name = {"Content-Disposition": f'attachment; filename="{found.id}.zip"'}
    return StreamingResponse(content, media_type=ZIP, headers=name)


@router.get("/v1/jobs/{job}/subtitles", response_class=StreamingResponse, responses={200: SUBTITLES})
async def get_job_subtitles(
    job: str,
    context: Ctx,
    kind: Annotated[SubtitleFormat, Query(alias="format", description="SubRip or WebVTT")] = "srt",
) -> Response:
    """Subtitles of a long text: when each sentence is heard, measured in the audio."""
    found = await asyncio.to_thread(context.jobs.get, tenant(), job)
    if found.kind != "text":
        raise InvalidRequest(f"job {found.id} is a list: its items are files of their own without one timeline", "job")
    _require_whole(found)
    content = await _begun(subtitles(context.job_items.all(found), kind), found, context)
    return StreamingResponse(content, media_type=MEDIA_TYPES[kind])


def _require_whole(job: Job) -> None:
    if job.state != "succeeded":
        hint = "wait for it" if job.active else "its items say why; send the text again"
        raise Conflict(f"job {job.id} is {job.state} and has no whole audio; {hint}", "job")


def _streamed(content: Iterator[bytes], audio_format: str, samples: int) -> StreamingResponse:
    size = joined_bytes(audio_format, samples)
    headers = {} if size is None else {"Content-Length": str(size)}
    return StreamingResponse(content, media_type=FORMATS[audio_format].media_type, headers=headers)


async def _begun(content: Iterator[T], job: Job, context: Context) -> Iterator[T]:
    """``content`` with its first piece made, so that a file that is gone is still a status. Raises as ``_lost``."""
    try:
        first = await asyncio.to_thread(next, content, None)
    except (OSError, EngineError) as error:
        raise await _lost(job, context) from error
    return content if first is None else chain([first], content)


async def _lost(job: Job, context: Context) -> StorageError:
    """A file of ``job`` is gone or damaged. Raises NotFound where the job was deleted meanwhile."""
    await asyncio.to_thread(context.jobs.get, job.tenant, job.id)
    return StorageError(f"an audio file of job {job.id} is gone or damaged; send the job again")


def _card(job: Job, item: JobItem) -> JobItemCard:
    return JobItemCard(
        number=item.number,
        state=item.state,
        text=item.text,
        voice=item.voice,
        language=item.language,
        text_normalization=item.text_normalization,
        attempts=item.attempts,
        error=item.error,
        seconds=None if item.audio is None else round(item.samples / OUTPUT_RATE, 3),
        audio=None if item.audio is None else f"/v1/jobs/{job.id}/items/{item.number}/audio",
    )
