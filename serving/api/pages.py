"""Lists that come in pages."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

Card = TypeVar("Card", bound=BaseModel)


class Page(BaseModel, Generic[Card]):
    """Some of them in order; the next page is asked for with the last one's id, or number, as ``after``."""

    object: Literal["list"] = "list"
    data: list[Card]
    has_more: bool
