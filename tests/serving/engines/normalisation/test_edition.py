"""An edition ends with any change of the package, so that nobody has to think of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving.engines import normalisation
from serving.engines.normalisation import edition

HERE = Path(normalisation.__file__).parent


@pytest.mark.parametrize("name", ["normalise.py", "numbers.py", "german.py"])
def test_a_change_of_any_file_is_another_edition(tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert edition(copy) == edition()
    with (copy / name).open("a") as file:
        file.write("# another\n")
    assert edition(copy) != edition()
