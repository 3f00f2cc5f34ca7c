"""``/v1/profiles``: how to speak, under a name; and which of them speaks where a request names none."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from serving.api.caller import tenant
from serving.api.context import Context, Ctx
from serving.engines.base import SpeechRequest
from serving.store.speech_profiles import Manner, ProfileFields, SpeechProfile

router = APIRouter(tags=["profiles"])

SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty")


class ProfileCard(BaseModel):
    """One profile; what is null is the model's own. ``created_at`` (Unix seconds) is null for built-in ones."""

    id: str
    object: Literal["profile"] = "profile"
    name: str
    description: str | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    repetition_penalty: float | None
    speed: float
    built_in: bool
    default: bool
    created_at: int | None


class ProfileList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ProfileCard]


class DeletedProfile(BaseModel):
    id: str
    object: Literal["profile.deleted"] = "profile.deleted"
    deleted: bool = True


class ProfileBody(Manner):
    """Body of ``POST /v1/profiles`` and ``PUT /v1/profiles/{profile}``."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "narrator", "temperature": 0.65, "speed": 0.95}]}
    )

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    description: Annotated[str, StringConstraints(max_length=500)] | None = None


class DefaultBody(BaseModel):
    """Body of ``PUT /v1/profiles/default``."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"profile": "stable"}]})

    profile: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = Field(
        description="Id or name; null chooses none, so that the model's own sampling speaks"
    )


@router.get("/v1/profiles")
async def list_profiles(context: Ctx) -> ProfileList:
    """The built-in profiles, then your own by name."""
    profiles, default = await asyncio.gather(
        asyncio.to_thread(context.profiles.list, tenant()),
        asyncio.to_thread(context.profiles.default, tenant()),
    )
    return ProfileList(data=[_card(profile, default) for profile in profiles])


@router.post("/v1/profiles")
async def create_profile(body: ProfileBody, context: Ctx) -> ProfileCard:
    """Add a profile of your own."""
    return _card(await asyncio.to_thread(context.profiles.add, tenant(), _fields(body)), None)


@router.put("/v1/profiles/default")
async def set_default_profile(body: DefaultBody, context: Ctx) -> ProfileList:
    """Choose the profile for speech that names none; answers with all profiles."""
    await asyncio.to_thread(context.profiles.set_default, tenant(), body.profile)
    return await list_profiles(context)


@router.get("/v1/profiles/{profile}")
async def get_profile(profile: str, context: Ctx) -> ProfileCard:
    """One profile, by id or name."""
    return await _answer(await asyncio.to_thread(context.profiles.get, tenant(), profile), context)


@router.put("/v1/profiles/{profile}")
async def replace_profile(profile: str, body: ProfileBody, context: Ctx) -> ProfileCard:
    """Give a profile of your own other values; what the body leaves out is the model's own."""
    changed = await asyncio.to_thread(context.profiles.replace, tenant(), profile, _fields(body))
    return await _answer(changed, context)


@router.delete("/v1/profiles/{profile}")
async def delete_profile(profile: str, context: Ctx) -> DeletedProfile:
    """Delete a profile of your own; if it was the default, there is none afterwards."""
    return DeletedProfile(id=await asyncio.to_thread(context.profiles.delete, tenant(), profile))


async def in_profile(request: SpeechRequest, name: str | None, speed: float | None, context: Context) -> SpeechRequest:
    """``request`` as profile ``name``, or else the default, says where the request itself says nothing.

    ``speed`` is the request's own, None where it has none. Raises NotFound (``profile``).
    """
    if name is None:
        profile = await asyncio.to_thread(context.profiles.default, tenant())
    else:
        profile = await asyncio.to_thread(context.profiles.get, tenant(), name)
    if profile is None:
        return request
    manner = profile.manner
    own = {option: getattr(request.sampling, option) for option in SAMPLING}
    given = {option: getattr(manner, option) if value is None else value for option, value in own.items()}
    return replace(request, speed=manner.speed if speed is None else speed, sampling=replace(request.sampling, **given))


def _fields(body: ProfileBody) -> ProfileFields:
    return ProfileFields.model_validate(body.model_dump())


async def _answer(profile: SpeechProfile, context: Context) -> ProfileCard:
    return _card(profile, await asyncio.to_thread(context.profiles.default, tenant()))


def _card(profile: SpeechProfile, default: SpeechProfile | None) -> ProfileCard:
    return ProfileCard(
        id=profile.id,
        name=profile.name,
        description=profile.description,
        built_in=profile.built_in,
        default=default is not None and default.id == profile.id,
        created_at=int(profile.created_at.timestamp()) if profile.created_at else None,
        **profile.manner.model_dump(),
    )
