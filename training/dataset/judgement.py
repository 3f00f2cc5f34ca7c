"""Whether a clip alone is fit for training, and if not, the first reason why."""

from __future__ import annotations

from serving.errors import InvalidRequest
from serving.store.dataset_files import PreparationSettings
from training.dataset.base_model import BaseModel, Tokens, UnreadableText
from training.dataset.facts import ClipFacts

MOST_SAMPLES = 255995
"""coqui's ``max_wav_length``."""

MOST_CLIPPED = 2e-3
MOST_OFFSET = 0.05
LEAST_SPEECH = 0.3


def judge_text(facts: ClipFacts, settings: PreparationSettings, base: BaseModel) -> ClipFacts:
    """The text of a clip, in the model's own tokens."""
    if not any(character.isalnum() for character in facts.text):
        return facts.dropped("no_text", "its text has no letters or digits")
    try:
        language = base.front_end.language(facts.language)
        characters = base.most_characters(language)
        if len(facts.text) > characters:
            return facts.dropped("too_many_characters", f"{len(facts.text)} characters, at most {characters}")
        tokens = base.tokens(facts.text, language)
    except InvalidRequest as error:
        return facts.dropped("unknown_language", error.message)
    except UnreadableText as error:
        return facts.dropped("unreadable_text", str(error))
    return _judge_tokens(facts, tokens, settings.max_tokens)


def _judge_tokens(facts: ClipFacts, tokens: Tokens, most: int) -> ClipFacts:
    facts = facts.model_copy(update={"tokens": tokens.count})
    if tokens.count > most:
        return facts.dropped("too_many_tokens", f"{tokens.count} tokens, at most {most}")
    if tokens.unknown:
        return facts.dropped("unknown_tokens", f"there are no tokens for {tokens.unknown[:40]}")
    return facts


def judge_sound(facts: ClipFacts, samples: int, settings: PreparationSettings) -> ClipFacts:
    """The sound of a clip of so many ``samples``, which has been measured."""
    seconds, clipped, offset, speech = facts.seconds, facts.clipped, facts.offset, facts.speech
    assert seconds is not None
    assert clipped is not None
    assert offset is not None
    assert speech is not None
    if seconds < settings.min_seconds:
        return facts.dropped("too_short", f"{seconds:.2f} s, at least {settings.min_seconds:g} s")
    if seconds > settings.max_seconds or samples > MOST_SAMPLES:
        return facts.dropped("too_long", f"{seconds:.2f} s, at most {settings.max_seconds:g} s")
    if clipped > MOST_CLIPPED:
        return facts.dropped("clipping", f"{clipped:.2%} of its samples are cut off")
    if abs(offset) > MOST_OFFSET:
        return facts.dropped("offset", f"its mean is {offset:.3f} of full scale")
    if speech < LEAST_SPEECH:
        return facts.dropped("mostly_silence", f"somebody speaks in {speech:.0%} of it")
    return facts
