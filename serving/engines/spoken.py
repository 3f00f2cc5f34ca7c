"""The text of a request as it is spoken: the one place where every engine, and so every route, gets it from."""

from __future__ import annotations

from serving.engines.base import SpeechRequest
from serving.engines.normalisation import normalise
from serving.engines.pronunciation import pronounce
from serving.errors import InvalidRequest

GROWTH, FREE_CHARS = 4, 500
"""Dictionaries may make a text (of a long one, each piece) so many times longer, and so many characters besides."""


def spoken_text(request: SpeechRequest) -> str:
    """Its text by the dictionaries, and then with numbers and the like in words unless that is "off".

    Reads the voice's dictionary and takes milliseconds for long texts, so call it off the event loop. "auto" is "on"
    for both engines: docs/text.md has the comparison. Raises InvalidRequest where the dictionaries make far too much of
    the text, whose length is what limits and quotas know.
    """
    text = pronounce(request.text, request.language, request.pronunciations, request.voice.pronunciations)
    if len(text) > GROWTH * len(request.text) + FREE_CHARS:
        raise InvalidRequest(
            f"pronunciations make {len(text):,} characters of {len(request.text):,}; say less in them, or send less",
            "pronunciations",
        )
    return text if request.text_normalization == "off" else normalise(text, request.language)
