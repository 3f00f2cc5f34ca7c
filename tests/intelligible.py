"""A speech recogniser as judge: which of a few sentences is spoken? Its model comes with its package."""

from __future__ import annotations

import numpy as np
from pocketsphinx import Decoder

from serving.audio.pcm import Pcm, to_int16
from serving.audio.resample import resample

SENTENCES = (
    "the weather is nice today",
    "please open the window",
    "seven people went home",
    "my brother reads a book",
    "turn left at the station",
    "the water is very cold",
    "we sold twenty apples",
    "nobody knows the answer",
)

RATE = 16000


def heard(pcm: Pcm, sample_rate: int) -> str | None:
    """The one of ``SENTENCES`` that ``pcm`` says; None if none fits."""
    decoder = Decoder(lm=None, loglevel="FATAL")
    decoder.add_jsgf_string("sentences", f"#JSGF V1.0; grammar g; public <s> = {' | '.join(SENTENCES)} ;")
    decoder.activate_search("sentences")
    pause = np.zeros(RATE // 2, np.float32)
    speech = np.concatenate([pause, resample(pcm, sample_rate, RATE), pause])
    decoder.start_utt()
    decoder.process_raw(to_int16(speech).tobytes(), full_utt=True)
    decoder.end_utt()
    best = decoder.hyp()
    words = "" if best is None else str(best.hypstr)
    # The recogniser may stop before the last words; two are enough to tell which sentence it is.
    return next((sentence for sentence in SENTENCES if " " in words and sentence.startswith(words)), None)
