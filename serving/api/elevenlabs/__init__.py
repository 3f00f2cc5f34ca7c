"""The ElevenLabs API under ``/elevenlabs``, a base path of its own since both APIs have a ``/v1/models``."""

PREFIX = "/elevenlabs"
