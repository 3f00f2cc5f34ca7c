"""``/healthz``, ``/readyz``, ``/metrics``: for kubelets, load balancers and Prometheus."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from serving.api.context import Ctx
from serving.api.schemas import ErrorBody, Health, Ready
from serving.errors import KubevoiceError, Unavailable

router = APIRouter(tags=["health"])

READY_TIMEOUT_S = 5.0

ASLEEP = "no speech replica runs because nobody speaks; the next request starts one and waits for it"


@router.get("/healthz")
async def healthz() -> Health:
    """The process is alive."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": ErrorBody}})
async def readyz(context: Ctx) -> Ready:
    """This server can synthesise now: the engine has just been asked. Scaled to zero is ready too."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await context.engine.check()
            asleep = context.engine.asleep
            info = context.known_info if asleep else await context.info()
    except TimeoutError:
        raise Unavailable(f"the engine did not answer within {READY_TIMEOUT_S:g} s") from None
    except KubevoiceError as error:
        raise Unavailable(error.message) from error
    detail = ASLEEP if asleep else None
    if info is None:
        return Ready(status="ready", detail=detail)
    return Ready(
        status="ready", engine=info.name, model=info.model, revision=info.revision, device=info.device, detail=detail
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(context: Ctx) -> Response:
    """Everything measured, in Prometheus's text format."""
    return Response(await context.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
