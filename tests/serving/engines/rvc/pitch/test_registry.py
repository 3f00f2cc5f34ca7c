import shutil
from pathlib import Path

import pytest
import torch

from serving.engines.rvc.pitch import METHODS, choose, open_pitch
from serving.engines.rvc.pitch.crepe import Crepe
from serving.engines.rvc.pitch.fcpe import Fcpe
from serving.engines.rvc.pitch.rmvpe import Rmvpe
from serving.errors import InvalidRequest, ModelFilesError
from tests.factories.rmvpe import cached_rmvpe

CPU = torch.device("cpu")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """``models/shared`` with rmvpe.pt."""
    shutil.copy(cached_rmvpe(), tmp_path / "rmvpe.pt")
    return tmp_path


@pytest.mark.parametrize(("name", "kind"), [("rmvpe", Rmvpe), ("fcpe", Fcpe), ("crepe", Crepe), ("crepe-tiny", Crepe)])
def test_a_method_opens_by_its_name_and_finds_a_pitch(shared: Path, name: str, kind: type) -> None:
    method = open_pitch(name, shared, CPU)
    assert isinstance(method, kind)
    assert method.name == name
    found = method.f0(torch.zeros(2, 800), [800, 320])
    assert (found.shape, found.dtype) == ((2, 6), torch.float32)
    assert METHODS == ("rmvpe", "fcpe", "crepe", "crepe-tiny")


def test_auto_is_rmvpe_where_its_weights_are_and_fcpe_elsewhere(
    shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert open_pitch("auto", shared, CPU).name == "rmvpe"
    assert open_pitch("auto", tmp_path_factory.mktemp("empty"), CPU).name == "fcpe"


def test_an_unknown_method_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="'harvest' is unknown; choose one of auto, rmvpe, fcpe, crepe") as error:
        choose("harvest", tmp_path)
    assert error.value.param == "f0_method"


def test_rmvpe_without_its_weights_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"rmvpe\.pt is missing: .*kubevoice models pull.* fcpe, crepe"):
        open_pitch("rmvpe", tmp_path, CPU)
