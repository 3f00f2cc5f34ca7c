"""``/v1/jobs``: long texts and lists of texts, spoken in the background and kept."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from serving.api.caller import tenant
from serving.api.context import Context, Ctx
from serving.api.conversion_schemas import form_schema
from serving.api.job_rows import OPTIONAL, long_text, new_items, numbered, passages, read_rows, too_many
from serving.api.job_schemas import (
    DeletedJob,
    JobBody,
    JobCard,
    JobCounts,
    JobFields,
    JobItemBody,
    JobList,
    JobUsage,
    body_schema,
)
from serving.api.job_webhooks import new_webhook, webhook_card
from serving.api.profiles import in_profile
from serving.api.speech import check_model
from serving.api.training import IdempotencyKey
from serving.api.uploads import FORM, Form, is_form, parse_fields, uploaded
from serving.audio.encode import OUTPUT_RATE
from serving.engines.base import EngineInfo, Sampling, SpeechRequest
from serving.errors import NotFound, QuotaExceeded
from serving.selection import normal_language, resolve_voice
from serving.store.job import Job, JobKind, JobOptions, NewItem
from serving.store.jobs import digest_of, new_job_id
from serving.store.profile import clean_name

router = APIRouter(tags=["jobs"])

_FILE = {
    "file": f"Rows as CSV (a header line: text, and {OPTIONAL} if you like) or as JSONL; one long text if its name "
    "ends in .txt"
}
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": body_schema()},
            FORM: {"schema": form_schema(JobFields, _FILE, required=["file"])},
        },
    }
}


@dataclass(frozen=True)
class Asked:
    """A request for a job: how to speak, and one long text or rows; ``digest`` tells it from others."""

    fields: JobFields
    text: str | None
    rows: list[JobItemBody]
    digest: str


@router.post("/v1/jobs", openapi_extra=UPLOAD)
async def create_job(request: Request, context: Ctx, key: IdempotencyKey = None) -> JobCard:
    """Have a long text, or a list of texts, spoken. Send an `Idempotency-Key`, so that it may be repeated safely.

    A list is `items` of a JSON body, or the rows of a CSV or JSONL file in a form, where a .txt file is a long text.
    A `webhook` gets a signed message when the job has ended.
    """
    if not context.settings.jobs.workers:
        raise NotFound("jobs are not taken here: jobs.workers is 0", code="not_served")
    asked = await _asked(request, context)
    webhook = new_webhook(asked.fields.webhook, private=context.settings.jobs.webhook_private)
    if key is not None:
        known = await asyncio.to_thread(context.jobs.known, tenant(), key, asked.digest)
        if known is not None:
            return await _created(known, asked, context)
    info = await context.info()
    options = await _options(asked.fields, info, context)
    kind: JobKind = "list" if asked.text is None else "text"
    items = await asyncio.to_thread(_items, asked, info, context)
    characters = sum(len(item.text) for item in items)
    param = "items" if asked.text is None else "text"
    try:
        charge = await context.quotas.take(request.scope, characters=characters, param=param, background=True)
    except QuotaExceeded:
        taken = None if key is None else await asyncio.to_thread(context.jobs.known, tenant(), key, asked.digest)
        if taken is None:
            raise
        return await _created(taken, asked, context)  # the same request, sent at the same time, has used it up
    own = new_job_id()

    def record() -> Job:
        return context.jobs.add(
            job_id=own,
            tenant=tenant(),
            name=None if asked.fields.name is None else clean_name(asked.fields.name),
            kind=kind,
            options=options,
            items=items,
            key=key,
            digest=asked.digest,
            webhook=webhook,
        )

    async def settle() -> Job:
        try:
            job = await asyncio.to_thread(record)
        except Exception:
            charge.give_back()
            raise
        if job.id != own:
            charge.undo()
        return job

    # To its end, also when the client leaves meanwhile: what is charged is what is recorded.
    return await _created(await asyncio.shield(settle()), asked, context)


@router.get("/v1/jobs")
async def list_jobs(
    context: Ctx,
    limit: Annotated[int, Query(ge=1, le=100, description="Most jobs in the answer")] = 20,
    after: Annotated[str | None, Query(max_length=64, description="Id: those behind it, the next page")] = None,
) -> JobList:
    """Jobs, newest first."""
    found = await asyncio.to_thread(context.jobs.list, tenant(), limit + 1, after)
    return JobList(data=[job_card(each, context) for each in found[:limit]], has_more=len(found) > limit)


@router.get("/v1/jobs/{job}")
async def get_job(job: str, context: Ctx) -> JobCard:
    """One job: its state, how far it is, and when it will be done at this pace."""
    return job_card(await asyncio.to_thread(context.jobs.get, tenant(), job), context)


@router.post("/v1/jobs/{job}/cancel")
async def cancel_job(job: str, context: Ctx) -> JobCard:
    """Stop a job; what it has made stays. One that has ended is left as it is."""
    return job_card(await asyncio.to_thread(context.jobs.cancel, tenant(), job), context)


@router.post("/v1/jobs/{job}/retry")
async def retry_job(job: str, context: Ctx) -> JobCard:
    """Queue the items again that failed; 409 where none did."""
    return job_card(await asyncio.to_thread(context.jobs.retry, tenant(), job), context)


@router.delete("/v1/jobs/{job}")
async def delete_job(job: str, context: Ctx) -> DeletedJob:
    """Delete a job that has ended, with its audio."""
    return DeletedJob(id=await asyncio.to_thread(context.jobs.delete, tenant(), job))


async def _created(job: Job, asked: Asked, context: Context) -> JobCard:
    """What is told of a new job, and whenever its request is repeated: with the secret, if it was made here."""
    card = job_card(job, context)
    if asked.fields.webhook is None or asked.fields.webhook.secret is not None:
        return card
    secret = await asyncio.to_thread(context.jobs.webhook_secret, job)
    return card.model_copy(update={"webhook": webhook_card(job, secret)})


async def _asked(request: Request, context: Context) -> Asked:
    if is_form(request):
        limits = {"file": context.settings.limits.job_bytes}
        async with uploaded(request, context.jobs.volume, limits) as form:
            fields = parse_fields(JobFields, form.fields)
            return await asyncio.to_thread(_from_file, fields, form, context)
    return await asyncio.to_thread(_from_json, await request.body(), context)


def _from_file(fields: JobFields, form: Form, context: Context) -> Asked:
    path = form.file("file")
    whole = form.names["file"].lower().endswith(".txt")
    digest = _digest(fields, b"text" if whole else b"rows", path.read_bytes())
    if whole:
        return Asked(fields, long_text(path), [], digest)
    return Asked(fields, None, read_rows(path, context.settings.limits.job_items), digest)


def _digest(fields: JobFields, *parts: bytes) -> str:
    hook = fields.webhook
    secret = "" if hook is None or hook.secret is None else hook.secret.get_secret_value()  # the dump has none
    return digest_of(fields.model_dump_json().encode(), secret.encode(), *parts)


def _from_json(raw: bytes, context: Context) -> Asked:
    try:
        body = JobBody.model_validate_json(raw)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": numbered(each["loc"])} for each in error.errors()]) from None
    rows, most = body.items or [], context.settings.limits.job_items
    if len(rows) > most:
        raise too_many(most)
    return Asked(body, body.text, rows, _digest(body))


async def _options(fields: JobFields, info: EngineInfo, context: Context) -> JobOptions:
    """How the job speaks: the profile's values of now, and a seed, so that every attempt speaks the same way."""
    check_model(fields.model, info)
    voice = await asyncio.to_thread(
        resolve_voice,
        fields.voice,
        info=info,
        settings=context.settings.voices,
        voices=context.voices,
        tenant=tenant(),
    )
    language = None if fields.language is None else normal_language(fields.language, info)
    sampling = Sampling(fields.temperature, fields.top_k, fields.top_p, fields.repetition_penalty)
    plain = SpeechRequest(text="", voice=voice, language="", speed=fields.speed, sampling=sampling)
    own_speed = fields.speed if "speed" in fields.model_fields_set else None
    manner = await in_profile(plain, fields.profile, own_speed, context)
    return JobOptions(
        model=info.model,
        voice=fields.voice,
        language=language,
        response_format=fields.response_format,
        speed=manner.speed,
        seed=secrets.randbits(32) if fields.seed is None else fields.seed,
        temperature=manner.sampling.temperature,
        top_k=manner.sampling.top_k,
        top_p=manner.sampling.top_p,
        repetition_penalty=manner.sampling.repetition_penalty,
        text_normalization=fields.text_normalization,
    )


def _items(asked: Asked, info: EngineInfo, context: Context) -> list[NewItem]:
    if asked.text is not None:
        return passages(asked.text)

    def check_voice(name: str) -> None:
        resolve_voice(name, info=info, settings=context.settings.voices, voices=context.voices, tenant=tenant())

    longest = context.settings.limits.input_chars
    return new_items(asked.rows, longest, check_voice, lambda code: normal_language(code, info))


def job_card(job: Job, context: Context) -> JobCard:
    """What is told of ``job``."""
    keep = timedelta(hours=context.settings.jobs.retention_hours)
    return JobCard(
        id=job.id,
        name=job.name,
        kind=job.kind,
        state=job.state,
        options=job.options.model_dump(),
        items=JobCounts(total=job.items, succeeded=job.succeeded, failed=job.failed),
        progress=round(job.characters_done / job.characters, 4),
        eta_seconds=_eta_s(job),
        usage=JobUsage(
            input_tokens=job.input_tokens,
            output_tokens=job.output_tokens,
            audio_seconds=round(job.samples / OUTPUT_RATE, 3),
        ),
        webhook=webhook_card(job),
        created_at=int(job.created_at.timestamp()),
        started_at=_seconds(job.started_at),
        finished_at=_seconds(job.finished_at),
        expires_at=None if job.finished_at is None else _seconds(job.finished_at + keep),
    )


def _eta_s(job: Job) -> float | None:
    if not job.active:
        return 0.0
    if job.started_at is None or not job.characters_done:
        return None
    passed = (datetime.now(UTC) - job.started_at).total_seconds()
    return round(max(0.0, passed) * (job.characters - job.characters_done) / job.characters_done, 1)


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
