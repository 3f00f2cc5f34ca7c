"""Fewer and longer chunks for a listener who has enough to hear: every message between processes has its price."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, Callable

import numpy as np

from serving.engines.base import SpeechChunk

SHARE = 0.5
"""Of what the listener has yet to play may be held back: an engine that stalls is heard so much sooner."""

LONGEST_S = 2.0
"""Longest chunk that is made of several, in seconds: what a client that counts on steady data waits for at most."""


async def gathered(
    chunks: AsyncGenerator[SpeechChunk, None],
    heard_in_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[SpeechChunk, None]:
    """``chunks`` as they come while the listener has little, later in pieces of up to ``LONGEST_S`` seconds.

    The listener plays what is sent as soon as it is sent, or ``heard_in_s`` seconds from now, if that is later. So the
    first chunk leaves at once, and a later one is held back only while others come in time. The last ends the wait, and
    so do a failure and a sentence's end, whose reason belongs to its own chunk. Closes ``chunks`` in any case.
    """
    held: list[SpeechChunk] = []
    held_s = 0.0
    runs_out = clock() + heard_in_s
    try:
        async for chunk in chunks:
            now = clock()
            if held and held_s + chunk.seconds > LONGEST_S:
                runs_out = max(runs_out, now) + held_s
                yield _joined(held)
                held, held_s = [], 0.0
            held.append(chunk)
            held_s += chunk.seconds
            enough = min(LONGEST_S, SHARE * max(0.0, runs_out - now))
            if held_s >= enough or chunk.finish_reason is not None:
                runs_out = max(runs_out, now) + held_s
                yield _joined(held)
                held, held_s = [], 0.0
        if held:
            yield _joined(held)
    except Exception:
        if held:
            yield _joined(held)
        raise
    finally:
        await chunks.aclose()


def _joined(chunks: list[SpeechChunk]) -> SpeechChunk:
    """One chunk of several of one stream; why it ended is the last one's to say."""
    if len(chunks) == 1:
        return chunks[0]
    return dataclasses.replace(
        chunks[-1],
        pcm=np.concatenate([chunk.pcm for chunk in chunks]),
        input_tokens=sum(chunk.input_tokens for chunk in chunks),
        output_tokens=sum(chunk.output_tokens for chunk in chunks),
    )
