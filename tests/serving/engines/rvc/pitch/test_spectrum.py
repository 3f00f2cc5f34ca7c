import numpy as np
import pytest
import torch
from librosa.filters import mel as librosa_mel
from numpy.typing import NDArray

from serving.engines.rvc.pitch.spectrum import LogMel, reflect_pad

CPU = torch.device("cpu")


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def plain_log_mel(
    audio: NDArray[np.float32], *, low: float, htk: bool, pad: int, epsilon: float
) -> NDArray[np.float64]:
    """From the definition, in float64: [bands, frames]."""
    padded = np.pad(audio.astype(np.float64), pad, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::160] * hann
    magnitude = np.sqrt(np.abs(np.fft.rfft(frames)) ** 2 + epsilon).T
    basis = librosa_mel(sr=16_000, n_fft=1024, n_mels=128, fmin=low, fmax=8000, htk=htk, dtype=np.float64)
    return np.asarray(np.log(np.maximum(basis @ magnitude, 1e-5)))


@pytest.mark.parametrize(("scale", "low", "pad", "epsilon"), [("htk", 30.0, 512, 0.0), ("slaney", 0.0, 432, 1e-9)])
def test_a_log_mel_spectrogram_is_what_its_definition_says(scale: str, low: float, pad: int, epsilon: float) -> None:
    log_mel = LogMel.of(CPU, low_hz=low, scale="htk" if scale == "htk" else "slaney", pad=pad, epsilon=epsilon)
    lengths = [4_000, 2_345]
    audio = noise(2, 4_000)
    found = log_mel(audio, lengths)
    for item, length in enumerate(lengths):
        expected = plain_log_mel(audio[item, :length].numpy(), low=low, htk=scale == "htk", pad=pad, epsilon=epsilon)
        frames = expected.shape[1]
        assert frames == (length + 2 * pad - 1024) // 160 + 1
        np.testing.assert_allclose(found[item, :, :frames].numpy(), expected, atol=2e-4)


def test_silence_is_the_floor() -> None:
    log_mel = LogMel.of(CPU, low_hz=30.0, scale="htk", pad=512)
    assert torch.equal(
        log_mel(torch.zeros(1, 3_200), [3_200]), torch.full((1, 128, 21), float(np.log(np.float32(1e-5))))
    )


@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 4), (9, 30)])
def test_each_item_is_mirrored_at_its_own_end_as_numpy_mirrors(left: int, right: int) -> None:
    lengths = [10, 7, 2, 1]
    signal = noise(4, 10)
    padded = reflect_pad(signal, lengths, left, right)
    assert padded.shape == (4, left + 10 + right)
    for item, length in enumerate(lengths):
        expected = np.pad(signal[item, :length].numpy(), (left, right), mode="reflect")
        assert np.array_equal(padded[item, : len(expected)].numpy(), expected)


def test_channels_are_mirrored_alike() -> None:
    signal = noise(2, 5, 8)
    padded = reflect_pad(signal, [8, 6], 0, 4)
    assert padded.shape == (2, 5, 12)
    assert torch.equal(padded[:, 2], reflect_pad(signal[:, 2], [8, 6], 0, 4))
