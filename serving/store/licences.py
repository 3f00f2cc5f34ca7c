"""Licences of weights, as users are shown them."""

XTTS_LICENCE = "Coqui Public Model License 1.0.0, non-commercial"
XTTS_LICENCE_URL = "https://coqui.ai/cpml"
