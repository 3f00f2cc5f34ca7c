"""The reference is ``tests.factories.rvc_model``. Differences are relative to the greatest value."""

from __future__ import annotations

import copy

import pytest
import torch

from serving.engines.rvc.decoder import Decoder
from serving.engines.rvc.flow import CONTEXT, Flow
from serving.engines.rvc.layers import image, mask_of
from serving.engines.rvc.source import phases
from serving.engines.rvc.synthesizer import Noise, Synthesizer
from tests.factories.rvc import USUAL, VARIANTS, Variant
from tests.serving.engines.rvc.singing import CPU, checkpoint, difference, reference, song, synthesizer, weights

PLAIN = Variant(f0=False)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_stage_and_the_audio_are_the_reference_s(variant: Variant) -> None:
    voice, given = synthesizer(variant), song(variant, (90, 90))
    expected = given.by_reference(reference(variant))
    mask, speaker = mask_of(torch.tensor([90, 90]), 90), voice.speakers[given.speakers]

    mean, logs = voice.prior(given.features, given.pitch, mask)
    assert difference(mean.transpose(1, 2), expected.mean) < 1e-5
    assert difference(logs.transpose(1, 2), expected.logs) < 1e-5

    drawn = expected.mean + expected.logs.exp() * given.noise.prior * 0.66666
    z = voice.flow(drawn.transpose(1, 2), mask, speaker)
    assert difference(z.transpose(1, 2), expected.z) < 1e-5

    source = None
    if voice.source is not None:
        assert given.f0 is not None
        assert expected.source is not None
        source = voice.source(given.f0, phases(given.f0), given.noise.source)
        assert difference(source, expected.source[:, 0]) < 1e-5

    z, hop = expected.z.transpose(1, 2), voice.config.hop
    assert difference(voice.decoder(z, source, speaker), expected.wav) < 1e-5
    assert difference(voice.decoder(z, source, speaker, (37, 38)), expected.wav[:, 37 * hop : 38 * hop]) < 1e-5
    audio = given.sung_by(voice)
    assert audio.dtype == torch.float32
    assert difference(audio, expected.wav) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("variant", [USUAL, Variant("v1", 48_000), Variant("v2", 32_000, f0=False)], ids=str)
def test_full_size_audio_is_the_reference_s(variant: Variant) -> None:
    given = song(variant, (120,), "full")
    expected = given.by_reference(reference(variant, "full")).wav
    assert difference(given.sung_by(synthesizer(variant, "full")), expected) < 1e-5
    assert difference(given.sung_by(synthesizer(variant, "full", 50)), expected) < 1e-5


def test_a_wrong_slope_before_the_last_layer_would_be_noticed() -> None:
    model = copy.deepcopy(reference())
    model.dec.last_slope = 0.1
    assert difference(song().sung_by(synthesizer()), song().by_reference(model).wav) > 1e-3


def test_features_that_are_not_scaled_would_be_noticed() -> None:
    model = copy.deepcopy(reference())
    model.enc_p.scale = False
    assert difference(song().sung_by(synthesizer()), song().by_reference(model).wav) > 1e-2


def test_a_wrong_flow_is_noticed_as_it_would_not_be_with_fresh_weights() -> None:
    """RVC begins with ``post`` at zero, which makes of every flow the same."""
    voice, given, mask = synthesizer(), song(), mask_of(torch.tensor([90]), 90)
    z, speaker = given.noise.prior.transpose(1, 2), voice.speakers[[0]]
    wrong = Flow(voice.flow.couplings[::-1])
    assert difference(wrong(z, mask, speaker), voice.flow(z, mask, speaker)) > 1e-2

    fresh = {key: tensor * (".post." not in key) for key, tensor in weights().items()}
    right = Flow.of(fresh)
    wrong = Flow(right.couplings[::-1])
    assert torch.equal(wrong(z, mask, speaker), right(z, mask, speaker))


@pytest.mark.parametrize("variant", [USUAL, PLAIN, Variant("v1", 32_000)], ids=str)
@pytest.mark.parametrize("span", [(0, 20), (60, 120), (123, 124), (170, 200), (0, 200)])
@pytest.mark.parametrize("tile", [256, 17, None])
def test_a_span_is_the_same_as_cut_from_the_whole(variant: Variant, span: tuple[int, int], tile: int | None) -> None:
    given, hop = song(variant, (200,)), variant.rate // 100
    whole = given.by_reference(reference(variant)).wav[:, span[0] * hop : span[1] * hop]
    assert difference(given.sung_by(synthesizer(variant, tile=tile), spans=[span]), whole) < 1e-5


def test_the_flow_s_and_the_decoder_s_context_are_needed() -> None:
    voice, given = synthesizer(), song(lengths=(200,))
    z, speaker = given.noise.prior.transpose(1, 2), voice.speakers[[0]]

    def flow(context: int) -> torch.Tensor:
        cut = z[:, 100 - context : 120 + context]
        out = voice.flow(cut, mask_of(torch.tensor([cut.shape[1]]), cut.shape[1]), speaker)
        return out[:, context : context + 20]

    def decode(context: int) -> torch.Tensor:
        out = voice.decoder(z[:, 100 - context : 120 + context], None, speaker)
        return out[:, context * voice.decoder.hop :][:, : 20 * voice.decoder.hop]

    assert CONTEXT == 24
    assert difference(flow(CONTEXT), flow(80)) < 1e-6
    assert difference(flow(6), flow(80)) > 1e-4
    assert difference(decode(voice.decoder.context), decode(80)) < 1e-6
    assert difference(decode(8), decode(80)) > 1e-4


@pytest.mark.parametrize("variant", [USUAL, PLAIN], ids=str)
def test_an_item_sounds_in_a_batch_as_alone(variant: Variant) -> None:
    together = song(variant, (60, 150, 31))
    voice, hop = synthesizer(variant), variant.rate // 100
    audio = together.sung_by(voice)
    for at, length in enumerate(together.lengths):
        assert difference(audio[at, : length * hop], together.alone(at).sung_by(voice)[0]) < 1e-5
        assert not audio[at, length * hop :].any()


def test_items_decoded_together_sound_as_alone_but_for_the_context_of_their_ends() -> None:
    together, voice, hop = song(lengths=(60, 150, 31)), synthesizer(tile=None), 400
    context = voice.decoder.context
    spans = [(5, 60 - context), (70, 130), (0, 31 - context)]
    audio = together.sung_by(voice, spans=spans)
    for at, span in enumerate(spans):
        alone = together.alone(at).sung_by(synthesizer(), spans=[span])[0]
        assert difference(audio[at, : len(alone)], alone) < 1e-5
        assert not audio[at, (span[1] - span[0]) * hop :].any()


def test_noise_is_an_item_s_own() -> None:
    config = checkpoint().config
    batch = Noise.draw(config, [50, 80, 20], [7, 8, 7], CPU)
    alone = Noise.draw(config, [50], [7], CPU)
    assert torch.equal(batch.prior[:1, :, :50], alone.prior)
    assert torch.equal(batch.source[:1, : 50 * 400], alone.source)
    assert not batch.prior[0, :, 50:].any()
    assert not torch.equal(batch.prior[0, :, :20], batch.prior[1, :, :20])
    assert 0.9 < float(batch.prior[1].std()) < 1.1
    assert Noise.draw(checkpoint(PLAIN).config, [50], [7], CPU).source.shape == (1, 0)


def test_at_temperature_0_the_latents_noise_does_nothing() -> None:
    voice, given = synthesizer(PLAIN), song(PLAIN)
    other = Noise.draw(voice.config, [90], [99], CPU)
    assert difference(given.sung_by(voice, noise=other), given.sung_by(voice)) > 1e-2
    still = given.sung_by(voice, temperature=0.0)
    assert torch.equal(given.sung_by(voice, temperature=0.0, noise=other), still)
    assert difference(still, given.by_reference(reference(PLAIN), 0.0).wav) < 1e-5


def test_speaker_pitch_and_f0_are_heard() -> None:
    voice, given = synthesizer(), song()
    assert given.f0 is not None
    assert given.pitch is not None
    audio = given.sung_by(voice)
    for change in ({"speakers": [3]}, {"pitch": given.pitch.roll(7, 1)}, {"f0": given.f0 * 1.2}):
        assert difference(given.sung_by(voice, **change), audio) > 1e-2


def test_what_lies_behind_an_item_s_end_is_not_heard() -> None:
    short, voice = song(lengths=(60, 90)), synthesizer()
    before = short.sung_by(voice)
    short.features[0, 60:] = 1e4
    assert difference(short.sung_by(voice)[0], before[0]) < 1e-5


def test_long_attention_is_computed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    given, voice = song(lengths=(90, 40)), synthesizer()
    whole = given.sung_by(voice)
    monkeypatch.setattr("serving.engines.rvc.prior.BLOCK", 16)
    assert difference(given.sung_by(voice), whole) < 1e-5


def test_it_tells_what_it_takes() -> None:
    voice = synthesizer()
    blocks = [block for stage in voice.decoder.stages for block in stage.blocks]
    kept = sum(layer.nbytes for block in blocks for pair in block for layer in pair)
    others = sum(tensor.nbytes for key, tensor in weights().items() if not key.startswith("dec.resblocks"))
    assert voice.nbytes == others + kept


def test_a_decoder_in_half_precision_is_40_db_from_float32() -> None:
    voice = synthesizer()
    half = Decoder.of(weights(), voice.config, "float16")
    assert half.first.weight.dtype == torch.float16
    z, source = torch.randn(1, 30, 16), 0.1 * torch.randn(1, 30 * 400)
    exact = voice.decoder(z, source, voice.speakers[[0]])
    error = half(z, source, voice.speakers[[0]]) - exact
    assert 20 * torch.log10(exact.std() / error.std()) > 40


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_gpu_sings_as_a_cpu(precision: str) -> None:
    cuda, given = torch.device("cuda"), song(lengths=(150, 120))
    assert given.f0 is not None
    assert given.pitch is not None
    voice = Synthesizer(checkpoint(), cuda, precision)  # type: ignore[arg-type]
    audio = voice.infer(
        given.features.to(cuda),
        given.lengths,
        noise=Noise.draw(voice.config, given.lengths, [0, 1], cuda),
        speakers=given.speakers,
        pitch=given.pitch.to(cuda),
        f0=given.f0.to(cuda),
        spans=[(20, 130), (0, 100)],
    )
    expected = given.sung_by(synthesizer(), spans=[(20, 130), (0, 100)])
    assert difference(audio.cpu(), expected) < (1e-4 if precision == "float32" else 2e-2)


def test_images_are_views() -> None:
    x = torch.randn(2, 5, 8)
    assert image(x).is_contiguous(memory_format=torch.channels_last)
    assert image(x).data_ptr() == x.data_ptr()
