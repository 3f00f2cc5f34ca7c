from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from serving.errors import ModelFilesError
from tests.factories.dataset import cached_dataset
from tests.factories.dvae import cached_dvae
from tests.training.xtts.workbench import CPU, a_base, some_features
from training.dataset.metadata import read_metadata
from training.xtts.clip import ClipReader
from training.xtts.dvae import build_dvae, load_dvae


@pytest.fixture(scope="module")
def coqui() -> Any:
    """coqui's own DVAE, loaded as its trainer loads it."""
    model = build_dvae()
    model.load_state_dict(torch.load(cached_dvae(), weights_only=True), strict=False)
    return model.eval()


def test_codes_are_coquis_of_each_clip_alone(coqui: Any) -> None:
    from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram

    base = a_base()
    mels = TorchMelSpectrogram(mel_norm_file=None, sampling_rate=22050)
    mels.mel_norms = base.mel_stats
    reader, features = ClipReader(base, cached_dvae()), some_features()
    for index, clip in enumerate(read_metadata(cached_dataset(16, longest_s=8.0))[:4]):
        pcm = reader._audio(clip)
        expected = coqui.get_codebook_indices(mels(pcm[None, None]))[0]
        assert features[index].codes.tolist() == expected[: -(-len(pcm) // 1024)].tolist()
        assert len(set(expected.tolist())) > 10, "the codes do not follow the audio"


@pytest.mark.parametrize("samples", [20480, 20481, 21503, 21504])
def test_there_is_a_code_for_every_1024_samples_begun(samples: int) -> None:
    dvae = load_dvae(cached_dvae(), torch.ones(80), CPU)
    pcm = torch.randn(samples, generator=torch.Generator().manual_seed(0)) / 10
    codes = dvae.codes(pcm)
    assert len(codes) == -(-samples // 1024)
    assert codes.dtype == torch.int16
    assert (codes.min() >= 0) & (codes.max() < 1024)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "dvae.pth"
    path.write_bytes(cached_dvae().read_bytes()[:1_000_000])
    with pytest.raises(ModelFilesError, match=r"dvae\.pth is torn"):
        load_dvae(path, torch.ones(80), CPU)
    torch.save({"encoder.0.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelFilesError, match=r"dvae\.pth lacks codebook\.embed"):
        load_dvae(path, torch.ones(80), CPU)
    torch.save([1], path)
    with pytest.raises(ModelFilesError, match="holds no tensors"):
        load_dvae(path, torch.ones(80), CPU)
