"""The one rule for a reference recording, whether it comes by HTTP or from the command line."""

from __future__ import annotations

import numpy as np

from serving.audio.decode import decode
from serving.audio.wav import wav_bytes
from serving.errors import InvalidRequest, PayloadTooLarge
from serving.settings import LimitSettings

SILENCE_RMS = 1e-3
"""-60 dB full scale: quieter than the noise of any microphone that somebody speaks into."""


def prepare_reference(data: bytes, limits: LimitSettings, param: str) -> tuple[bytes, float]:
    """Turn a recording in any format into what the volume stores: (mono PCM16 WAV file, its length in seconds).

    Raises PayloadTooLarge for too many bytes or seconds and InvalidRequest for what is no audio, truncated, too short
    or silent; all name ``param``.
    """
    if len(data) > limits.upload_bytes:
        raise PayloadTooLarge(
            f"{param} has {len(data)} bytes and at most {limits.upload_bytes} are accepted; send a shorter or "
            "compressed recording",
            param,
        )
    audio = decode(data, max_seconds=limits.reference_max_s, param=param)
    if audio.seconds < limits.reference_min_s:
        raise InvalidRequest(
            f"{param} is {audio.seconds:.2f} s long; send at least {limits.reference_min_s:g} s of speech", param
        )
    if float(np.sqrt(np.mean(np.square(audio.pcm)))) < SILENCE_RMS:
        raise InvalidRequest(f"{param} is silent; send a recording in which the voice can be heard", param)
    return wav_bytes(audio.pcm, audio.sample_rate), audio.seconds
