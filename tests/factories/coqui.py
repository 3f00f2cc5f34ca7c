"""coqui's own XTTS, to compare with."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

from serving.engines.xtts.checkpoint import quiet_transformers
from tests.factories.xtts import VOCODER_WIDTH, Size, cached_checkpoint


def load_coqui(copy: Path, size: Size = "tiny") -> Any:
    """coqui's ``Xtts`` with the cached checkpoint, by coqui's own loader, which gets a copy: it may write to it."""
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.models import xtts

    shutil.copytree(cached_checkpoint(size), copy)
    config = XttsConfig()
    config.load_json(str(copy / "config.json"))
    decoder = functools.partial(HifiDecoder, upsample_initial_channel_decoder=VOCODER_WIDTH[size])
    with patch.object(xtts, "HifiDecoder", decoder), quiet_transformers():
        model = xtts.Xtts(config)
        model.load_checkpoint(config, checkpoint_dir=str(copy), eval=True)
    return model
