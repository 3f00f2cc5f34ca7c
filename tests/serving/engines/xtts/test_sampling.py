"""The reference is transformers' own logits processors, one row at a time."""

import dataclasses

import pytest
import torch
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from serving.engines.xtts import sampling
from serving.engines.xtts.sampling import SamplingRows, gumbel, keep_top_k, keep_top_p, penalise, sample

VOCABULARY = 1026


def random_options(rows: int, seed: int, vocabulary: int = VOCABULARY) -> SamplingRows:
    """Every row with options of its own, the ends of their ranges among them."""
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(rows, generator=random)

    top_k = torch.randint(1, vocabulary + 1, (rows,), generator=random)
    top_k[::2] = torch.randint(1, 60, (len(top_k[::2]),), generator=random)
    top_p = uniform(0.01, 1.0)
    top_p[::3] = 1.0
    top_p[1::50] = 0.0
    return SamplingRows(
        temperature=uniform(0.05, 2.0),
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=uniform(1.0, 12.0),
        greedy=torch.zeros(rows, dtype=torch.bool),
        seed=torch.randint(0, 2**62, (rows,), generator=random),
    )


def random_logits(rows: int, seed: int, vocabulary: int = VOCABULARY) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and what has been seen; the first row ties in pairs."""
    random = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, vocabulary, generator=random)
    logits[0] = logits[0].round()
    return logits, torch.rand(rows, vocabulary, generator=random) < 0.05


def by_transformers(logits: torch.Tensor, seen: torch.Tensor, rows: SamplingRows) -> torch.Tensor:
    """Scores [rows, vocabulary] after all processors, -inf where a token is out of the question."""
    scores = []
    for row in range(len(logits)):
        ids = seen[row].nonzero().T
        score = RepetitionPenaltyLogitsProcessor(float(rows.repetition_penalty[row]))(ids, logits[row : row + 1])
        score = TemperatureLogitsWarper(float(rows.temperature[row]))(ids, score)
        score = TopKLogitsWarper(int(rows.top_k[row]))(ids, score)
        scores.append(TopPLogitsWarper(float(rows.top_p[row]))(ids, score))
    return torch.cat(scores)


def probabilities(logits: torch.Tensor, seen: torch.Tensor, rows: SamplingRows) -> torch.Tensor:
    penalised = penalise(logits, seen, rows.repetition_penalty)
    ordered, tokens = (penalised / rows.temperature[:, None]).sort(dim=-1, stable=True)
    ordered = keep_top_p(keep_top_k(ordered, rows.top_k), rows.top_p)
    return torch.zeros_like(logits).scatter(-1, tokens, ordered.softmax(-1))


def test_the_probabilities_are_those_of_transformers() -> None:
    logits, seen = random_logits(600, seed=1)
    rows = random_options(600, seed=2)
    expected = by_transformers(logits, seen, rows).softmax(-1)
    ours = probabilities(logits, seen, rows)
    assert torch.equal(ours > 0, expected > 0)
    assert (ours - expected).abs().max() < 1e-6
    assert 5 < (ours > 0).sum(-1).float().mean() < VOCABULARY / 2
    for change in ("top_p", "temperature", "repetition_penalty"):
        wrong = dataclasses.replace(rows, **{change: getattr(rows, change) * 0.97})
        assert (probabilities(logits, seen, wrong) - expected).abs().max() > 0.01
    wrong = dataclasses.replace(rows, top_k=(rows.top_k - 1).clamp(min=1))
    assert not torch.equal(probabilities(logits, seen, wrong) > 0, expected > 0)


def test_sampling_chooses_what_transformers_scores_and_the_noise_say() -> None:
    logits, seen = random_logits(1000, seed=3)
    rows = random_options(1000, seed=4)
    step = torch.arange(1000) % 602
    scores = by_transformers(logits, seen, rows)
    expected = (scores + gumbel(rows.seed, step, VOCABULARY)).argmax(-1)
    assert torch.equal(sample(logits, seen, step, rows), expected)
    assert (expected != scores.argmax(-1)).sum() > 100
    assert not torch.equal(sample(logits, seen, step + 1, rows), expected)


def test_sampling_can_choose_every_token_that_transformers_keeps_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 60
    every = torch.arange(size)
    monkeypatch.setattr(sampling, "gumbel", lambda seed, step, vocabulary: 1e6 * torch.eye(size))
    logits, seen = random_logits(100, seed=5, vocabulary=size)
    options = random_options(100, seed=6, vocabulary=size)
    kept = by_transformers(logits, seen, options).isfinite()
    for row in range(100):
        wish = SamplingRows(*(getattr(options, name)[row].expand(size) for name in SamplingRows.__slots__))
        chosen = sample(logits[row].expand(size, size), seen[row].expand(size, size), every, wish)
        assert torch.equal(chosen == every, kept[row])


def test_greedy_takes_the_most_probable_token_after_the_penalty() -> None:
    logits, seen = random_logits(200, seed=7)
    options = random_options(200, seed=8)
    half = torch.arange(200) % 2 == 0
    rows = dataclasses.replace(options, greedy=half)
    step = torch.zeros(200, dtype=torch.int64)
    ours = sample(logits, seen, step, rows)
    penalised = torch.cat(
        [
            RepetitionPenaltyLogitsProcessor(float(options.repetition_penalty[row]))(
                seen[row].nonzero().T, logits[row : row + 1]
            )
            for row in range(200)
        ]
    )
    assert torch.equal(ours[half], penalised.argmax(-1)[half])
    assert not torch.equal(ours[half], logits.argmax(-1)[half])
    assert torch.equal(ours[~half], sample(logits, seen, step, options)[~half])


def test_the_noise_draws_from_the_distribution_of_the_logits() -> None:
    """Chi-square statistics; good noise exceeds the limits once in ten thousand times, and it is always the same."""
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 0.1, 1.5])
    count = 40_000
    expected = logits.double().softmax(-1) * count
    steps, one = torch.arange(count), torch.ones(count, dtype=torch.int64)
    for seed, step in ((one, steps), (one * (2**45 + 9), steps), (steps, one), (steps << 30, one * 601)):
        drawn = (logits + gumbel(seed, step, 8)).argmax(-1)
        seen = torch.bincount(drawn, minlength=8)
        assert ((seen - expected) ** 2 / expected).sum() < 29.9  # 7 degrees of freedom
        pairs = torch.bincount(8 * drawn[::2] + drawn[1::2], minlength=64)
        both = torch.outer(expected, expected).flatten() / (2 * count)
        assert ((pairs - both) ** 2 / both).sum() < 113.0  # 63 degrees of freedom
        assert ((seen.roll(1) - expected) ** 2 / expected).sum() > 1000


def test_the_noise_depends_on_seed_step_and_token_and_on_nothing_else() -> None:
    seeds, steps = torch.tensor([1, 2, 1 + 2**40, 1]), torch.tensor([5, 5, 5, 6])
    noise = gumbel(seeds, steps, VOCABULARY)
    for one in range(4):
        assert torch.equal(gumbel(seeds[one : one + 1], steps[one : one + 1], 100)[0], noise[one, :100])
        for other in range(one):
            correlation = torch.corrcoef(noise[[one, other]])[0, 1]
            assert abs(correlation) < 5 / VOCABULARY**0.5
    assert noise.unique().numel() > 0.99 * noise.numel()


def test_the_noise_is_always_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = torch.tensor([0, 1, 2**32 - 1, 2**32, 2**62 - 1])
    for step in (0, 1, 601, 602):
        assert gumbel(seeds, torch.full((5,), step), VOCABULARY).isfinite().all()
    for extreme in (0, 0xFFFFFFFF):
        monkeypatch.setattr(sampling, "_hash", lambda value, extreme=extreme: torch.full_like(value, extreme))
        assert gumbel(seeds, seeds, 10).isfinite().all()


def test_a_row_s_token_is_the_same_in_any_company_order_and_number() -> None:
    logits, seen = random_logits(64, seed=9)
    rows, step = random_options(64, seed=10), torch.arange(64)
    together = sample(logits, seen, step, rows)

    def chosen(index: torch.Tensor) -> torch.Tensor:
        options = SamplingRows(*(getattr(rows, name)[index] for name in SamplingRows.__slots__))
        return sample(logits[index], seen[index], step[index], options)

    for index in (torch.randperm(64, generator=torch.Generator().manual_seed(0)), torch.arange(0, 64, 3)):
        assert torch.equal(chosen(index), together[index])
    for row in range(64):
        assert torch.equal(chosen(torch.tensor([row])), together[row : row + 1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("greedy", [False, True])
def test_logits_that_are_not_finite_choose_minus_one_and_spare_the_other_rows(bad: float, greedy: bool) -> None:
    logits, seen = random_logits(6, seed=11)
    rows = dataclasses.replace(random_options(6, seed=12), greedy=torch.full((6,), greedy))
    step = torch.arange(6)
    expected = sample(logits, seen, step, rows)
    logits[2, 77] = bad
    expected[2] = -1
    assert torch.equal(sample(logits, seen, step, rows), expected)
