"""Any text at all: it is spoken or refused, and neither shows in the audio of a neighbour."""

from __future__ import annotations

import asyncio

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.engines.base import Pcm, Sampling, SpeechRequest, Voice
from serving.engines.xtts import XttsEngine
from serving.errors import InvalidRequest
from tests.factories.xtts import LANGUAGES

NEIGHBOUR = SpeechRequest("A neighbour talks on and on.", Voice("b", preset="Berta"), "en", sampling=Sampling(top_k=1))

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(categories=["L", "N", "P", "Z"]), max_size=60),
    st.text(st.sampled_from("0123456789.,-$€%:/ "), max_size=40),
    st.builds(lambda word, count: word * count, st.text(min_size=1, max_size=8), st.integers(1, 40)),
)
REQUESTS = st.builds(
    SpeechRequest,
    text=TEXTS,
    voice=st.sampled_from([Voice("a", preset="Ada"), Voice("c", preset="Carl")]),
    language=st.sampled_from([language for language in LANGUAGES if language not in {"ja", "zh-cn"}]),
    speed=st.sampled_from([0.25, 0.8, 1.0, 1.7, 4.0]),
    seed=st.integers(0, 2**63),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([1e-3, 0.75, 2.0]),
        top_k=st.integers(1, 2000),
        top_p=st.sampled_from([1e-6, 0.5, 1.0]),
        repetition_penalty=st.sampled_from([1.0, 5.0, 20.0]),
    ),
)


async def spoken(engine: XttsEngine, asked: SpeechRequest) -> Pcm:
    chunks = [chunk.pcm async for chunk in engine.stream(asked)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


async def beside(engine: XttsEngine, asked: SpeechRequest) -> tuple[Pcm, Pcm | BaseException]:
    neighbour, other = await asyncio.gather(spoken(engine, NEIGHBOUR), spoken(engine, asked), return_exceptions=True)
    assert isinstance(neighbour, np.ndarray)
    return neighbour, other


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=REQUESTS)
def test_any_text_is_spoken_or_refused_and_disturbs_no_neighbour(engine: XttsEngine, asked: SpeechRequest) -> None:
    neighbour, other = asyncio.run(beside(engine, asked))
    if isinstance(other, BaseException):
        assert isinstance(other, InvalidRequest)
        assert other.param == "input"
    else:
        assert np.isfinite(other).all()
        assert np.abs(other).max(initial=0.0) <= 1.0
    alone = asyncio.run(spoken(engine, NEIGHBOUR))
    assert len(neighbour) == len(alone)
    assert np.abs(neighbour - alone).max() <= 1e-5 * np.abs(alone).max()
