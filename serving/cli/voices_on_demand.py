"""Voices for a command that may need none of them."""

from __future__ import annotations

from serving.cli.context import voice_store
from serving.settings import Settings
from serving.store.voices import VoiceProfile, VoiceStore
from serving.store.volume import Volume


class VoicesOnDemand(VoiceStore):
    """Makes and migrates the data directory only for a name that is looked up: presets need no place to write."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.volume = Volume(settings.data)

    def get(self, tenant: str, key: str) -> VoiceProfile:
        with voice_store(self._settings) as voices:
            return voices.get(tenant, key)
