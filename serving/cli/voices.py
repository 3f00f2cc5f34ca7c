"""``kubevoice voices``: add, list, move and remove cloned voices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.auditing import audited
from serving.cli.context import Data, settings_with, voice_store
from serving.cli.terminal import confirm, show_json, show_table
from serving.errors import Conflict

if TYPE_CHECKING:
    from serving.settings import Settings
    from serving.store.voices import VoiceProfile
    from serving.voices import PreparedVoice

app = typer.Typer(
    name="voices",
    help="Add, list, export, import and remove cloned voices.\n\nOf the tenant default: others use the API.",
    no_args_is_help=True,
    rich_markup_mode=None,
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
    consent: Annotated[
        str | None, typer.Option(help="The speaker's consent: an id, or in words.", show_default=False)
    ] = None,
    denoise: Annotated[bool, typer.Option(help="Take background noise out of the recordings.")] = False,
    data: Data = None,
) -> None:
    """Add a voice from recordings of it, and say how good they are."""
    from serving.voices import prepare_voice

    settings = settings_with(data)
    name, language = _usable_names(settings, name, language)
    recordings = [file.read_bytes() for file in files]
    prepared = prepare_voice(recordings, settings.limits, [str(file) for file in files], clean=denoise)
    _keep(settings, name, prepared, language, description, consent)


@app.command("export", epilog="Example: kubevoice voices export alice alice.zip")
def export_voice(
    voice: Annotated[str, typer.Argument(help="Name or id of the voice.")],
    file: Annotated[Path, typer.Argument(help="The zip to write.", dir_okay=False)],
    data: Data = None,
) -> None:
    """Write a voice to one file: its recordings and all that is known of it."""
    from serving.files import write_atomic
    from serving.selection import DEFAULT_TENANT
    from serving.store.voice_archive import archived, pack
    from serving.store.voice_consents import VoiceConsentStore

    with voice_store(settings_with(data)) as voices:
        found = voices.get(DEFAULT_TENANT, voice)
        write_atomic(file, pack(archived(found, VoiceConsentStore(voices.volume))))
    typer.echo(f"{found.name} is in {file}")


@app.command("import", epilog="Example: kubevoice voices import alice.zip --name alice2")
def import_voice(
    file: Annotated[Path, typer.Argument(help="What an export wrote.", exists=True, dir_okay=False)],
    name: Annotated[str | None, typer.Option(help="Another name than the voice had.", show_default=False)] = None,
    data: Data = None,
) -> None:
    """Add the voice of an export, from this server or another."""
    from serving.store.voice_archive import unpack
    from serving.voices import prepare_archived

    settings = settings_with(data)
    voice = unpack(file.read_bytes())
    name, language = _usable_names(settings, name or voice.name, voice.language)
    prepared = prepare_archived(voice, settings.limits)
    _keep(settings, name, prepared, language, voice.description, voice.consent)


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

    settings = settings_with(data)
    with voice_store(settings) as voices:
        found = voices.get(DEFAULT_TENANT, voice)
        if not yes:
            confirm(f"Remove voice {found.name!r} ({found.id}) and its recordings?", "--yes")
        voices.delete(DEFAULT_TENANT, found.id)
    audited(settings, "voice.delete", found.id)
    typer.echo(f"removed {found.name} ({found.id})")


def _usable_names(settings: Settings, name: str, language: str | None) -> tuple[str, str | None]:
    """Both as they are kept; raises Conflict for a built-in name, InvalidRequest for what cannot be used."""
    from serving.cli.engine_facts import engine_facts
    from serving.selection import normal_language, reserved_names
    from serving.store.profile import clean_name

    info, name = engine_facts(settings), clean_name(name)
    if name.lower() in reserved_names(info, settings.voices):
        raise Conflict(f"the name {name!r} is taken by a built-in voice; choose another", param="name")
    if language is not None and info.languages:
        language = normal_language(language, info)
    return name, language


def _keep(
    settings: Settings,
    name: str,
    prepared: PreparedVoice,
    language: str | None,
    description: str | None,
    consent: str | None,
) -> None:
    from serving.selection import DEFAULT_TENANT

    with voice_store(settings) as voices:
        voice = voices.add(
            tenant=DEFAULT_TENANT,
            name=name,
            references=prepared.references,
            reference_seconds=prepared.seconds,
            language=language,
            description=description,
            consent=consent,
            quality=prepared.quality,
            pronunciations=prepared.pronunciations,
        )
    audited(settings, "voice.create", voice.id)
    typer.echo(f"{voice.id}\t{voice.name}\t{voice.reference_seconds:.1f} s")
    for check in prepared.quality.checks:
        if check.verdict == "warn":
            typer.echo(f"{check.name}: {check.message}", err=True)


def _facts(voice: VoiceProfile) -> dict[str, Any]:
    return {
        "id": voice.id,
        "name": voice.name,
        "language": voice.language,
        "description": voice.description,
        "reference_seconds": round(voice.reference_seconds, 3),
        "quality": None if voice.quality is None else voice.quality.model_dump(mode="json"),
        "references": [str(path) for path in voice.references],
        "created_at": voice.created_at.isoformat(),
    }
