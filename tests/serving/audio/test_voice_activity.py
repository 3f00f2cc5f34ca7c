"""The ONNX file says what silero-vad's own model says."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.audio.resample import resample
from serving.audio.voice_activity import BLOCK, SAMPLE_RATE, WINDOW, speech_probabilities
from tests.spoken import RATE, noisy, spoken
from training.dataset.voice_activity import VoiceActivity


def test_probabilities_are_those_of_the_torch_model_across_blocks() -> None:
    speech = resample(noisy(np.tile(spoken(), 3), 15), RATE, SAMPLE_RATE)
    assert len(speech) > BLOCK * WINDOW
    model = VoiceActivity()
    model.begin()
    expected = np.array(model.push(speech) + model.finish())
    found = speech_probabilities(speech, SAMPLE_RATE)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3
    assert 0.4 < np.mean(found >= 0.5) < 0.98


def test_threads_do_not_disturb_each_other_and_nothing_has_no_windows() -> None:
    one = speech_probabilities(spoken(), RATE)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: speech_probabilities(spoken(), RATE), range(4)):
            assert np.array_equal(found, one)
    assert len(speech_probabilities(np.zeros(0, np.float32), RATE)) == 0


def test_listening_loads_no_torch() -> None:
    code = (
        "import sys, numpy; from serving.audio.voice_activity import speech_probabilities as p; "
        "p(numpy.zeros(16000, numpy.float32), 16000); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
