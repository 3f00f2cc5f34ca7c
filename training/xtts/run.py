"""The directory of a run: what it asks for, where its volume is, and which base model it is pinned to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import InvalidRequest, NotFound
from serving.store.models import ModelRevision, ModelStore, verify_xtts
from serving.store.training_files import RunSpec, TrainingSettings, read_run, write_run
from serving.store.volume import Volume
from training.xtts.environment import override

TRAINING = "training"


@dataclass(frozen=True)
class Run:
    """One run; ``settings`` are those of ``run.json`` with what the environment overrides."""

    directory: Path
    volume: Volume
    spec: RunSpec
    settings: TrainingSettings

    @property
    def dataset(self) -> Path:
        return self.volume.dataset(self.spec.tenant, self.spec.dataset)


def open_run(directory: Path, environment: Mapping[str, str]) -> Run:
    """The run in ``directory``, ``<data>/training/<tenant>/<run>``.

    Raises NotFound without a ``run.json``, InvalidRequest and ConfigurationError that name what is wrong in it, in its
    place or in ``environment``.
    """
    directory = directory.resolve()
    if len(directory.parents) < 3 or directory.parents[1].name != TRAINING:
        raise InvalidRequest(
            f"{directory} is no directory of a run; give <data directory>/training/<tenant>/<run>", param="run"
        )
    spec = read_run(directory)
    place = (directory.parent.name, directory.name)
    if (spec.tenant, spec.name) != place:
        raise InvalidRequest(
            f"{directory} has the run.json of {spec.tenant}/{spec.name}; correct its tenant and name", param="tenant"
        )
    return Run(directory, Volume(directory.parents[2]), spec, override(spec.settings, environment))


def pin_base(run: Run) -> ModelRevision:
    """The revision to start from. What is current at the first start is written to ``run.json``.

    A later promotion then changes nothing of what a resumed run is compared with and exported beside.
    Raises NotFound, ModelFilesError and StorageError.
    """
    store = ModelStore(run.volume)
    name = run.spec.model
    if run.spec.revision is not None:
        revision = store.get("xtts", name, run.spec.revision)
    else:
        current = store.current("xtts", name)
        if current is None:
            raise NotFound(f"there is no XTTS model {name!r} on the volume; run: kubevoice models pull", param="model")
        revision = current
    verify_xtts(revision.path)
    if run.spec.revision is None:
        write_run(run.directory, run.spec.model_copy(update={"revision": revision.revision}))
    return revision
