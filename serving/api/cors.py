"""Web pages of other origins: whose scripts may call the API, and which of our headers they may read."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

EXPOSED = (
    "X-Request-ID", "Retry-After", "X-RateLimit-Limit-Requests", "X-RateLimit-Remaining-Requests",
    "X-RateLimit-Reset-Requests", "X-Kubevoice-Engine", "X-Kubevoice-Model", "X-Kubevoice-Warning",
    "X-Kubevoice-Conversion", "X-Kubevoice-Sample-Rate",
)  # fmt: skip


def add_cors(app: FastAPI, origins: str) -> None:
    """Let scripts of web pages of ``origins`` call ``app``. Around all else: their preflights bring no key."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins.split(),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
