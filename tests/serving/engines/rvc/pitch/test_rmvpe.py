from pathlib import Path

import numpy as np
import pytest
import torch

from serving.engines.rvc.pitch.base import frame_count
from serving.engines.rvc.pitch.rmvpe import Rmvpe
from serving.engines.rvc.pitch.salience import decode
from serving.errors import ModelFilesError
from tests.factories.rmvpe import cached_rmvpe, plain_rmvpe
from tests.serving.engines.rvc.pitch.test_spectrum import plain_log_mel

CPU = torch.device("cpu")
LENGTHS = [16_000, 9_000, 15_800, 5_119, 5_120, 100, 1]


@pytest.fixture(scope="module")
def rmvpe() -> Rmvpe:
    return Rmvpe.load(cached_rmvpe(), CPU)


def audio(lengths: list[int]) -> torch.Tensor:
    return 0.1 * torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(1))


def test_the_salience_is_that_of_the_plain_network_on_the_mirrored_spectrogram(rmvpe: Rmvpe) -> None:
    samples = 9_000
    speech = audio([samples])
    mel = plain_log_mel(speech[0].numpy(), low=30, htk=True, pad=512, epsilon=0)
    padded = np.pad(mel, ((0, 0), (0, 64 - mel.shape[1])), mode="reflect")
    network = plain_rmvpe()
    network.load_state_dict(torch.load(cached_rmvpe()))
    expected = network(torch.from_numpy(padded).float()[None])[0, : frame_count(samples)]
    salience = rmvpe.salience(speech, [samples])[0]
    assert torch.allclose(salience, expected, atol=1e-4)
    assert torch.equal(rmvpe.f0(speech, [samples])[0], decode(salience, 0.03))


def test_an_item_of_a_batch_has_the_pitch_it_has_alone(rmvpe: Rmvpe) -> None:
    speech = audio(LENGTHS)
    batched, pitch = rmvpe.salience(speech, LENGTHS), rmvpe.f0(speech, LENGTHS)
    assert batched.shape == (7, 101, 360)
    for item, length in enumerate(LENGTHS):
        alone = rmvpe.salience(speech[item : item + 1, :length], [length])[0]
        assert len(alone) == frame_count(length)
        assert (batched[item, : len(alone)] - alone).abs().max() < 1e-5
        assert not batched[item, len(alone) :].any()
        assert not pitch[item, len(alone) :].any()


def test_padding_to_the_longest_of_a_batch_would_change_frames(rmvpe: Rmvpe) -> None:
    """Why items only share a batch with those of the same multiple of 32 frames."""
    mel = rmvpe._mel(audio([9_000]), [9_000])[..., :57]
    alone = rmvpe._network(torch.nn.functional.pad(mel, (0, 7), mode="reflect"))[0, :57]
    padded = rmvpe._network(torch.nn.functional.pad(mel, (0, 39), mode="reflect"))[0, :57]
    assert (padded - alone).abs().max() > 1e-3


def test_a_frame_is_voiced_above_a_salience_of_three_percent(rmvpe: Rmvpe, monkeypatch: pytest.MonkeyPatch) -> None:
    salience = torch.full((1, 32, 360), 0.001)
    salience[0, :16, 100], salience[0, 16:, 100] = 0.031, 0.029
    monkeypatch.setattr(rmvpe, "_network", lambda mel: salience[:, : mel.shape[2]])
    found = rmvpe.f0(audio([4_000]), [4_000])[0]
    assert (found > 0).tolist() == [True] * 16 + [False] * 10
    assert float(found[0]) == pytest.approx(10 * 2 ** ((1997.3794 + 2000) / 1200), rel=1e-2)


def test_half_precision_weights_are_read_as_float32(rmvpe: Rmvpe) -> None:
    weight, bias = rmvpe._network._linear
    assert weight.dtype == bias.dtype == torch.float32
    assert torch.equal(weight, torch.load(cached_rmvpe())["fc.1.weight"].float())


def test_a_missing_file_says_where_it_goes_and_what_works_without_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError) as error:
        Rmvpe.load(tmp_path / "rmvpe.pt", CPU)
    for words in (str(tmp_path / "rmvpe.pt"), "kubevoice models pull", "fcpe"):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("key", "tensor", "message"),
    [
        ("unet.encoder.layers.0.conv.0.conv.0.weight", None, r"lacks unet\.encoder\.layers\.0\.conv\.0"),
        ("fc.0.gru.bias_hh_l0_reverse", None, r"lacks fc\.0\.gru\.bias_hh_l0_reverse \(shape \[768\]\)"),
        ("fc.1.weight", torch.zeros(512, 360), r"fc\.1\.weight has shape \[512, 360\] instead of \[360, 512\]"),
        ("fc.1.bias", torch.full((360,), torch.inf), r"fc\.1\.bias has values that are not finite"),
        ("unet.encoder.layers.0.conv.0.conv.0.weight", torch.zeros(()), "instead of"),
        ("unet.encoder.layers.0.conv.0.conv.0.weight", torch.zeros(3, 1, 3, 3), "instead of"),
    ],
)
def test_a_wrong_file_is_refused_by_key(tmp_path: Path, key: str, tensor: torch.Tensor | None, message: str) -> None:
    state = {name: value for name, value in torch.load(cached_rmvpe()).items() if name != key}
    torch.save(state | ({} if tensor is None else {key: tensor}), tmp_path / "rmvpe.pt")
    with pytest.raises(ModelFilesError, match=message):
        Rmvpe.load(tmp_path / "rmvpe.pt", CPU)


@pytest.mark.parametrize("kept", [0, 1000, 4_000_000])
def test_half_a_download_is_refused(tmp_path: Path, kept: int) -> None:
    (tmp_path / "rmvpe.pt").write_bytes(cached_rmvpe().read_bytes()[:kept])
    with pytest.raises(ModelFilesError, match=r"rmvpe\.pt"):
        Rmvpe.load(tmp_path / "rmvpe.pt", CPU)


@pytest.mark.slow
def test_the_released_size_agrees_with_the_plain_network() -> None:
    rmvpe, plain = Rmvpe.load(cached_rmvpe("full"), CPU), plain_rmvpe("full")
    plain.load_state_dict(torch.load(cached_rmvpe("full")))
    mel = rmvpe._mel(audio([20_000]), [20_000])[..., :96]
    assert torch.allclose(rmvpe._network(mel), plain(mel), atol=5e-6)
