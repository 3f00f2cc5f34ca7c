"""The reference is coqui's ``HifiDecoder.forward``. Differences are relative to the loudest sample."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from serving.engines.xtts.frames import CONTEXT, FrameGrid, Window, plan
from serving.engines.xtts.vocoder import Vocoder
from serving.errors import ConfigurationError

CPU = torch.device("cpu")
GROWING = (8, 28, 68, 148)
"""Latents there are when windows are made: 8, then 20, 40 and 80 more."""

ARGS = SimpleNamespace(
    input_sample_rate=22050, output_sample_rate=24000, output_hop_length=256, gpt_code_stride_len=1024
)
USUAL = FrameGrid.of(ARGS)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def speaker(seed: int = 0) -> torch.Tensor:
    return functional.normalize(noise(1, 512, 1, seed=seed), dim=1)


def coqui(width: int = 32, channels: int = 64, **options: Any) -> Any:
    """coqui's HifiDecoder with a generator ``width`` channels wide: 512 in the released model."""
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        decoder = HifiDecoder(upsample_initial_channel_decoder=width, decoder_input_dim=channels, **options)
        for name, layer in decoder.waveform_decoder.named_modules():
            if isinstance(layer, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
                liven(name, layer)
    return decoder.requires_grad_(False).eval()


def liven(name: str, layer: Any) -> None:
    """He's scale, so that sound depends on all of its context; coqui's fresh weights let hardly anything through."""
    shape = layer.weight.shape
    inputs = (shape[0] / layer.stride[0] if layer.transposed else shape[1]) * shape[2]
    gain = 0.7 if name.startswith("resblocks") else 0.1 if name == "conv_post" else 1
    weight = torch.randn(shape) * gain * (2 / inputs) ** 0.5
    if is_parametrized(layer):
        layer.weight = weight
    else:
        layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.normal_(std=0.05)


@pytest.fixture(scope="module", params=[32, 256], ids=["plain", "fast"])
def stock(request: pytest.FixtureRequest) -> Any:
    """With 256 the first stage has 128 channels, wide enough for fast convolutions of 3, 7 and 11 taps on any CPU."""
    return coqui(request.param)


@pytest.fixture(scope="module")
def vocoder(stock: Any) -> Vocoder:
    return Vocoder.from_generator(stock.waveform_decoder, CPU)


def by_coqui(stock: Any, latents: torch.Tensor, embedding: torch.Tensor, speed: float = 1.0) -> torch.Tensor:
    """As Xtts.inference does."""
    x = latents[None]
    if speed != 1:
        x = functional.interpolate(x.transpose(1, 2), scale_factor=1 / speed, mode="linear").transpose(1, 2)
    audio: torch.Tensor = stock(x, g=embedding)[0, 0]
    return audio


def at_once(vocoder: Vocoder, latents: torch.Tensor, embedding: torch.Tensor, grid: FrameGrid = USUAL) -> torch.Tensor:
    total = grid.total(len(latents))
    return vocoder.synthesize(vocoder.frames([(latents, grid, Window(0, total, 0, total))]), embedding)[0]


def streamed(
    vocoder: Vocoder, latents: torch.Tensor, embedding: torch.Tensor, grid: FrameGrid = USUAL, **options: int
) -> torch.Tensor:
    """The audio of ever more latents, window by window."""
    audio, emitted, total = [], 0, len(latents)
    for count in (*(length for length in GROWING if length < total), total):
        available = grid.total(total) if count == total else grid.ready(count)
        while window := plan(emitted, available, finished=count == total, **{"max_frames": 400} | options):
            frames = vocoder.frames([(latents[:count], grid, window)])[0]
            audio.append(vocoder.synthesize(frames[None], embedding)[0, window.samples(vocoder.hop)])
            emitted = window.last
    assert len(audio) > 2
    return torch.cat(audio)


def difference(ours: torch.Tensor, reference: torch.Tensor) -> float:
    assert ours.shape == reference.shape
    assert 0.03 < reference.std() < 0.5
    return float((ours - reference).abs().max() / reference.abs().max())


def test_the_hop_and_the_context_are_those_of_the_released_architecture(vocoder: Vocoder) -> None:
    assert (vocoder.hop, vocoder.context) == (256, CONTEXT)


@pytest.mark.parametrize("latents", [3, 40])
def test_it_sounds_as_coqui_s_own_with_weight_norm_folded(stock: Any, vocoder: Vocoder, latents: int) -> None:
    given = noise(latents, 64)
    ours = at_once(vocoder, given, speaker())
    assert ours.dtype == torch.float32
    assert difference(ours, by_coqui(stock, given, speaker())) < 1e-5
    assert difference(ours, by_coqui(stock, given, speaker(1))) > 0.1


def test_a_generator_that_is_told_the_speaker_once_is_followed() -> None:
    stock = coqui(cond_d_vector_in_each_upsampling_layer=False)
    vocoder = Vocoder.from_generator(stock.waveform_decoder, CPU)
    assert difference(at_once(vocoder, noise(20, 64), speaker()), by_coqui(stock, noise(20, 64), speaker())) < 1e-5


@pytest.mark.parametrize("bucket", [1, 16])
def test_streamed_audio_is_that_made_in_one_go(stock: Any, vocoder: Vocoder, bucket: int) -> None:
    latents = noise(160, 64)
    ours = streamed(vocoder, latents, speaker(), bucket=bucket)
    assert difference(ours, at_once(vocoder, latents, speaker())) < 1e-5
    assert difference(ours, by_coqui(stock, latents, speaker())) < 1e-5


def test_a_context_of_8_frames_is_too_small(vocoder: Vocoder) -> None:
    whole = at_once(vocoder, noise(160, 64), speaker())
    assert difference(streamed(vocoder, noise(160, 64), speaker(), context=8), whole) > 1e-3


@pytest.mark.parametrize("speed", [0.8, 1.3, 2.0])
def test_speech_at_another_speed_is_coqui_s_too(stock: Any, vocoder: Vocoder, speed: float) -> None:
    latents = noise(100, 64)
    ours = streamed(vocoder, latents, speaker(), FrameGrid.of(ARGS, speed))
    assert len(ours) / 24000 == pytest.approx(100 * 1024 / 22050 / speed, rel=0.02)
    assert difference(ours, by_coqui(stock, latents, speaker(), speed)) < 1e-5


def test_windows_of_several_streams_sound_in_a_batch_as_alone(vocoder: Vocoder) -> None:
    streams = [(noise(length, 64, seed=length), speaker(length)) for length in (20, 60, 90)]
    windows = [Window(0, 48, 0, 35), Window(100, 148, 113, 135), Window(343, 391, 356, 391)]
    grids = (USUAL, USUAL, FrameGrid.of(ARGS, 0.9))  # another speed takes more latents for a frame
    asked = [(latents, grid, window) for (latents, _), grid, window in zip(streams, grids, windows, strict=True)]
    frames = vocoder.frames(asked)
    assert all(torch.equal(one, vocoder.frames([alone])[0]) for one, alone in zip(frames, asked, strict=True))
    embeddings = [embedding for _, embedding in streams]
    together = vocoder.synthesize(frames, torch.cat(embeddings))
    assert together.shape == (3, 48 * 256)
    for audio, alone, embedding in zip(together, frames, embeddings, strict=True):
        assert difference(audio, vocoder.synthesize(alone[None], embedding)[0]) < 1e-6
    assert difference(together[0], together[1]) > 0.1


def test_two_vocoders_share_nothing_and_the_generator_may_change_or_go(stock: Any) -> None:
    other = coqui()
    one, two = (Vocoder.from_generator(other.waveform_decoder, CPU) for _ in range(2))
    expected = at_once(one, noise(10, 64), speaker())
    for parameter in other.parameters():
        parameter.zero_()
    one._first.weight.zero_()
    del other
    assert torch.equal(at_once(two, noise(10, 64), speaker()), expected)
    assert not torch.equal(at_once(one, noise(10, 64), speaker()), expected)


def test_inputs_and_the_process_s_settings_stay_as_they_are(vocoder: Vocoder) -> None:
    frames, embedding = noise(2, 64, 40), torch.cat([speaker(1), speaker(2)])
    before = frames.clone(), embedding.clone(), torch.backends.cudnn.allow_tf32, torch.is_grad_enabled()
    audio = vocoder.synthesize(frames, embedding)
    assert not audio.requires_grad
    assert torch.equal(frames, before[0])
    assert torch.equal(embedding, before[1])
    assert (torch.backends.cudnn.allow_tf32, torch.is_grad_enabled()) == before[2:]


def test_on_a_cpu_tf32_is_float32(stock: Any, vocoder: Vocoder) -> None:
    plain = Vocoder.from_generator(stock.waveform_decoder, CPU, "float32")
    assert torch.equal(at_once(plain, noise(10, 64), speaker()), at_once(vocoder, noise(10, 64), speaker()))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_refused_on_a_cpu_and_bfloat16_anywhere(stock: Any, precision: Any) -> None:
    with pytest.raises(ConfigurationError, match=precision) as caught:
        Vocoder.from_generator(stock.waveform_decoder, CPU, precision)
    assert caught.value.param == "xtts.vocoder_precision"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("tf32", 2e-2), ("float16", 2e-2)])
def test_a_gpu_sounds_as_the_cpu(stock: Any, vocoder: Vocoder, precision: Any, tolerance: float) -> None:
    device = torch.device("cuda")
    on_gpu = Vocoder.from_generator(stock.waveform_decoder, device, precision)
    audio = streamed(on_gpu, noise(60, 64).to(device), speaker().to(device))
    assert audio.dtype == torch.float32
    assert difference(audio.cpu(), at_once(vocoder, noise(60, 64), speaker())) < tolerance


@pytest.mark.slow
def test_the_full_width_streams_as_coqui_s_own_sounds() -> None:
    stock = coqui(512, 1024)
    vocoder = Vocoder.from_generator(stock.waveform_decoder, CPU)
    latents = noise(160, 1024)
    whole, ours = at_once(vocoder, latents, speaker()), streamed(vocoder, latents, speaker(), bucket=16)
    assert difference(whole, by_coqui(stock, latents, speaker())) < 1e-5
    assert difference(ours, whole) < 1e-5
    assert difference(streamed(vocoder, latents, speaker(), context=8), whole) > 1e-3
