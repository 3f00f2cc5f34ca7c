from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.xtts.workbench import CPU, lengths, some_features
from training.xtts.batches import (
    HOP,
    LONGEST_PROMPT,
    PROMPT_FRAMES,
    SHORTEST_PROMPT,
    Length,
    PromptMask,
    chunks,
    collate,
    plan,
    prompt_frames,
    prompt_samples,
    token_counts,
)

CODES = st.lists(st.integers(1, 250), min_size=1, max_size=60)
SIZES = st.integers(1, 17)


def padding(batches: list[list[int]], clips: list[Length]) -> float:
    """Places that a batch has by places that its clips fill."""
    padded = sum(
        len(batch) * (max(clips[index].codes for index in batch) + max(clips[index].text for index in batch))
        for batch in batches
    )
    return padded / sum(clip.codes + clip.text for clip in clips)


@given(codes=CODES, size=SIZES, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10_000))
def test_an_epoch_has_every_clip_once_and_one_short_batch_at_most(
    codes: list[int], size: int, seed: int, epoch: int
) -> None:
    batches = plan(lengths(codes), size, seed, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(codes)))
    assert len(batches) == -(-len(codes) // size)
    assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)
    assert batches == plan(lengths(codes), size, seed, epoch)


def test_epochs_and_seeds_have_other_batches_and_another_one_is_short() -> None:
    clips = lengths([10 * (number % 25) + 5 for number in range(103)])
    plans = [plan(clips, 8, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len({str(batches) for batches in plans}) == 3
    together = [{frozenset(batch) for batch in batches} for batches in plans]
    assert together[0] != together[1], "the same clips are together each time"
    short = [next(batch for batch in plan(clips, 8, 1, epoch) if len(batch) < 8) for epoch in range(20)]
    mean = [sum(clips[index].codes for index in batch) / len(batch) for batch in short]
    assert max(mean) - min(mean) > 100, "always clips of one length are in the short batch"


def test_clips_of_like_length_are_together() -> None:
    clips = lengths([int(20 + 230 * (number * 0.618 % 1)) for number in range(200)])
    factors = [padding(plan(clips, 8, 1, epoch), clips) for epoch in range(5)]
    in_order = padding([list(range(start, start + 8)) for start in range(0, 200, 8)], clips)
    assert max(factors) < 1.1
    assert in_order > 1.5


@given(codes=CODES, size=SIZES, world=st.integers(1, 8))
def test_ranks_share_a_batch_in_as_many_parts_each(codes: list[int], size: int, world: int) -> None:
    clips, batch = lengths(codes), list(range(len(codes)))[::-1]
    parts = chunks(batch, clips, size, world)
    assert len(parts) % world == 0
    assert sorted(index for part in parts for index in part) == sorted(batch)
    assert max(map(len, parts)) <= size
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(part == sorted(part, key=batch.index) for part in parts)


@given(codes=st.lists(st.integers(1, 250), min_size=16, max_size=16), world=st.sampled_from([2, 4]))
def test_more_ranks_have_the_parts_that_one_rank_would(codes: list[int], world: int) -> None:
    assert chunks(range(16), lengths(codes), 4, world) == chunks(range(16), lengths(codes), 4, 1)


@given(samples=st.integers(11025, 255995), seed=st.integers(0, 1000), epoch=st.none() | st.integers(0, 1000))
def test_a_prompt_is_3_to_6_s_of_the_clip_or_half_of_a_short_one(samples: int, seed: int, epoch: int | None) -> None:
    clip = Length("a", 1, 1, samples)
    start, end = prompt_samples(clip, seed, epoch)
    assert 0 <= start < end <= samples
    assert SHORTEST_PROMPT <= end - start <= LONGEST_PROMPT or end - start == samples // 2
    assert (start, end) == prompt_samples(clip, seed, epoch)
    if epoch is None:
        assert (start, min(end, 99225)) == (0, end)


def test_prompts_differ_between_epochs_clips_and_seeds() -> None:
    drawn = {
        prompt_samples(Length(name, 1, 1, 250_000), seed, epoch)
        for name in ("a", "b")
        for seed in (1, 2)
        for epoch in range(5)
    }
    assert len(drawn) == 20


def test_a_batch_has_its_clips_and_their_prompts_in_silence() -> None:
    features = some_features()
    batch = collate(features, [3, 0], seed=1, epoch=2, device=CPU)
    assert len(batch) == 2
    longest = max((end - start) // HOP + 1 for start, end in batch.prompt_samples.tolist())
    assert batch.prompt.shape == (2, 80, longest + 1), "one frame of silence stands for all that follow"
    for row, index in enumerate([3, 0]):
        example = features[index]
        text, codes = len(example.text_tokens), len(example.codes)
        assert (batch.text_lengths[row], batch.code_lengths[row]) == (text, codes)
        assert batch.text[row, :text].tolist() == example.text_tokens.tolist()
        assert batch.codes[row, :codes].tolist() == example.codes.tolist()
        assert batch.text[row, text:].sum() + batch.codes[row, codes:].sum() == 0
        start, end = batch.prompt_samples[row].tolist()
        assert (start, end) == prompt_samples(features.lengths[index], 1, 2)
        frames = (end - start) // HOP + 1
        cut = example.mel[:, start // HOP : start // HOP + frames]
        assert torch.equal(batch.prompt[row, :, : cut.shape[1]], cut.float())
        assert torch.equal(batch.prompt[row, :, frames:], features.silence[:, None].expand(80, longest + 1 - frames))
    again = collate(features, [5, 3], seed=1, epoch=2, device=CPU)
    kept = min(batch.prompt.shape[2], again.prompt.shape[2])
    assert kept > (batch.prompt_samples[0, 1] - batch.prompt_samples[0, 0]) // HOP
    assert torch.equal(again.prompt[1, :, :kept], batch.prompt[0, :, :kept]), (
        "the prompt of a clip depends on its companions"
    )


def test_a_prompt_of_6_s_leaves_no_room_for_silence() -> None:
    assert prompt_frames([(0, 66150), (500, 500 + LONGEST_PROMPT)]) == PROMPT_FRAMES == 517
    assert prompt_frames([(0, 66150), (500, 500 + LONGEST_PROMPT - HOP)]) == PROMPT_FRAMES
    assert prompt_frames([(0, 66150), (500, 500 + LONGEST_PROMPT - 2 * HOP)]) == PROMPT_FRAMES - 1


@pytest.mark.parametrize("prompt_mask", ["off", "full", "upstream"])
def test_targets_of_ranks_add_up_to_those_of_one(prompt_mask: PromptMask) -> None:
    clips = some_features().lengths
    alone, shared = chunks(range(16), clips, 4, 1), chunks(range(16), clips, 4, 2)
    whole = token_counts(alone, clips, prompt_mask, seed=1, epoch=0)
    parts = [token_counts(shared[rank::2], clips, prompt_mask, seed=1, epoch=0) for rank in range(2)]
    assert whole == tuple(map(sum, zip(*parts, strict=True)))
    assert whole[0] == sum(clip.text + 1 for clip in clips)
