import itertools
from collections.abc import Iterator

import psutil
import pytest
import torch

from serving.engines.base import Sampling
from serving.engines.xtts.cache import DecoderShape, SlotCache
from serving.engines.xtts.decoder import Decoder, Prompt

CPU = torch.device("cpu")
POSITIONS = 160
"""More than any sequence here gets to."""

WILD = Sampling(temperature=1.5, top_k=300, top_p=0.95, repetition_penalty=10.0)
TAME = Sampling(temperature=0.1, top_k=1, top_p=0.01, repetition_penalty=1.0)
FIELDS = 13
"""Tensors that a sequence has a part of."""


def make_cache(decoder: Decoder) -> SlotCache:
    return SlotCache(decoder.shape, 4, CPU, torch.float32)


def prompt(letters: int, seed: int = 0) -> Prompt:
    random = torch.Generator().manual_seed(seed)
    return Prompt(torch.randn(32, 64, generator=random), torch.randint(500, (letters,), generator=random).tolist())


def begin(decoder: Decoder, cache: SlotCache, row: int, options: Sampling, *, letters: int, seed: int = 0) -> int:
    cache.begin(row, options, seed)
    return int(decoder.prefill([prompt(letters, seed)], cache, row))


def steps(decoder: Decoder, cache: SlotCache, rows: int, count: int) -> torch.Tensor:
    """Tokens, [rows, count]."""
    return torch.stack([decoder.step(cache, rows, POSITIONS) for _ in range(count)], 1)


def two_sequences(decoder: Decoder, cache: SlotCache) -> None:
    """A wild one in row 0 and, three steps younger, a tame one in row 1."""
    begin(decoder, cache, 0, WILD, letters=20, seed=5)
    steps(decoder, cache, 1, 3)
    begin(decoder, cache, 1, TAME, letters=9, seed=6)
    steps(decoder, cache, 2, 6)


def lengths(cache: SlotCache) -> list[int]:
    return [int(length) for length in cache.length]


def after_a_swap(decoder: Decoder, cache: SlotCache) -> torch.Tensor:
    """The next tokens of the two, which have changed places by save, move and restore."""
    two_sequences(decoder, cache)
    wild, tame = lengths(cache)[:2]
    saved = cache.save(0, wild)
    cache.move(1, 0, tame)
    begin(decoder, cache, 1, TAME, letters=30, seed=7)
    cache.restore(1, saved, wild)
    return steps(decoder, cache, 2, 12).flip(0)


def undisturbed(decoder: Decoder, cache: SlotCache) -> torch.Tensor:
    two_sequences(decoder, cache)
    return steps(decoder, cache, 2, 12)


def test_sequences_that_change_rows_go_on_as_if_nothing_had_been(decoder: Decoder) -> None:
    cache, moved = make_cache(decoder), make_cache(decoder)
    expected = undisturbed(decoder, cache)
    assert torch.equal(after_a_swap(decoder, moved), expected)
    assert expected.unique().numel() > 10
    for row, other, count in ((0, 1, 21), (1, 0, 18)):
        difference = (cache.latents[row, :count] - moved.latents[other, :count]).abs().max()
        assert difference < 1e-5 * cache.latents[row, :count].abs().max()


@pytest.mark.parametrize("left_behind", range(FIELDS))
def test_nothing_that_a_sequence_has_may_be_left_behind(
    decoder: Decoder, left_behind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, moved = make_cache(decoder), make_cache(decoder)
    expected = undisturbed(decoder, cache)
    whole = SlotCache._rows

    def without_one(self: SlotCache, length: int) -> Iterator[torch.Tensor]:
        assert len(list(whole(self, length))) == FIELDS
        return (rows for index, rows in enumerate(whole(self, length)) if index != left_behind)

    monkeypatch.setattr(SlotCache, "_rows", without_one)
    tokens = after_a_swap(decoder, moved)
    same_latents = torch.allclose(cache.latents[0, :21], moved.latents[1, :21], atol=1e-3)
    assert not (torch.equal(tokens, expected) and same_latents)


def test_what_is_saved_does_not_follow_its_row(decoder: Decoder) -> None:
    cache = make_cache(decoder)
    begin(decoder, cache, 0, WILD, letters=5)
    tokens = steps(decoder, cache, 1, 4)
    saved = cache.save(0, lengths(cache)[0])
    latents = cache.latents[0, :5].clone()
    begin(decoder, cache, 0, TAME, letters=50, seed=1)
    steps(decoder, cache, 1, 20)
    assert torch.equal(saved.latents[:5], latents)
    cache.restore(3, saved, 32 + 5 + 3 + 4)
    assert cache.token[3] == tokens[0, -1]
    assert cache.step[3] == 5


def test_a_row_that_begins_remembers_nothing(decoder: Decoder) -> None:
    used, fresh = make_cache(decoder), make_cache(decoder)
    begin(decoder, used, 0, TAME, letters=60, seed=3)
    steps(decoder, used, 1, 30)
    for cache in (used, fresh):
        cache.token[0] = begin(decoder, cache, 0, WILD, letters=10, seed=8)
    assert torch.equal(steps(decoder, used, 1, 20), steps(decoder, fresh, 1, 20))
    assert torch.equal(used.latents[0, :21], fresh.latents[0, :21])


def test_options_beyond_what_there_is_mean_no_limit(decoder: Decoder) -> None:
    chosen = set()
    for top_k, seed in itertools.product((0, decoder.shape.vocabulary, 10**6), (3, 3 + 2**62, 3 - 2**62)):
        cache = make_cache(decoder)
        cache.begin(0, Sampling(1.0, top_k, 1.0, 1.0), seed)
        chosen.add(int(decoder.prefill([prompt(12)], cache, 0)))
    assert len(chosen) == 1


def test_however_cold_the_most_probable_token_is_chosen(decoder: Decoder) -> None:
    chosen = set()
    for options in (Sampling(1.0, 1, 1.0, 1.0), Sampling(1e-4, 50, 1.0, 1.0), Sampling(1e-40, 50, 1.0, 1.0)):
        cache = make_cache(decoder)
        cache.begin(0, options, 3)
        decoder.prefill([prompt(12)], cache, 0)
        chosen.add(tuple(steps(decoder, cache, 1, 20)[0].tolist()))
    assert len(chosen) == 1


def test_cleared_rows_do_not_spoil_what_comes_into_them(decoder: Decoder) -> None:
    expected = make_cache(decoder)
    begin(decoder, expected, 0, WILD, letters=8)
    tokens = steps(decoder, expected, 1, 6)[0]
    for clear, spoilt in ((True, False), (False, True)):
        cache = make_cache(decoder)
        cache.keys[:, 1], cache.values[:, 1] = torch.nan, torch.inf
        cache.keys[:, 0] = 7.0
        if clear:
            cache.clear(slice(1, 2))
        assert (cache.keys[:, 0] == 7.0).all()
        cache.clear(slice(0, 1))
        for row in (0, 1):
            begin(decoder, cache, row, WILD, letters=8)
        both = steps(decoder, cache, 2, 6)
        assert torch.equal(both[0], tokens)
        assert torch.equal(both[1], tokens) is not spoilt
        cache.reset()
        assert not cache.keys.any()
        assert not cache.values.any()


def test_reverted_steps_are_done_again_alike(decoder: Decoder) -> None:
    cache = make_cache(decoder)
    two_sequences(decoder, cache)
    before = cache.counters()
    expected = steps(decoder, cache, 2, 5)
    assert not torch.equal(steps(decoder, cache, 2, 5), expected)
    cache.revert(before)
    assert lengths(cache)[:2] == before[0][:2].tolist()
    assert torch.equal(steps(decoder, cache, 2, 5), expected)


def test_a_cpu_s_cache_takes_memory_only_as_it_is_used() -> None:
    shape = DecoderShape(
        layers=30,
        channels=1024,
        heads=16,
        vocabulary=1026,
        start_audio=1024,
        stop_audio=1025,
        max_prompt=475,
        max_audio=602,
    )
    process = psutil.Process()
    before = process.memory_info().rss
    cache = SlotCache(shape, 16, CPU, torch.float32)
    assert cache.keys.nbytes + cache.values.nbytes > 4e9
    assert process.memory_info().rss - before < 64e6
    cache.keys[:, 0, :300] = 1
    assert process.memory_info().rss - before > 30e6
