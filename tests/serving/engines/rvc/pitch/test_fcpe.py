import pytest
import torch
import torchfcpe

from serving.engines.rvc.pitch.base import frame_count
from serving.engines.rvc.pitch.fcpe import Fcpe
from tests.factories.tones import sweep

LENGTHS = [16_000, 9_000, 12_345, 500, 1]


@pytest.fixture(scope="module")
def fcpe() -> Fcpe:
    return Fcpe(torch.device("cpu"))


def speech(lengths: list[int]) -> torch.Tensor:
    """A tone in noise, different in every item; also beyond an item's length, where it must not matter."""
    noise = 0.05 * torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(2))
    return noise + sweep(110, 600, max(lengths) / 16_000)[0]


@pytest.mark.parametrize("seconds", [1.0, 0.7531])
def test_the_pitch_is_that_of_torchfcpe(fcpe: Fcpe, seconds: float) -> None:
    audio, _ = sweep(90, 900, seconds)
    theirs = torchfcpe.spawn_bundled_infer_model("cpu").infer(
        audio[None, :, None], 16_000, decoder_mode="local_argmax", threshold=0.006
    )
    ours = fcpe.f0(audio[None], [len(audio)])
    assert ours.shape == (1, frame_count(len(audio)))
    assert torch.allclose(ours, theirs[..., 0], rtol=1e-5)


def test_a_glide_from_110_to_600_hz_is_found_within_one_percent(fcpe: Fcpe) -> None:
    audio, hertz = sweep(110, 600, 2)
    found = fcpe.f0(audio[None], [len(audio)])[0]
    at = hertz[::160]
    assert ((found[3 : len(at) - 3] / at[3:-3]) - 1).abs().max() < 0.01


def test_silence_is_unvoiced(fcpe: Fcpe) -> None:
    assert not fcpe.f0(torch.zeros(1, 8_000), [8_000]).any()


def test_an_item_of_a_batch_has_the_pitch_it_has_alone(fcpe: Fcpe) -> None:
    audio = speech(LENGTHS)
    batched = fcpe.f0(audio, LENGTHS)
    for item, length in enumerate(LENGTHS):
        alone = fcpe.f0(audio[item : item + 1, :length], [length])[0]
        assert torch.allclose(batched[item, : len(alone)], alone, rtol=1e-5)
        assert not batched[item, len(alone) :].any()


def test_padding_as_torchfcpe_does_it_changes_the_pitch(fcpe: Fcpe) -> None:
    model = torchfcpe.spawn_bundled_infer_model("cpu")
    audio = speech([16_000, 5_000])
    audio[1, 5_000:] = 0
    padded = model.infer(audio[..., None], 16_000)[1, :32, 0]
    alone = fcpe.f0(audio[1:, :5_000], [5_000])[0]
    assert (padded - alone).abs().max() > 0.1
