"""The HTTP surface: FastAPI routers around an engine and a store, with no Ray in them."""

from serving.api.app import build_app

__all__ = ["build_app"]
