import asyncio
import shutil
from pathlib import Path

import pytest

from serving.audio.wav import read_wav
from serving.engines.base import SpeechRequest
from serving.engines.espeak import EspeakEngine
from serving.errors import EngineError
from serving.jobs import loop as loops
from serving.jobs import pulling
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.job import Job, JobKind, NewItem
from serving.store.job_items import JobItem, JobItemStore
from serving.store.jobs import JobStore
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech, chunk
from tests.serving.jobs.workbench import loop_of, running, until
from tests.serving.store.job_workbench import OPTIONS


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((pulling, "IDLE_S"), (pulling, "FAULT_S"), (loops, "FAULT_S"), (loops, "AGAIN_S")):
        monkeypatch.setattr(module, name, 0.02)


@pytest.fixture
def jobs(store: VoiceStore) -> JobStore:
    return JobStore(store.volume, store.database)


def add(jobs: JobStore, *items: NewItem, kind: JobKind = "list") -> Job:
    return jobs.add(tenant="default", name=None, kind=kind, options=OPTIONS, items=items)


def items_of(store: VoiceStore, job: Job) -> list[JobItem]:
    return list(JobItemStore(store.database).all(job))


def ended(jobs: JobStore, job: Job) -> bool:
    return not jobs.get("default", job.id).active


def files(job: Job) -> list[Path]:
    return sorted((job.directory / "items").iterdir())


async def test_a_job_is_spoken_to_its_end(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings, jobs: JobStore
) -> None:
    job = add(jobs, NewItem("One."), NewItem("Zwei, drei. Vier.", language="de"), NewItem("Five."))
    async with running(loop_of(store, espeak, settings)):
        await until(lambda: ended(jobs, job))

    done = jobs.get("default", job.id)
    assert (done.state, done.succeeded) == ("succeeded", 3)
    items = items_of(store, job)
    assert [len(item.sentences) for item in items] == [1, 2, 1]
    for item in items:
        assert item.audio is not None
        assert len(read_wav(item.audio).pcm) == item.samples == sum(samples for _, samples in item.sentences)
    assert done.samples == sum(item.samples for item in items)
    assert len(files(job)) == 3


async def test_a_voice_that_is_gone_fails_its_item_only(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings, jobs: JobStore
) -> None:
    job = add(jobs, NewItem("One.", voice="nobody"), NewItem("Two."))
    metrics = LocalMetrics()
    async with running(loop_of(store, espeak, settings, metrics)):
        await until(lambda: ended(jobs, job))
    page = (await metrics.render()).decode()
    assert 'kubevoice_job_items_total{outcome="refused"} 1.0' in page
    assert 'kubevoice_job_items_total{outcome="spoken"} 1.0' in page
    assert 'kubevoice_audio_seconds_total{format="wav",model="espeak-ng"}' in page
    first, second = items_of(store, job)
    assert (first.state, second.state) == ("failed", "succeeded")
    assert first.error is not None
    assert "there is no voice 'nobody'" in first.error


class Failing(ScriptedSpeech):
    """Raises ``error`` on its first ``times`` requests."""

    def __init__(self, error: Exception, times: int) -> None:
        super().__init__(chunk())
        self.error, self.times = error, times

    def stream(self, request: SpeechRequest):  # type: ignore[no-untyped-def]
        if len(self.requests) < self.times:
            self.requests.append(request)
            raise self.error
        return super().stream(request)


@pytest.mark.parametrize(
    ("error", "times", "state", "attempts"),
    [
        (EngineError("the GPU fell off"), 2, "succeeded", 2),
        (EngineError("the GPU fell off"), 3, "failed", 3),
        (ValueError("a bug"), 1, "succeeded", 1),
        (EngineError("the speech replica died", code="replica_died"), 5, "succeeded", 0),
    ],
)
async def test_faults_of_the_engine_are_tried_again_and_its_death_costs_no_attempt(
    store: VoiceStore, settings: Settings, jobs: JobStore, error: Exception, times: int, state: str, attempts: int
) -> None:
    job = add(jobs, NewItem("One."))
    async with running(loop_of(store, Failing(error, times), settings)):
        await until(lambda: ended(jobs, job))
    (item,) = items_of(store, job)
    assert (item.state, item.attempts) == (state, attempts)


async def test_a_loop_that_is_closed_gives_its_work_back_at_once(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings, jobs: JobStore
) -> None:
    job = add(jobs, NewItem("One."))
    never = ScriptedSpeech(asyncio.Event())
    async with running(loop_of(store, never, settings, lease_s=3600)):
        await until(lambda: never.running)
    assert never.running == 0
    async with running(loop_of(store, espeak, settings)):
        await until(lambda: ended(jobs, job))
    assert jobs.get("default", job.id).state == "succeeded"


async def test_a_folder_that_was_lost_is_made_again(store: VoiceStore, settings: Settings, jobs: JobStore) -> None:
    job = add(jobs, NewItem("One."))
    shutil.rmtree(job.directory)
    engine = ScriptedSpeech(chunk())
    async with running(loop_of(store, engine, settings)):
        await until(lambda: ended(jobs, job))
    (item,) = items_of(store, job)
    assert item.audio is not None
    assert item.audio.is_file()
    assert len(engine.requests) == 1


async def test_the_folder_of_a_job_that_was_deleted_is_not(
    store: VoiceStore, settings: Settings, jobs: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add(jobs, NewItem("One."))
    go_on = asyncio.Event()
    loop = loop_of(store, ScriptedSpeech(go_on, chunk()), settings)
    monkeypatch.setattr(loop, "_hold", asyncio.Event().wait)
    async with running(loop):
        await until(lambda: loop._working)
        jobs.cancel("default", job.id)
        jobs.delete("default", job.id)
        go_on.set()
        await until(lambda: not loop._working)
    assert not job.directory.exists()


async def test_audio_waits_for_the_volume_and_is_made_once(
    store: VoiceStore, settings: Settings, jobs: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Longer than a lease, beside another loop that would take the item."""
    job = add(jobs, NewItem("One."))
    refuse_files_of(job)
    engine = ScriptedSpeech(chunk())
    async with running(loop_of(store, engine, settings, lease_s=1)), running(loop_of(store, engine, settings)):
        await until(lambda: "cannot be recorded" in caplog.text)
        await asyncio.sleep(1.5)
        (item,) = items_of(store, job)
        assert (item.state, item.attempts) == ("running", 0)
        (job.directory / "items").unlink()
        await until(lambda: ended(jobs, job))
    (item,) = items_of(store, job)
    assert item.audio is not None
    assert len(read_wav(item.audio).pcm) == item.samples
    assert len(engine.requests) == 1


async def test_a_loop_is_closed_at_once_while_its_audio_waits_for_the_volume(
    store: VoiceStore, settings: Settings, jobs: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    job = add(jobs, NewItem("One."))
    refuse_files_of(job)
    async with running(loop_of(store, ScriptedSpeech(chunk()), settings, lease_s=3600)) as loop:
        await until(lambda: "cannot be recorded" in caplog.text)
        async with asyncio.timeout(10):
            await loop.close()
    assert items_of(store, job)[0].state == "queued"


def refuse_files_of(job: Job) -> None:
    """What is where its folder should be takes none."""
    (job.directory / "items").rmdir()
    (job.directory / "items").touch()


async def test_work_on_a_cancelled_job_stops(store: VoiceStore, settings: Settings, jobs: JobStore) -> None:
    job = add(jobs, NewItem("One."))
    never = ScriptedSpeech(asyncio.Event())
    async with running(loop_of(store, never, settings, lease_s=1)):
        await until(lambda: never.running)
        jobs.cancel("default", job.id)
        await until(lambda: not never.running)
        assert jobs.get("default", job.id).state == "cancelled"
    assert files(job) == []


async def test_a_worker_that_froze_and_comes_back_late_changes_nothing(
    store: VoiceStore, settings: Settings, jobs: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ends while it is at work, another speaks the item, then it finishes as well."""
    job = add(jobs, NewItem("One."))
    go_on = asyncio.Event()
    frozen = loop_of(store, ScriptedSpeech(go_on, chunk(2.0)), settings, lease_s=1)
    monkeypatch.setattr(frozen, "_hold", asyncio.Event().wait)
    async with running(frozen):
        await until(lambda: jobs.get("default", job.id).state == "running")
        async with running(loop_of(store, ScriptedSpeech(chunk(0.5)), settings)):
            await until(lambda: ended(jobs, job))
        before = (jobs.get("default", job.id), items_of(store, job), files(job))
        go_on.set()
        await until(lambda: not frozen._working)
    assert (jobs.get("default", job.id), items_of(store, job), files(job)) == before
    assert before[0].succeeded == 1
    assert before[1][0].samples == 12_000
