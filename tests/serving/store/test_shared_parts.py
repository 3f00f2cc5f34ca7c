from __future__ import annotations

from pathlib import Path

import pytest

from serving.engines.rvc.content import WEIGHT_FILES
from serving.engines.rvc.shared import CONTENT_DIRECTORY, RMVPE_FILE
from serving.errors import ModelFilesError
from serving.store.shared_parts import CONTENT_ENCODER, RMVPE, dvae_file, require_content_encoder, shared_directory
from serving.store.volume import Volume


def test_parts_lie_where_the_engine_reads_them(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    assert CONTENT_ENCODER.directory(volume) == shared_directory(volume) / CONTENT_DIRECTORY
    assert RMVPE.directory(volume) / RMVPE.files[0] == shared_directory(volume) / RMVPE_FILE
    assert CONTENT_ENCODER.weights == WEIGHT_FILES


def test_what_is_missing_is_named_with_where_it_goes_and_the_command(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    directory = tmp_path / "models" / "shared" / "contentvec"
    with pytest.raises(ModelFilesError) as caught:
        require_content_encoder(volume)
    for words in ("config.json and model.safetensors or pytorch_model.bin", str(directory), "pull rvc-base", "fcpe"):
        assert words in caught.value.message
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    assert CONTENT_ENCODER.missing(volume).startswith("model.safetensors or pytorch_model.bin of the content encoder")
    (directory / "model.safetensors").write_bytes(b"")
    require_content_encoder(volume)
    assert RMVPE.missing(volume) == f"rmvpe.pt of the pitch method rmvpe missing in {tmp_path}/models/shared"


def test_training_without_its_dvae_is_told_the_file_its_place_and_the_command(tmp_path: Path) -> None:
    volume, place = Volume(tmp_path), tmp_path / "models" / "shared" / "xtts_dvae"
    with pytest.raises(ModelFilesError) as caught:
        dvae_file(volume)
    for words in ("dvae.pth", str(place), "kubevoice models pull xtts-training"):
        assert words in caught.value.message
    place.mkdir(parents=True)
    (place / "dvae.pth").write_bytes(b"")
    assert dvae_file(volume) == place / "dvae.pth"
