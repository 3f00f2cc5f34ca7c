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


@router.get("/healthz")
async def healthz() -> Health:
    """The process is alive."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": ErrorBody}})
async def readyz(context: Ctx) -> Ready:
    """This server can synthesise now: the engine has just been asked."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await context.engine.check()
            info = await context.info()
    except TimeoutError:
        raise Unavailable(f"the engine did not answer within {READY_TIMEOUT_S:g} s") from None
    except KubevoiceError as error:
        raise Unavailable(error.message) from error
    return Ready(status="ready", engine=info.name, model=info.model, revision=info.revision, device=info.device)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(context: Ctx) -> Response:
    """Everything measured, in Prometheus's text format."""
    return Response(await context.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
