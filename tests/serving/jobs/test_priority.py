"""Jobs on a real XTTS engine: whoever listens comes first."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from serving.engines.base import EngineInfo, SpeechChunk, SpeechRequest, SpeechService, Voice
from serving.engines.xtts import XttsEngine, XttsOptions
from serving.settings import Settings
from serving.store.job import JobOptions, NewItem
from serving.store.job_items import JobItemStore
from serving.store.jobs import JobStore
from serving.store.voices import VoiceStore
from tests.factories.xtts import cached_checkpoint
from tests.serving.jobs.workbench import loop_of, running, until

OPTIONS = JobOptions(model="tiny@r1", voice="Ada", language="en", response_format="wav", speed=1.0, seed=7)
ITEMS, ONLINE, CONCURRENCY = 32, 4, 6


class Watched(SpeechService):
    """An engine, and what it has begun and ended."""

    def __init__(self, engine: XttsEngine) -> None:
        self._engine = engine
        self.open = 0
        self.ended = 0

    async def info(self) -> EngineInfo:
        return await self._engine.info()

    async def prepare(self, voice: Voice) -> None:
        await self._engine.prepare(voice)

    async def check(self) -> None:
        await self._engine.check()

    async def stream(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk]:
        self.open += 1
        try:
            async for chunk in self._engine.stream(request):
                yield chunk
            self.ended += 1
        finally:
            self.open -= 1


async def test_online_requests_overtake_the_items_of_a_job_that_goes_on_to_its_end(
    store: VoiceStore, settings: Settings
) -> None:
    engine = XttsEngine.load(
        cached_checkpoint(), model="tiny", revision="r1", device="cpu", options=XttsOptions(slots=1)
    )
    jobs, watched = JobStore(store.volume, store.database), Watched(engine)
    items = [NewItem(f"The quick brown fox jumps over number {number}.") for number in range(ITEMS)]
    job = jobs.add(tenant="default", name=None, kind="list", options=OPTIONS, items=items)
    overtaken = []
    try:
        async with running(loop_of(store, watched, settings, concurrency=CONCURRENCY)):
            for seed in range(ONLINE):
                await until(lambda: watched.open >= CONCURRENCY - 1)
                waiting, before = watched.open, watched.ended
                asked = SpeechRequest("Somebody waits for this.", Voice("Ada", preset="Ada"), "en", seed=seed)
                assert [chunk async for chunk in engine.stream(asked)]
                overtaken.append(waiting - (watched.ended - before))
            await until(lambda: not jobs.get("default", job.id).active)
    finally:
        await engine.close()
    # Of those before it only the one may have ended that was in the only row, and one on its way to us.
    assert min(overtaken) >= CONCURRENCY - 3, overtaken
    done = jobs.get("default", job.id)
    assert (done.state, done.succeeded) == ("succeeded", ITEMS)
    assert all(item.samples for item in JobItemStore(store.database).all(done))
