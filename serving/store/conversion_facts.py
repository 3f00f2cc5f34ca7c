"""What is known of a conversion model: its manifest says it, so that the table can be rebuilt from the volume."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from serving.errors import InvalidRequest, ModelFilesError
from serving.store.manifest import read_manifest
from serving.store.profile import clean_name
from serving.store.volume import safe_name

MODEL_ID = re.compile(r"rvc_[0-9a-f]{24}")

log = logging.getLogger(__name__)


def clean_model_name(name: str) -> str:
    """The name of a conversion model in its one spelling; raises InvalidRequest if it cannot be used."""
    name = clean_name(name)
    if MODEL_ID.fullmatch(name):
        raise InvalidRequest(f"name {name!r} looks like a model id; choose another", param="name")
    return name


def _safe_tenant(tenant: str) -> str:
    return safe_name(tenant, "tenant")


class ConversionFacts(BaseModel):
    """The facts of a model, with the names of the table; building one raises InvalidRequest for a bad name.

    ``sample_rate`` Hz is what it makes, ``version`` that of RVC, ``index_vectors`` 0 without an index. ``notes`` say
    where an upload's description of itself disagrees with its weights.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(pattern=MODEL_ID)]
    tenant: Annotated[str, AfterValidator(_safe_tenant)]
    name: Annotated[str, AfterValidator(clean_model_name)]
    version: Literal["v1", "v2"]
    sample_rate: Annotated[int, Field(ge=1)]
    f0: bool
    speakers: Annotated[int, Field(ge=1)]
    index_vectors: Annotated[int, Field(ge=0)] = 0
    notes: tuple[str, ...] = ()
    created_at: AwareDatetime


def read_facts(directory: Path) -> tuple[ConversionFacts, int] | None:
    """The facts in the manifest of ``models/rvc/<id>/<revision>/``, and the bytes of its files.

    None, and a line in the log, if it cannot be used.
    """
    try:
        manifest = read_manifest(directory)
        facts = ConversionFacts.model_validate(manifest.facts)
    except (ValidationError, InvalidRequest, ModelFilesError) as error:
        log.warning("cannot use %s: %s", directory, error)
        return None
    if facts.id != directory.parent.name:
        log.warning("cannot use %s: its manifest is that of model %s", directory, facts.id)
        return None
    return facts, sum(file.bytes for file in manifest.files.values())
