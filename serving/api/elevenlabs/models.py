"""``GET /elevenlabs/v1/models``."""

from __future__ import annotations

from fastapi import APIRouter

from serving.api.context import Ctx
from serving.api.elevenlabs.schemas import Language, ModelItem

router = APIRouter()


@router.get("/v1/models")
async def elevenlabs_models(context: Ctx) -> list[ModelItem]:
    """The loaded model; ElevenLabs' own names (`eleven_...`) stand for it."""
    info = await context.info()
    return [
        ModelItem(
            model_id=info.model,
            name=info.model,
            description=f"{info.name}, revision {info.revision}, on {info.device}",
            can_do_text_to_speech=True,
            can_do_voice_conversion=False,
            can_be_finetuned=info.clones,
            maximum_text_length_per_request=context.settings.limits.input_chars,
            languages=[Language(language_id=code, name=code) for code in info.languages],
        )
    ]
