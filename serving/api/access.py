"""Which scope a route needs: the one place where that is decided."""

from __future__ import annotations

from dataclasses import dataclass

from serving.api.elevenlabs import PREFIX
from serving.store.api_keys import SCOPES

READS = frozenset({"GET", "HEAD"})
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

ANY = frozenset(SCOPES)
SPEECH = frozenset({"speech"})
VOICES = frozenset({"voices"})
TRAINING = frozenset({"training"})
ADMIN = frozenset({"admin"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One of the scopes ``reads`` is needed for GET and HEAD, one of ``writes`` for the rest; None is open to all."""

    path: str
    reads: frozenset[str] | None
    writes: frozenset[str] | None
    ending: str = ""

    def covers(self, path: str) -> bool:
        return (path == self.path or path.startswith(f"{self.path}/")) and path.endswith(self.ending)


RULES = (
    Rule("/healthz", None, None),
    Rule("/readyz", None, None),
    Rule("/metrics", None, None),
    Rule("/docs", None, None),
    Rule("/openapi.json", None, None),
    Rule("/v1/models", ANY, ANY),
    Rule("/v1/audio/speech", SPEECH, SPEECH),
    Rule("/v1/audio/conversions", SPEECH, SPEECH),
    Rule("/v1/audio/voices", VOICES, VOICES, ending="/export"),  # recordings of people
    Rule("/v1/audio/voices", SPEECH | VOICES, VOICES),
    Rule("/v1/audio/voice_consents", VOICES, VOICES),  # who they are, and recordings of them
    Rule("/v1/conversion-models", SPEECH | VOICES, VOICES),
    Rule("/v1/profiles", SPEECH | VOICES, VOICES),
    Rule("/v1/jobs", SPEECH, SPEECH),
    Rule("/v1/datasets", TRAINING, TRAINING),
    Rule("/v1/training", TRAINING, TRAINING),
    Rule("/v1/keys", ADMIN, ADMIN),
    Rule("/v1/audit", ADMIN, ADMIN),
    Rule(f"{PREFIX}/v1/models", ANY, ANY),
    Rule(f"{PREFIX}/v1/voices", SPEECH | VOICES, VOICES),
    Rule(f"{PREFIX}/v2/voices", SPEECH | VOICES, VOICES),
    Rule(f"{PREFIX}/v1/text-to-speech", SPEECH, SPEECH),
    Rule(f"{PREFIX}/v1/speech-to-speech", SPEECH, SPEECH),
)


def rule(path: str) -> Rule | None:
    """The rule for ``path``; None if there is none."""
    return next((each for each in RULES if each.covers(path)), None)


def needed(method: str, path: str) -> frozenset[str] | None:
    """The scopes one of which a request needs, None where everybody may; any key will do to learn of a wrong path."""
    found = _rule_of_request(path)
    if found is None:
        return ANY
    return found.reads if method in READS else found.writes


def kind(method: str, path: str) -> tuple[str, str]:
    """The method of a change and the path of its rule, each empty if there is none: few, whatever is sent."""
    found = _rule_of_request(path)
    return method if method in WRITES else "", found.path if found else ""


def _rule_of_request(path: str) -> Rule | None:
    return rule(path.removesuffix("\n"))  # which the routes' patterns take too: their $ matches before it
