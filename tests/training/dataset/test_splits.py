"""The split of a clip follows from its id, and training never hands a clip to validation."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from training.dataset.metadata import Split
from training.dataset.splits import MOST_VAL, assign

IDS = st.sets(st.text("abcdef0123456789", min_size=3, max_size=8), max_size=60)
FRACTIONS = st.sampled_from([0.01, 0.08, 0.5])


def hashed(ids: set[str], fraction: float) -> dict[str, Split]:
    return assign(dict.fromkeys(ids), fraction)


def val(splits: dict[str, Split]) -> set[str]:
    return {clip for clip, split in splits.items() if split == "val"}


@given(IDS, IDS, FRACTIONS)
def test_no_clip_that_was_trained_on_validates_after_data_is_added(old: set[str], new: set[str], share: float) -> None:
    assume(len(old) != 1)  # it trains, alone, and may be the one that validates when there are others
    before, after = hashed(old, share), hashed(old | new, share)
    assert val(after) & old <= val(before)


def test_a_clip_that_is_dropped_leaves_its_place_only_where_validation_was_full_or_had_one() -> None:
    few = {"c1", "c2", "c3", "c5", "c6"}
    (only,) = val(hashed(few, 0.08))
    assert len(val(hashed(few - {only}, 0.08))) == 1
    some = {f"clip-{number}" for number in range(500)}
    before = val(hashed(some, 0.08))
    assert val(hashed(some - {min(before)}, 0.08)) == before - {min(before)}


@given(IDS, FRACTIONS)
def test_every_clip_has_a_split_and_one_of_two_validates(ids: set[str], fraction: float) -> None:
    splits = hashed(ids, fraction)
    assert splits.keys() == ids
    assert (len(val(splits)) >= 1) == (len(ids) >= 2) or len(ids) < 2
    assert len(ids) < 2 or val(splits) != ids or fraction == 0.5


def test_thousands_of_clips_keep_their_split_until_validation_is_full() -> None:
    many = {f"clip-{number}" for number in range(3000)}
    before, after = val(hashed(set(sorted(many)[:1500]), 0.08)), val(hashed(many, 0.08))
    assert 80 < len(before) < 160
    assert len(after) < MOST_VAL
    assert before <= after
    assert len(val(hashed({f"clip-{number}" for number in range(6000)}, 0.08))) == MOST_VAL


def test_a_given_split_is_kept() -> None:
    given_splits: dict[str, Split | None] = {"a": "val", "b": "train", "c": None}
    splits = assign(given_splits, 0.01)
    assert (splits["a"], splits["b"]) == ("val", "train")
    assert splits["c"] == "train"  # there is a clip that validates already
