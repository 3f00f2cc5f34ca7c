"""The benchmark itself: at small size, and that it would see what is lost, doubled or exchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import jobs
from benchmarks.jobs import VICTIMS, checked, planned

TEXTS = ["One.", "Two.", "Three."]
AUDIO = [b"1", b"2", b"3"]


def line(number: int, audio: bytes, **changes: Any) -> dict[str, Any]:
    return {"number": number, "text": TEXTS[number - 1], "state": "succeeded", "audio": audio, **changes}


@pytest.mark.parametrize(
    ("lines", "lost", "duplicated", "misplaced"),
    [
        ([line(1, b"1"), line(2, b"2"), line(3, b"3")], 0, 0, 0),
        ([line(1, b"1"), line(3, b"3")], 1, 0, 0),
        ([line(1, b"1"), line(2, b"2"), line(3, b"3"), line(3, b"3")], 0, 1, 0),
        ([line(1, b"1"), line(2, b"1"), line(3, b"3")], 1, 1, 1),
        ([line(1, b"2"), line(2, b"1"), line(3, b"3")], 0, 0, 2),
        ([line(1, b"1"), line(2, b"?"), line(3, b"3")], 1, 0, 1),
        ([line(1, b"1"), line(2, b"2", state="failed"), line(3, b"3", text="?")], 0, 0, 2),
    ],
    ids=["whole", "lost", "doubled", "one twice", "exchanged", "cut", "other words"],
)
def test_what_is_wrong_is_counted(lines: list[dict[str, Any]], lost: int, duplicated: int, misplaced: int) -> None:
    expected = {"lost": lost, "duplicated": duplicated, "misplaced": misplaced}
    assert checked(lines, TEXTS, AUDIO) == expected


def test_a_plan_kills_everybody_at_moments_of_its_own_and_can_be_repeated() -> None:
    plan = planned(1000, 8, 1)
    assert plan == planned(1000, 8, 1) != planned(1000, 8, 2)
    assert sorted(kill.victim for kill in plan) == sorted(VICTIMS * 2)
    moments = [kill.after for kill in plan]
    assert moments == sorted(set(moments))
    assert moments[-1] < 1000


@pytest.mark.xdist_group("jobs")
@pytest.mark.timeout(1200)
def test_a_job_whose_worker_and_engine_die_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    jobs.main(["--items", "16", "--kills", "2"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result) == [
        "items", "lost", "duplicated", "misplaced", "kills", "starts", "repeated_work_ratio", "items_per_second",
    ]  # fmt: skip
    assert [result[key] for key in ("items", "lost", "duplicated", "misplaced", "kills", "starts")] == [
        16, 0, 0, 0, 2, 1,
    ]  # fmt: skip
    assert 0 <= result["repeated_work_ratio"] <= 1
    assert result["items_per_second"] > 0
