"""Jobs under kill -9: every item exactly once, whoever dies in the middle.

    python -m benchmarks.jobs [--items 1000] [--kills 8] [--seed 1]

A real server (espeak-ng) speaks a list of distinct texts, while the worker, the engine's replica, the ingress's replica
or all of Ray and the server are killed by SIGKILL, at moments and in an order that the seed chooses; after the last the
server is started again on the same data. In the end the audio of every item is compared, byte for byte, with what the
same engine says of each text in this process. The last line is one JSON object:

items                 texts of the job
lost                  texts whose audio is in no file
duplicated            files beyond the first with the audio of one text
misplaced             files with other audio than that of the text in their line
kills                 how often something was killed
starts                how often the server was started
repeated_work_ratio   attempts at items that were begun again, by the items
items_per_second      items by the time from the job's creation to its end, with all deaths and starts
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from serving.audio.wav import wav_bytes
from serving.engines.espeak import EspeakEngine
from serving.jobs.speaking import speak
from serving.settings_groups import VoiceSettings
from serving.store.database import Database
from serving.store.job import JobOptions
from serving.store.job_queue import Claimed
from serving.store.records import JobItemRow
from serving.store.voices import VoiceStore
from serving.store.volume import Volume
from tests.e2e.jobs import ENVIRONMENT, ended, kill, kill_everything, spoken_files, succeeded, until
from tests.e2e.servers import Server, serving

EVERYTHING = "everything"
VICTIMS = ("Jobs", "Espeak", "Ingress", EVERYTHING)
SENTENCES = 6
PAUSE_S = 0.5
"""The longest from an item that is done to the kill: where in its work the next one dies is up to chance."""


@dataclass(frozen=True)
class Kill:
    """``victim`` dies ``pause_s`` after item ``after`` of the job was done."""

    victim: str
    after: int
    pause_s: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=8, help="shared among the four victims in turn")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    plan = planned(options.items, options.kills, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder) / "data", texts_of(options.items), plan)
    print(json.dumps(result))


def planned(items: int, kills: int, seed: int) -> list[Kill]:
    """Who dies when: each victim as often as the others, in a random order."""
    chance = random.Random(seed)
    victims = [VICTIMS[index % len(VICTIMS)] for index in range(kills)]
    chance.shuffle(victims)
    moments = sorted(chance.sample(range(1, max(2 * kills, int(0.95 * items))), kills))
    return [Kill(victim, after, chance.uniform(0, PAUSE_S)) for victim, after in zip(victims, moments, strict=True)]


def texts_of(items: int) -> list[str]:
    """Distinct texts of some sentences each."""
    sentence = "Sentence {} of item {} goes on for a while, so that it takes its time."
    return [" ".join(sentence.format(each, item) for each in range(1, SENTENCES + 1)) for item in range(1, items + 1)]


def run(data: Path, texts: Sequence[str], plan: Sequence[Kill]) -> dict[str, Any]:
    """The job of ``texts`` through all of ``plan``."""
    left, job, began, starts = deque(plan), "", 0.0, 0
    while True:
        with serving(data, environment=ENVIRONMENT) as server:
            starts += 1
            if not job:
                job, began = create(server, texts), time.monotonic()
            if work(server, job, left):
                took = time.monotonic() - began
                card = until(server, job, ended)
                assert card["state"] == "succeeded", card
                archive = httpx.get(f"{server.url}/v1/jobs/{job}/audio", timeout=300)
                archive.raise_for_status()
                break
    repeated = repeats(data, job)
    options = JobOptions.model_validate(card["options"])
    faults = checked(spoken_files(archive.content), texts, asyncio.run(direct(data, texts, options)))
    return {
        "items": len(texts),
        **faults,
        "kills": len(plan),
        "starts": starts,
        "repeated_work_ratio": round(repeated / len(texts), 4),
        "items_per_second": round(len(texts) / took, 2),
    }


def create(server: Server, texts: Sequence[str]) -> str:
    body = {"items": [{"text": text} for text in texts], "response_format": "wav", "voice": "alloy", "seed": 1}
    answer = httpx.post(f"{server.url}/v1/jobs", json=body, timeout=120)
    answer.raise_for_status()
    return str(answer.json()["id"])


def work(server: Server, job: str, left: deque[Kill]) -> bool:
    """Kill whose turn it is until the job has ended; False when there is no server any more."""
    while left:
        next_one = left.popleft()
        card = until(server, job, succeeded(next_one.after))
        time.sleep(next_one.pause_s)
        print(f"kill -9 of {next_one.victim.lower()} at {card['items']['succeeded']} items", flush=True)
        if next_one.victim == EVERYTHING:
            kill_everything(server)
            return False
        kill(server, next_one.victim)
    until(server, job, ended)
    return True


def repeats(data: Path, job: str) -> int:
    """Attempts that ended without a result, of all items."""
    database = Database.for_volume(None, data)
    try:
        with database.reading() as session:
            query = select(func.sum(JobItemRow.lost + JobItemRow.attempts)).where(JobItemRow.job_id == job)
            return int(session.scalar(query) or 0)
    finally:
        database.close()


async def direct(data: Path, texts: Sequence[str], options: JobOptions) -> list[bytes]:
    """What the engine says of each text in this process, as a file."""
    volume = Volume(data)
    database = Database.for_volume(None, data)
    engine, voices = EspeakEngine(), VoiceStore(volume, database)
    spoken = []
    try:
        for number, text in enumerate(texts, 1):
            item = Claimed("", number, "", "default", "list", options, data, text, None, None)
            audio = await speak(item, engine, VoiceSettings(), voices)
            spoken.append(wav_bytes(audio.pcm, 24_000))
    finally:
        await engine.close()
        database.close()
    return spoken


def checked(lines: Sequence[dict[str, Any]], texts: Sequence[str], expected: Sequence[bytes]) -> dict[str, int]:
    """What is wrong with the lines of a job's ZIP, each with its ``audio``, by the audio that each text gives."""
    ours = [hashlib.sha256(audio).digest() for audio in expected]
    assert len(set(ours)) == len(texts), "texts of the same audio cannot be told from each other"
    number_of = {digest: number for number, digest in enumerate(ours, 1)}
    heard = [number_of.get(hashlib.sha256(line["audio"]).digest()) for line in lines]
    found = Counter(number for number in heard if number is not None)
    wrong = sum(
        number != line["number"] or line["text"] != texts[line["number"] - 1] or line["state"] != "succeeded"
        for number, line in zip(heard, lines, strict=True)
    )
    return {
        "lost": len(texts) - len(found),
        "duplicated": sum(found.values()) - len(found),
        "misplaced": wrong,
    }


if __name__ == "__main__":
    main()
