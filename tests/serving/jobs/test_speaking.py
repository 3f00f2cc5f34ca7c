import numpy as np
import pytest

from serving.audio.encode import FORMATS, OUTPUT_RATE
from serving.audio.wav import wav_header
from serving.engines.espeak import EspeakEngine
from serving.errors import InvalidRequest, Overloaded
from serving.jobs import speaking
from serving.jobs.speaking import PATIENCE_S, encoded, speak, speakable
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech, chunk
from tests.serving.jobs.workbench import claimed


async def test_sentences_add_up_to_the_audio_to_the_sample(
    espeak: EspeakEngine, store: VoiceStore, settings: Settings
) -> None:
    item = claimed("One is one. And two, I think, is more than one!\nThe third.")
    spoken = await speak(item, espeak, settings.voices, store)

    assert [text for text, _ in spoken.sentences] == speakable(item.text)
    assert sum(samples for _, samples in spoken.sentences) == len(spoken.pcm)
    assert all(samples > 0.2 * OUTPUT_RATE for _, samples in spoken.sentences)
    again = await speak(item, espeak, settings.voices, store)
    assert np.array_equal(spoken.pcm, again.pcm)


async def test_the_engine_may_put_jobs_behind_those_who_listen_and_seeds_are_all_different(
    store: VoiceStore, settings: Settings
) -> None:
    engine = ScriptedSpeech(chunk())
    for number in (1, 2):
        spoken = await speak(claimed("One. Two. ...", number=number), engine, settings.voices, store)
        assert (spoken.input_tokens, spoken.output_tokens) == (10, 20)
    assert {request.heard_in_s for request in engine.requests} == {PATIENCE_S}
    seeds = [request.seed for request in engine.requests]
    assert len(set(seeds)) == len(seeds) == 4


async def test_a_busy_engine_is_waited_for(
    store: VoiceStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "WAIT_MAX_S", 0.01)
    tries = []

    async def ask() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise Overloaded("full")
        return "spoken"

    assert await speaking.patiently(ask) == "spoken"
    assert len(tries) == 3


async def test_a_text_without_a_word_is_refused(store: VoiceStore, settings: Settings) -> None:
    with pytest.raises(InvalidRequest, match="nothing that can be spoken"):
        await speak(claimed("... --"), ScriptedSpeech(chunk()), settings.voices, store)


@pytest.mark.parametrize("name", FORMATS)
async def test_a_file_is_whole_in_every_format(store: VoiceStore, settings: Settings, name: str) -> None:
    spoken = await speak(claimed("One."), ScriptedSpeech(chunk()), settings.voices, store)
    data = encoded(spoken, name)
    if name == "wav":
        assert data[:44] == wav_header(OUTPUT_RATE, 2 * len(spoken.pcm))
    assert len(data) > 500
    assert data == encoded(spoken, name)
