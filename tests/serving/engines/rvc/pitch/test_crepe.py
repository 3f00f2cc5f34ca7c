import pytest
import torch
import torchcrepe

from serving.engines.rvc.pitch.base import frame_count
from serving.engines.rvc.pitch.crepe import Crepe, Size, _windows
from tests.factories.tones import sweep

CPU = torch.device("cpu")
LENGTHS = [8_000, 3_000, 5_555, 500, 1]


@pytest.fixture(scope="module")
def tiny() -> Crepe:
    return Crepe("tiny", CPU)


@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
def test_a_glide_from_110_to_600_hz_is_found_within_one_percent(size: Size) -> None:
    seconds = 1.0
    audio, hertz = sweep(110, 600, seconds)
    found = Crepe(size, CPU).f0(audio[None], [len(audio)])[0]
    at = hertz[::160]
    error = ((found[: len(at)] / at) - 1).abs()[3:-3]
    assert error.mean() < 0.005
    assert error.max() < (0.01 if size == "tiny" else 0.016)


@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
def test_silence_is_unvoiced(size: Size) -> None:
    hiss = 2e-5 * torch.randn(1, 1_600, generator=torch.Generator().manual_seed(0))
    for audio in (torch.zeros(1, 1_600), hiss):
        assert not Crepe(size, CPU).f0(audio, [1_600]).any()


def test_an_item_of_a_batch_has_the_pitch_it_has_alone(tiny: Crepe) -> None:
    noise = 0.05 * torch.randn(5, 8_000, generator=torch.Generator().manual_seed(2))
    audio = noise + sweep(110, 600, 0.5)[0]
    batched = tiny.f0(audio, LENGTHS)
    for item, length in enumerate(LENGTHS):
        alone = tiny.f0(audio[item : item + 1, :length], [length])[0]
        assert len(alone) == frame_count(length)
        assert torch.allclose(batched[item, : len(alone)], alone, rtol=1e-5)
        assert not batched[item, len(alone) :].any()


def test_the_salience_is_that_of_torchcrepe(tiny: Crepe) -> None:
    audio, _ = sweep(200, 300, 0.2)
    (frames,) = torchcrepe.preprocess(audio[None], 16_000, 160)
    with torch.no_grad():
        theirs = torchcrepe.infer(frames, "tiny")
        ours = tiny._salience(_windows(audio[None], [len(audio)]))[0]
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_same_audio_gives_the_same_pitch(tiny: Crepe) -> None:
    """torchcrepe's own frequencies differ from call to call: it adds noise to them."""
    audio, _ = sweep(200, 300, 0.2)
    assert torch.equal(tiny.f0(audio[None], [len(audio)]), tiny.f0(audio[None], [len(audio)]))


def test_two_sizes_live_side_by_side(tiny: Crepe) -> None:
    audio, _ = sweep(200, 300, 0.1)
    before = tiny.f0(audio[None], [len(audio)])
    torchcrepe.load.model("cpu", "full")  # replaces the one model that torchcrepe keeps
    full = Crepe("full", CPU)
    assert (full.name, tiny.name) == ("crepe", "crepe-tiny")
    assert torch.equal(tiny.f0(audio[None], [len(audio)]), before)


def test_pitches_outside_50_to_1100_hz_are_not_taken(tiny: Crepe) -> None:
    audio, _ = sweep(1_300, 1_500, 0.2, harmonics=1)
    found = tiny.f0(audio[None], [len(audio)])
    assert found.max() <= 1_100
