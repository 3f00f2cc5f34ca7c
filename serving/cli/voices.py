"""``kubevoice voices``: add, list and remove cloned voices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.context import Data, settings_with, voice_store
from serving.cli.terminal import confirm, show_json, show_table
from serving.errors import Conflict

if TYPE_CHECKING:
    from serving.store.voices import VoiceProfile

app = typer.Typer(
    name="voices", help="Add, list and remove cloned voices.", no_args_is_help=True, rich_markup_mode=None
)


@app.command(epilog="Example: kubevoice voices add alice.wav alice2.mp3 --name alice --language en")
def add(
    files: Annotated[
        list[Path], typer.Argument(help="Recordings of the voice, in any format.", exists=True, dir_okay=False)
    ],
    name: Annotated[str, typer.Option(help="Name to speak with, unique.")],
    language: Annotated[str | None, typer.Option(help="Language of the voice.", show_default=False)] = None,
    description: Annotated[
        str | None, typer.Option(help="Whatever helps to tell it apart.", show_default=False)
    ] = None,
    data: Data = None,
) -> None:
    """Add a voice from recordings of it."""
    from serving.cli.engine_facts import engine_facts
    from serving.selection import DEFAULT_TENANT, normal_language, reserved_names
    from serving.store.profile import clean_name
    from serving.voices import prepare_reference

    settings = settings_with(data)
    info, name = engine_facts(settings), clean_name(name)
    if name.lower() in reserved_names(info, settings.voices):
        raise Conflict(f"the name {name!r} is taken by a built-in voice; choose another", param="name")
    if language is not None and info.languages:
        language = normal_language(language, info)
    prepared = [prepare_reference(file.read_bytes(), settings.limits, str(file)) for file in files]
    with voice_store(settings) as voices:
        voice = voices.add(
            tenant=DEFAULT_TENANT,
            name=name,
            references=[wav for wav, _ in prepared],
            reference_seconds=sum(seconds for _, seconds in prepared),
            language=language,
            description=description,
        )
    typer.echo(f"{voice.id}\t{voice.name}\t{voice.reference_seconds:.1f} s")


@app.command("list", epilog="Example: kubevoice voices list --json")
def list_voices(
    as_json: Annotated[bool, typer.Option("--json", help="Print the voices as JSON.")] = False, data: Data = None
) -> None:
    """List the voices, oldest first."""
    from serving.selection import DEFAULT_TENANT

    with voice_store(settings_with(data)) as store:
        voices = store.list(DEFAULT_TENANT)
    if as_json:
        show_json([_facts(voice) for voice in voices])
        return
    rows = [
        (voice.id, voice.name, voice.language or "", f"{voice.reference_seconds:.1f} s", f"{voice.created_at:%F %R}")
        for voice in voices
    ]
    show_table(
        ("id", "name", "language", "reference", "created"), rows, empty="no voices yet; see: kubevoice voices add"
    )


@app.command(epilog="Example: kubevoice voices remove alice --yes")
def remove(
    voice: Annotated[str, typer.Argument(help="Name or id of the voice.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = None,
) -> None:
    """Remove a voice and its recordings."""
    from serving.selection import DEFAULT_TENANT

    with voice_store(settings_with(data)) as voices:
        found = voices.get(DEFAULT_TENANT, voice)
        if not yes:
            confirm(f"Remove voice {found.name!r} ({found.id}) and its recordings?", "--yes")
        voices.delete(DEFAULT_TENANT, found.id)
    typer.echo(f"removed {found.name} ({found.id})")


def _facts(voice: VoiceProfile) -> dict[str, Any]:
    return {
        "id": voice.id,
        "name": voice.name,
        "language": voice.language,
        "description": voice.description,
        "reference_seconds": round(voice.reference_seconds, 3),
        "references": [str(path) for path in voice.references],
        "created_at": voice.created_at.isoformat(),
    }
