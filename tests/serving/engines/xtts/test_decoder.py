"""The reference is coqui's ``GPT``, used as ``Xtts.inference`` uses it. Differences are relative to the largest."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.nn import functional

from serving.engines.base import Sampling
from serving.engines.xtts.cache import SlotCache
from serving.engines.xtts.decoder import Decoder, Prompt
from tests.factories.coqui import load_coqui

CPU = torch.device("cpu")
GREEDY = Sampling(temperature=0.75, top_k=1, top_p=0.85, repetition_penalty=10.0)
STOP = 1025
MAX_AUDIO = 602
TEXTS = (
    "The quick brown fox jumps over it.",
    "Hello there, how are you doing today, and what is it that you want of me?",
    "Short.",
)


@dataclass
class Spoken:
    """``tokens`` int64 [n], ``latents`` [n, channels], of one prompt."""

    tokens: torch.Tensor
    latents: torch.Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spoken) or not torch.equal(self.tokens, other.tokens):
            return False
        return difference(self.latents, other.latents) <= 1e-5

    __hash__ = None  # type: ignore[assignment]


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(scope="module")
def coqui(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """With norms and biases of any kind: an untrained model's are ones and zeros, which hide a norm left out."""
    model = load_coqui(tmp_path_factory.mktemp("stock") / "copy")
    random = torch.Generator().manual_seed(0)
    for parameter in [*model.gpt.gpt.parameters(), *model.gpt.final_norm.parameters()]:
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=random)
    return model


@pytest.fixture(scope="module")
def prompts(coqui: Any) -> list[Prompt]:
    """Three of different lengths and voices."""
    voices = [speaker["gpt_cond_latent"][0] for speaker in coqui.speaker_manager.speakers.values()]
    tokens = [coqui.tokenizer.encode(text.lower(), lang="en") for text in TEXTS]
    prompts = [Prompt(voice, text) for voice, text in zip(voices, tokens, strict=True)]
    assert len({prompt.length for prompt in prompts}) == 3
    return prompts


def changed(gpt: Any, bias: dict[int, float]) -> Any:
    """A copy of ``gpt`` in which some tokens are more or less likely."""
    gpt = copy.deepcopy(gpt)
    for token, value in bias.items():
        gpt.mel_head.bias.data[token] += value
    return gpt


def take(gpt: Any, dtype: torch.dtype = torch.float32) -> Decoder:
    return Decoder.take(copy.deepcopy(gpt), dtype)


def by_coqui(gpt: Any, prompt: Prompt) -> Spoken:
    """Generation, and the second pass that gives the latents."""
    with torch.inference_mode():
        return Spoken(*_by_coqui(gpt, prompt))


def _by_coqui(gpt: Any, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
    text, voice = torch.tensor([prompt.text_tokens], dtype=torch.int32), prompt.conditioning[None]
    codes = gpt.generate(
        cond_latents=voice,
        text_inputs=text,
        do_sample=False,
        num_beams=1,
        repetition_penalty=10.0,
    )
    samples = torch.tensor([codes.shape[1] * gpt.code_stride_len])
    latents = gpt(text, torch.tensor([text.shape[1]]), codes, samples, cond_latents=voice, return_latent=True)
    return codes[0], latents[0]


def by_us(
    decoder: Decoder, prompts: Sequence[Prompt], *, together: bool = True, limit: int = MAX_AUDIO
) -> list[Spoken]:
    """All at a time, until the last of them has stopped."""
    cache = SlotCache(decoder.shape, 4, CPU, torch.float32)
    for row in range(len(prompts)):
        cache.begin(row, GREEDY, row)
    if together:
        first = decoder.prefill(prompts, cache, 0)
    else:
        first = torch.cat([decoder.prefill([prompt], cache, row) for row, prompt in enumerate(prompts)])
    chosen = [first]
    while len(chosen) < limit and not all((torch.stack(chosen) == STOP).any(0)):
        positions = max(prompt.length for prompt in prompts) + len(chosen)
        chosen.append(decoder.step(cache, len(prompts), -(-positions // 32) * 32))
    spoken = []
    for row, tokens in enumerate(torch.stack(chosen, 1)):
        stops = (tokens == STOP).nonzero()
        count = int(stops[0]) + 1 if len(stops) else len(tokens)
        spoken.append(Spoken(tokens[:count], cache.latents[row, :count]))
    return spoken


@pytest.fixture(scope="module")
def expected(coqui: Any, prompts: list[Prompt]) -> list[Spoken]:
    return [by_coqui(coqui.gpt, prompt) for prompt in prompts]


@pytest.mark.parametrize("together", [True, False])
def test_tokens_and_latents_are_coqui_s_until_each_sequence_stops(
    coqui: Any, prompts: list[Prompt], expected: list[Spoken], together: bool
) -> None:
    lengths = [len(spoken.tokens) for spoken in expected]
    assert len(set(lengths)) == 3
    assert all(10 < length < MAX_AUDIO for length in lengths)
    assert all(spoken.tokens[-1] == STOP for spoken in expected)
    assert by_us(take(coqui.gpt), prompts, together=together) == expected


def test_a_sequence_alone_and_in_a_wider_window_of_attention_is_the_same(
    coqui: Any, prompts: list[Prompt], expected: list[Spoken]
) -> None:
    decoder = take(coqui.gpt)
    assert by_us(decoder, prompts[:1]) == expected[:1]
    cache = SlotCache(decoder.shape, 1, CPU, torch.float32)
    cache.begin(0, GREEDY, 0)
    tokens = [decoder.prefill(prompts[:1], cache, 0)]
    tokens += [decoder.step(cache, 1, decoder.shape.positions) for _ in range(8)]
    assert torch.equal(torch.cat(tokens), expected[0].tokens[:9])


def test_a_sequence_that_never_stops_is_coqui_s_up_to_the_last_of_602_tokens(coqui: Any, prompts: list[Prompt]) -> None:
    gpt = changed(coqui.gpt, {STOP: -1e4})
    theirs = by_coqui(gpt, prompts[0])
    assert len(theirs.tokens) == MAX_AUDIO
    assert by_us(take(gpt), prompts[:1]) == [theirs]


def test_steps_beyond_the_last_token_do_no_harm(coqui: Any, prompts: list[Prompt]) -> None:
    """The host learns of an end one step late, and a CUDA graph goes on with rows that nobody reads."""
    decoder = take(changed(coqui.gpt, {STOP: -1e4}))
    longest = Prompt(prompts[0].conditioning.repeat(3, 1)[:70], [7] * 402)
    cache = SlotCache(decoder.shape, 2, CPU, torch.float32)
    for row in range(2):
        cache.begin(row, GREEDY, row)
    decoder.prefill([longest, prompts[1]], cache, 0)
    assert int(cache.length[0]) == decoder.shape.max_prompt
    for _ in range(MAX_AUDIO - 1):
        decoder.step(cache, 2, decoder.shape.positions)
    latents = cache.latents[:, :MAX_AUDIO].clone()
    for _ in range(5):
        assert (decoder.step(cache, 2, decoder.shape.positions) >= 0).all()
    assert torch.equal(cache.latents[:, :MAX_AUDIO], latents)
    assert latents.isfinite().all()


def forget_the_prompt_s_ids(patch: pytest.MonkeyPatch) -> None:
    begin = SlotCache.begin

    def without_token_1(self: SlotCache, row: int, sampling: Sampling, seed: int) -> None:
        begin(self, row, sampling, seed)
        self.seen[row, 1] = False

    patch.setattr(SlotCache, "begin", without_token_1)


def take_another_gelu(patch: pytest.MonkeyPatch) -> None:
    gelu = functional.gelu
    patch.setattr(functional, "gelu", lambda x, approximate: gelu(x))


def shift_the_mask(patch: pytest.MonkeyPatch, by: int) -> None:
    attention = functional.scaled_dot_product_attention

    def shifted(*tensors: torch.Tensor, **options: Any) -> Any:
        if "attn_mask" in options:
            options["attn_mask"] = options["attn_mask"].roll(by, -1)
        return attention(*tensors, **options)

    patch.setattr(functional, "scaled_dot_product_attention", shifted)


@pytest.mark.parametrize(
    "damage",
    [
        forget_the_prompt_s_ids,
        take_another_gelu,
        lambda patch: shift_the_mask(patch, 1),
        lambda patch: shift_the_mask(patch, -1),
    ],
    ids=["token 1 is not penalised", "GELU is not tanh", "one position too many", "one position too few"],
)
def test_each_of_coqui_s_peculiarities_matters(
    coqui: Any, prompts: list[Prompt], damage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token 1 is likely here, and coqui penalises it because it stands for the prompt."""
    gpt = changed(coqui.gpt, {1: 12.0})
    theirs = by_coqui(gpt, prompts[0])
    assert by_us(take(gpt), prompts[:1]) == [theirs]
    damage(monkeypatch)
    assert by_us(take(gpt), prompts[:1], limit=len(theirs.tokens)) != [theirs]


def test_bfloat16_weights_change_latents_by_percents_only(
    coqui: Any, prompts: list[Prompt], expected: list[Spoken]
) -> None:
    """Fed with coqui's tokens, since greedy choices part sooner or later. Two layers: the full model does no better."""
    decoder = take(coqui.gpt, torch.bfloat16)
    cache = SlotCache(decoder.shape, 1, CPU, torch.float32)
    cache.begin(0, GREEDY, 0)
    decoder.prefill(prompts[:1], cache, 0)
    for token in expected[0].tokens[:20]:
        cache.token[0] = token
        decoder.step(cache, 1, 128)
    assert cache.latents.dtype == torch.float32
    assert 1e-4 < difference(cache.latents[0, :20], expected[0].latents[:20]) < 3e-2


def test_a_decoder_that_does_not_compute_says_so(coqui: Any) -> None:
    assert take(coqui.gpt).computes()
    assert not take(changed(coqui.gpt, {5: float("nan")})).computes()


def test_the_weights_leave_the_model_they_come_from(coqui: Any) -> None:
    gpt = copy.deepcopy(coqui.gpt)
    shape = Decoder.take(gpt, torch.float32).shape
    assert (shape.layers, shape.channels, shape.heads, shape.head_size) == (2, 64, 2, 32)
    assert (shape.vocabulary, shape.start_audio, shape.stop_audio, shape.max_audio) == (1026, 1024, STOP, MAX_AUDIO)
    assert not list(gpt.gpt.h.parameters())
    assert list(coqui.gpt.gpt.h.parameters())
