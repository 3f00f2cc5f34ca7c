"""XTTS by our engine beside coqui's own ``Xtts``: the same weights, texts, sampling and threads, in one process.

    python -m benchmarks.xtts [--device auto] [--concurrency 16] [--tokens 60] [--threads 2] [--rounds 3]

The weights are random ones of full size, changed so that every utterance has ``--tokens`` audio tokens in both models
(``benchmarks.coqui.fixed_checkpoint``); no limit and no hook ends it. coqui speaks one request at a time, because it
can do no other, ours ``--concurrency`` at a time through ``engine.stream``. In each round coqui and ours take turns;
figures are medians over the rounds. The table has the ratios also by CPU time, which others on the machine disturb
less. The last line is one JSON object:

device, concurrency   what it ran on; requests at a time
decode_ratio          coqui's seconds per token within ``inference``, without prefill, in those of ours: a step per row
request_ratio         coqui's seconds per ``inference`` in those of ours: of all, divided by their number
audio_s_per_s         seconds of audio that ours makes in a second, all requests together
first_audio_p50_ms    from the request to its first chunk, while all others ask at the same moment
first_audio_p95_ms
peak_memory_mb        by which loading and the first full batch grew the process (unshared resident memory), or what was
                      allocated on the GPU
parity_max_rel        largest difference of our audio from coqui's at greedy decoding, relative to coqui's loudest
                      sample; of the very engine that was measured, so large where it decodes in bfloat16
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.coqui import Coqui, Span, fixed_checkpoint, now
from benchmarks.memory import PeakMemory
from benchmarks.xtts_figures import Batch, Figures, report
from serving.audio.pcm import Pcm
from serving.engines.base import Sampling, SpeechRequest, Voice
from serving.engines.xtts import XttsEngine, XttsOptions
from serving.engines.xtts.decoder import Prompt
from serving.engines.xtts.decoding import POSITIONS
from serving.engines.xtts.device import select_device
from serving.engines.xtts.options import DecoderPrecision
from serving.engines.xtts.vocoder import Precision

SPEAKER, LANGUAGE = "Ada", "en"
WHO = ("The old captain", "My younger sister", "A patient teacher", "The night porter", "Our new neighbour")
WHAT = ("waits quietly", "reads the paper", "plants a tree", "mends the radio", "hums a melody", "counts the boats")
WHERE = ("by the northern harbour.", "under the wooden bridge.", "behind the town library.")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--size", choices=["tiny", "full"], default="full")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--requests", type=int, default=2, help="of coqui, in a round")
    parser.add_argument("--slots", type=int, help="of ours; as many as there are requests at a time by default")
    parser.add_argument("--decoder-precision", choices=get_args(DecoderPrecision), default="auto")
    parser.add_argument("--vocoder-precision", choices=get_args(Precision), default="tf32")
    parser.add_argument("--cuda-graphs", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, fixed_checkpoint(options.size, options.tokens, Path(folder) / "checkpoint")))


async def measure(options: argparse.Namespace, directory: Path) -> None:
    device = select_device(options.device, fallback_cpu=False)
    importlib.import_module("TTS.tts.models.xtts")  # its own memory is not the engine's
    with PeakMemory(device) as peak:  # before coqui is there, so that what is measured is ours
        ours = load(options, directory, device)
        await batch(ours, options, options.concurrency)
    coqui = Coqui(directory, options.size, device)
    coqui.speak(text(0), SPEAKER, LANGUAGE, options.tokens)
    figures = Figures(options.concurrency)
    for _ in range(options.rounds):
        figures.coqui += [coqui.speak(text(i), SPEAKER, LANGUAGE, options.tokens) for i in range(options.requests)]
        figures.steps.append(await decode(ours, options))
        figures.batches.append(await batch(ours, options, options.concurrency))
        figures.coqui_first_s.append(coqui.first_chunk_s(text(0), SPEAKER, LANGUAGE))
        figures.alone.append(await batch(ours, options, 1))
    expected = coqui.speak(text(0), SPEAKER, LANGUAGE, options.tokens, greedy=True).audio
    greedy = (await batch(ours, options, 1, Sampling(top_k=1))).audio[0]
    await ours.close()
    assert len(greedy) == len(expected), f"{len(greedy)} samples instead of {len(expected)}"
    parity = float(np.abs(greedy - expected).max() / np.abs(expected).max())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} threads"
    title = (
        f"{options.size} size on {name}: {options.concurrency} requests at a time, {options.tokens} tokens each; "
        f"decoder {options.decoder_precision}, vocoder {options.vocoder_precision}, {ours.stats().slots} slots"
    )
    report(title, name, figures, peak.mb, parity)


def load(options: argparse.Namespace, directory: Path, device: torch.device) -> XttsEngine:
    chosen = XttsOptions(
        slots=options.slots or options.concurrency,
        decoder_precision=options.decoder_precision,
        vocoder_precision=options.vocoder_precision,
        cuda_graphs=options.cuda_graphs,
        queue=max(256, options.concurrency),
        queue_age_s=3600.0,
    )
    return XttsEngine.load(directory, model="random", revision="r1", device=str(device), options=chosen)


def text(index: int) -> str:
    """A sentence of about 50 characters: three seconds of speech, so about 60 tokens; the first 90 differ."""
    return " ".join((WHO[index % 5], WHAT[index % 6], WHERE[index // 30 % 3]))


async def batch(engine: XttsEngine, options: argparse.Namespace, count: int, sampling: Sampling | None = None) -> Batch:
    """``count`` requests at the same moment."""
    began = now()

    async def speak(index: int) -> tuple[float, Pcm]:
        asked = SpeechRequest(
            text(index), Voice(SPEAKER, preset=SPEAKER), LANGUAGE, seed=index, sampling=sampling or Sampling()
        )
        first, tokens, pcm = 0.0, 0, []
        async for chunk in engine.stream(asked):
            first = first or (now() - began).wall
            tokens += chunk.output_tokens
            pcm.append(chunk.pcm)
        assert tokens == options.tokens, f"{tokens} tokens instead of {options.tokens}"
        return first, np.concatenate(pcm)

    found = await asyncio.gather(*(speak(index) for index in range(count)))
    return Batch(now() - began, [audio for _, audio in found], [first for first, _ in found])


async def decode(engine: XttsEngine, options: argparse.Namespace) -> Span:
    """What a token takes when all slots decode: the engine's own steps, on its thread and cache, while it is idle."""
    found: list[Span] = []
    await engine._call(lambda: found.append(_decode(engine, options)))
    return found[0]


def _decode(engine: XttsEngine, options: argparse.Namespace) -> Span:
    decoder, cache, step = engine._decoder, engine._decoding._cache, engine._decoding._step
    rows, tokens = min(int(options.concurrency), cache.slots), int(options.tokens)
    latent = engine._loaded.speakers[SPEAKER].gpt_cond_latent[0].to(decoder.device)
    prompts = [Prompt(latent, engine._text.pieces(text(row), LANGUAGE)[0].tokens) for row in range(rows)]
    config = engine._loaded.config
    sampling = Sampling(config.temperature, config.top_k, config.top_p, config.repetition_penalty)
    for row, prompt in enumerate(prompts):
        cache.begin(row, sampling, seed=row)
        decoder.prefill([prompt], cache, row)
    longest, kind = max(prompt.length for prompt in prompts), decoder.device.type
    began = _finished(decoder.device)
    for token in range(1, tokens):
        positions = -(-(longest + token) // POSITIONS[kind]) * POSITIONS[kind]
        step(cache, rows, positions)
    return (_finished(decoder.device) - began) / (tokens - 1) / rows


def _finished(device: Any) -> Span:
    """The time at which all that was launched is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return now()


if __name__ == "__main__":
    main()
