"""``kubevoice models``: what is on the volume, and how it gets there."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli import promotion
from serving.cli.auditing import audited
from serving.cli.context import Data, model_store, settings_with
from serving.cli.terminal import confirm, show_json, show_table, transfers
from serving.store.licences import XTTS_LICENCE, XTTS_LICENCE_URL
from serving.store.shared_parts import PARTS, TRAINING_PARTS, SharedPart

if TYPE_CHECKING:
    from serving.settings import Settings
    from serving.store.models import ModelStore


class What(StrEnum):
    XTTS = "xtts"
    RVC_BASE = "rvc-base"
    XTTS_TRAINING = "xtts-training"


POLL_S = 2.0
REMINDER_S = 30.0

app = typer.Typer(
    name="models", help="List, download, promote and roll back models.", no_args_is_help=True, rich_markup_mode=None
)
promotion.register(app)


@app.command("list", epilog="Example: kubevoice models list --json")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the models as JSON.")] = False, data: Data = None
) -> None:
    """List every model revision on the volume; the one in use is marked."""
    models = model_store(settings_with(data)).list()
    if as_json:
        keys = ("kind", "name", "revision", "bytes", "current")
        show_json([{**{key: getattr(model, key) for key in keys}, "path": str(model.path)} for model in models])
        return
    rows = [
        (model.kind, model.name, model.revision, f"{model.bytes / 1e6:.1f} MB", "current" if model.current else "")
        for model in models
    ]
    show_table(("kind", "name", "revision", "size", ""), rows, empty="no models yet; see: kubevoice models pull")


@app.command(epilog="Example: kubevoice models pull --accept-licence")
def pull(
    what: Annotated[
        What,
        typer.Argument(
            help="xtts: XTTS weights. rvc-base: what voice conversion needs beside a voice. "
            "xtts-training: what fine-tuning of XTTS needs beside its weights."
        ),
    ] = What.XTTS,
    name: Annotated[str | None, typer.Option(help="Name on the volume.", show_default="the setting xtts.model")] = None,
    repository: Annotated[str, typer.Option(help="Repository on the Hugging Face hub.")] = "coqui/XTTS-v2",
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
    sha256: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE=HEX", help="The sha256 you expect of a file, besides the hub's own; repeatable."),
    ] = None,
    keep_current: Annotated[
        bool,
        typer.Option("--keep-current", help="Let a promoted model of another source, such as a run's, stay current."),
    ] = False,
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", "--yes", "-y", help="Accept the weights' licence (or COQUI_TOS_AGREED=1)."),
    ] = False,
    data: Data = None,
) -> None:
    """Download weights, check them and make them current; an interrupted download is resumed.

    The options from --name to --keep-current are for xtts, --accept-licence for xtts-training too.
    HF_ENDPOINT, HF_TOKEN and the proxy variables are honoured.
    """
    if what is What.RVC_BASE:
        _pull_shared(settings_with(data), PARTS)
        typer.echo(
            "a server with rvc.enabled=true converts voices within seconds; start others again, they look at the start"
        )
        return
    settings = settings_with(data)
    expected = dict(map(_digest, sha256 or ()))
    _accept_xtts_licence(accept_licence)
    if what is What.XTTS_TRAINING:
        _pull_shared(settings, TRAINING_PARTS)
        return
    from serving.store import hub

    with transfers() as progress:
        result = hub.pull(
            model_store(settings),
            accept_licence=True,
            name=name or settings.xtts.model,
            repository=repository,
            revision=revision,
            sha256=expected,
            keep_current=keep_current,
            progress=progress,
        )
    if result.downloaded or result.promoted:
        audited(settings, "model.pull", f"{result.model.name}@{result.model.revision}")
    model, done = result.model, "is ready" if result.downloaded else "is there already and intact"
    typer.echo(f"{model.kind}/{model.name}@{model.revision} {done}: {model.path}")
    if not model.current:
        typer.echo("another model stays current; make this one current with: kubevoice models promote", err=True)


def _accept_xtts_licence(accepted: bool) -> None:
    typer.echo(f"licence of the weights: {XTTS_LICENCE} ({XTTS_LICENCE_URL})", err=True)
    if not accepted and os.environ.get("COQUI_TOS_AGREED") != "1":
        confirm("Do you accept it?", "--accept-licence")


def _pull_shared(settings: Settings, parts: Sequence[SharedPart]) -> None:
    from serving.store.hub_shared import pull_shared

    with transfers() as progress:
        pulled = pull_shared(model_store(settings), parts=parts, progress=progress)
    for each in pulled:
        done = "is ready" if each.downloaded else "is there already and intact"
        typer.echo(f"{each.part.what} of {each.part.repository} ({each.part.licence}) {done}: {each.directory}")


@app.command(epilog="Example: kubevoice models wait --timeout 1800")
def wait(
    timeout: Annotated[float, typer.Option(min=0, help="Seconds until it gives up.")] = 3600.0, data: Data = None
) -> None:
    """Wait until the weights of the setting xtts.model are complete on the volume; exit code 1 if not in time."""
    from serving.errors import ModelFilesError

    settings = settings_with(data)
    models, name = model_store(settings), settings.xtts.model
    began = last = time.monotonic()
    typer.echo(f"waiting for the weights of xtts/{name} in {models.volume.root}, for at most {timeout:g} s")
    while (missing := _missing(models, name)) is not None:
        now = time.monotonic()
        if now - began >= timeout:
            raise ModelFilesError(f"the weights of xtts/{name} are not there after {timeout:g} s: {missing}")
        if now - last >= REMINDER_S:
            typer.echo(f"still waiting after {now - began:.0f} s: {missing}")
            last = now
        time.sleep(min(POLL_S, timeout))
    typer.echo(f"xtts/{name} is ready")


def _missing(models: ModelStore, name: str) -> str | None:
    """What the model lacks, with the command that brings it; None when it is complete."""
    from serving.errors import ModelFilesError
    from serving.store.models import verify_xtts

    try:
        weights = models.current("xtts", name)
        if weights is None:
            return f"there are none yet; run: kubevoice models pull --name {name} --accept-licence"
        verify_xtts(weights.path)
    except ModelFilesError as error:
        return error.message
    return None


def _digest(option: str) -> tuple[str, str]:
    from serving.errors import InvalidRequest

    file, equals, digest = option.partition("=")
    if not equals:
        raise InvalidRequest(f"--sha256 {option!r}: write it as FILE=HEX, such as model.pth=0123...", "sha256")
    return file, digest
