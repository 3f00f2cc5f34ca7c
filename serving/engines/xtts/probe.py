"""Whether a device computes what XTTS computes: every kind of operation, at the model's own shapes, beside the CPU.

No version string tells. A build of torch that imports, sees the GPU and multiplies matrices can still fail in one FFT
size or one kernel, and one that fails in none can still be wrong. Weights and inputs are noise with a seed, so that
nothing has to be loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from serving.engines.base import Sampling
from serving.engines.hifigan import Convolution, Stage
from serving.engines.linear import Linear
from serving.engines.xtts.cache import DecoderShape, SlotCache
from serving.engines.xtts.decoder import Block, Decoder, Embeddings, Norm, Prompt
from serving.engines.xtts.sampling import SamplingRows, sample

CPU = torch.device("cpu")
PERIOD = 65_537

SPECTROGRAMS = {
    "conditioning mel": (2048, 256, 1024, 80),
    "perceiver mel": (4096, 1024, 4096, 80),
    "speaker encoder mel": (512, 160, 400, 64),
}
"""(n_fft, hop, window, bands) of what XTTS computes: TTS/tts/models/xtts.py and hifigan_decoder.py of coqui-tts."""

SIGNAL = (2, 22050)
CHANNELS, HEADS, VOCABULARY = 1024, 16, 1026
CONDITIONING, PROMPTS = 32, (65, 40)
"""Positions before the text, and text tokens of the prompts that are read together."""

POSITIONS, AUDIO = 160, 8
LENGTHS = (99, 120, 140, 158)
"""Cached positions of the rows that are decoded together."""

SAMPLED = 64
"""Rows, so many because each gives but a token."""

FRAMES = 48
STAGES = ((512, 16, 8, 48), (256, 16, 8, 384), (128, 4, 2, 3072), (64, 4, 2, 6144))
"""(channels, width, stride, length) of the transposed convolutions, on a window of ``FRAMES``."""

WIDTHS, DILATIONS = (3, 7, 11), (1, 3, 5)

EXACT, TF32, BFLOAT16 = 1e-3, 3e-3, 3e-2
"""Greatest difference from the CPU's float32, relative to its largest value: about ten times what rounding explains."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing to compare; ``compute`` gives its result on a device with weights of ``dtype``, where it has any."""

    name: str
    tolerance: float
    compute: Callable[[torch.device, torch.dtype], torch.Tensor]
    dtype: torch.dtype = torch.float32

    def on(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """The result of ``compute``, float32 on the CPU."""
        with torch.inference_mode():
            return self.compute(device, dtype).float().cpu()

    def fault(self, device: torch.device) -> str | None:
        """What is wrong with this operation on ``device``; None if it agrees with the CPU's float32."""
        expected = self.on(CPU, torch.float32)
        try:
            result = self.on(device, self.dtype)
        except RuntimeError as error:
            return f"{self.name} fails: {str(error).splitlines()[0]}"
        off = float((result - expected).abs().max() / expected.abs().max())
        return None if off <= self.tolerance else f"{self.name} differs from the CPU by {off:.2g} relative"


def first_fault(device: str) -> str | None:
    """The first operation that ``device`` cannot do or gets wrong, by name and shape; None if all agree."""
    return next(faults(device), None)


def faults(device: str) -> Iterator[str]:
    """Each operation that ``device`` cannot do or gets wrong; after an error that breaks a device, all that follow."""
    where = torch.device(device)
    return (fault for operation in operations(where) if (fault := operation.fault(where)))


def operations(device: torch.device) -> tuple[Operation, ...]:
    """What is compared on ``device``: on a GPU the decoder also in bfloat16, the engine's usual choice."""
    found = []
    for name, (n_fft, hop, window, bands) in SPECTROGRAMS.items():
        stft = f"torch.stft of {name} {list(SIGNAL)}, n_fft {n_fft}"
        power = (SIGNAL[0], n_fft // 2 + 1, SIGNAL[1] // hop + 1)
        mel = f"projection and logarithm of {name} {list(power)} to {bands} bands"
        found.append(Operation(stft, EXACT, partial(_stft, n_fft, hop, window)))
        found.append(Operation(mel, EXACT, partial(_mel, power, bands)))
    found.append(Operation(f"sampling of [{SAMPLED}, {VOCABULARY}]", EXACT, _sample))
    for dtype, tolerance in ((torch.float32, EXACT), (torch.bfloat16, BFLOAT16)):
        if dtype == torch.bfloat16 and device.type == "cpu":
            continue
        length = CONDITIONING + PROMPTS[0] + 3
        precision = str(dtype).removeprefix("torch.")
        prefill = f"prefill of a layer [{len(PROMPTS)}, {length}, {CHANNELS}] in {precision}"
        decode = f"decode step of a layer [{len(LENGTHS)}, 1, {CHANNELS}] over {POSITIONS} positions in {precision}"
        found.append(Operation(prefill, tolerance, _prefill, dtype))
        found.append(Operation(decode, tolerance, _decode, dtype))
    first = f"convolution [1, {CHANNELS}, 1, {FRAMES}] to {STAGES[0][0]} channels"
    found.append(Operation(first, TF32, _first_convolution))
    for channels, width, stride, length in STAGES:
        up = f"transposed convolution [1, {channels}, 1, {length}] to {channels // 2} channels, width {width}"
        dilated = f"dilated convolutions [1, {channels // 2}, 1, {length * stride}], widths 3, 7 and 11"
        found.append(Operation(up, TF32, partial(_upsample, channels, width, stride, length)))
        found.append(Operation(dilated, TF32, partial(_stage, channels, width, stride, length)))
    return tuple(found)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal float32 on the CPU. Large shapes repeat themselves: drawing millions takes longer than using them."""
    period = torch.randn(PERIOD, generator=torch.Generator().manual_seed(seed))
    count = math.prod(shape)
    return period.repeat(-(-count // PERIOD))[:count].view(shape)


def _stft(n_fft: int, hop: int, window: int, device: torch.device, _: torch.dtype) -> torch.Tensor:
    taper = torch.hann_window(window, device=device)
    return torch.stft(noise(*SIGNAL).to(device), n_fft, hop, window, taper, return_complex=True).abs()


def _mel(shape: tuple[int, int, int], bands: int, device: torch.device, _: torch.dtype) -> torch.Tensor:
    """As torchaudio's ``MelScale`` projects."""
    power, filters = noise(*shape).square().to(device), noise(shape[1], bands, seed=1).abs().to(device)
    return torch.matmul(power.transpose(-1, -2), filters).transpose(-1, -2).clamp(min=1e-5).log()


def _decoder(device: torch.device, dtype: torch.dtype) -> Decoder:
    """One layer of the full width."""
    shape = DecoderShape(1, CHANNELS, HEADS, VOCABULARY, 1024, 1025, POSITIONS - AUDIO - 1, AUDIO)

    def linear(outputs: int, inputs: int, kind: torch.dtype = dtype) -> Linear:
        weight = noise(outputs, inputs, seed=outputs) / math.sqrt(inputs)
        return Linear(weight.to(device, kind), noise(outputs, seed=1).to(device, kind))

    def norm() -> Norm:
        return Norm(1 + noise(CHANNELS, seed=2).to(device) / 4, noise(CHANNELS, seed=3).to(device) / 4, 1e-5)

    wide = 4 * CHANNELS
    block = Block(
        norm(),
        linear(3 * CHANNELS, CHANNELS),
        linear(CHANNELS, CHANNELS),
        norm(),
        linear(wide, CHANNELS),
        linear(CHANNELS, wide),
    )
    sizes = (max(PROMPTS), max(PROMPTS) + 2, VOCABULARY, AUDIO + 1)
    embeddings = Embeddings(*(noise(size, CHANNELS, seed=size).to(device) for size in sizes))
    head = linear(VOCABULARY, CHANNELS, torch.float32)
    return Decoder(shape, [block], embeddings, (norm(), norm()), head, (0, 1), dtype)


def _cache(decoder: Decoder, rows: int) -> SlotCache:
    cache = SlotCache(decoder.shape, rows, decoder.device, decoder.dtype)
    for row in range(rows):
        cache.begin(row, Sampling(0.75, 50, 0.85, 5.0), seed=row)
    return cache


def _prefill(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    decoder = _decoder(device, dtype)
    cache = _cache(decoder, len(PROMPTS))
    conditioning = noise(CONDITIONING, CHANNELS, seed=4).to(device)
    decoder.prefill([Prompt(conditioning, range(tokens)) for tokens in PROMPTS], cache, 0)
    kept = CONDITIONING + min(PROMPTS) + 3
    return torch.cat(
        [part.flatten().float() for part in (cache.latents[:, 0], cache.keys[:, :, :kept], cache.values[:, :, :kept])]
    )


def _decode(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    decoder = _decoder(device, dtype)
    cache = _cache(decoder, len(LENGTHS))
    cache.keys.copy_(noise(*cache.keys.shape, seed=5))
    cache.values.copy_(noise(*cache.values.shape, seed=6))
    cache.length.copy_(torch.tensor(LENGTHS))
    decoder.step(cache, len(LENGTHS), POSITIONS)
    return cache.latents[:, 0]


def _sample(device: torch.device, _: torch.dtype) -> torch.Tensor:
    index = torch.arange(SAMPLED, device=device)
    options = SamplingRows(
        temperature=0.5 + index / SAMPLED,
        top_k=10 + index,
        top_p=0.75 + index / SAMPLED / 4,
        repetition_penalty=1 + index / 8,
        greedy=index == 0,
        seed=index,
    )
    logits = 3 * noise(SAMPLED, VOCABULARY, seed=7)
    return sample(logits.to(device), (logits > 4).to(device), index, options)


def _convolution(outputs: int, inputs: int, width: int, dilation: int, device: torch.device) -> Convolution:
    weight = noise(outputs, inputs, 1, width, seed=width) / math.sqrt(inputs * width)
    placed = weight.to(device, memory_format=torch.channels_last)
    return Convolution(placed, noise(outputs).to(device), dilation * (width - 1) // 2, dilation, 1)


def _upsampling(channels: int, width: int, stride: int, device: torch.device) -> Convolution:
    weight = noise(channels, channels // 2, 1, width, seed=8) / math.sqrt(channels * width / stride)
    placed = weight.to(device, memory_format=torch.channels_last)
    return Convolution(placed, noise(channels // 2).to(device), (width - stride) // 2, 1, stride)


def _window(channels: int, length: int, device: torch.device) -> torch.Tensor:
    return noise(1, channels, 1, length, seed=9).to(device, memory_format=torch.channels_last)


def _first_convolution(device: torch.device, _: torch.dtype) -> torch.Tensor:
    return _convolution(STAGES[0][0], CHANNELS, 7, 1, device)(_window(CHANNELS, FRAMES, device))


def _upsample(
    channels: int, width: int, stride: int, length: int, device: torch.device, _: torch.dtype
) -> torch.Tensor:
    return _upsampling(channels, width, stride, device).transposed(_window(channels, length, device))


def _stage(channels: int, width: int, stride: int, length: int, device: torch.device, _: torch.dtype) -> torch.Tensor:
    """The upsampling, of which ``_upsample`` has told whether it works, and the residual blocks behind it."""
    half = channels // 2
    blocks = tuple(
        tuple(
            (_convolution(half, half, size, dilation, device), _convolution(half, half, size, 1, device))
            for dilation in DILATIONS
        )
        for size in WIDTHS
    )
    return Stage(_upsampling(channels, width, stride, device), blocks)(_window(channels, length, device), None)
