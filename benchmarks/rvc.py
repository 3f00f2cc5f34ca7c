"""Voice conversion by our engine beside infer-rvc-python 1.3.1: the same weights, recordings, options and threads.

    python -m benchmarks.rvc [--device auto] [--threads 2] [--seconds 10] [--rounds 3] [--size full|tiny]
                             [--oracle infer-rvc-python|plain] [--oracle-python PATH]

The weights are random ones of full size: a HuBERT base, RMVPE, four v2 voices of 40 kHz with pitch, an index of 30,000
vectors. infer-rvc-python has an environment and a process of its own (``benchmarks.rvc_oracle``) and measures itself
there, so pipes and files between the two cost neither anything; it takes one request at a time, because it can do no
other. Ours converts through ``convert_stream`` as the API does with a file, in windows of up to 16 s, or growing from
1 s where the table says "streamed". In each round they take turns; figures are medians over the rounds. The table has
the ratios also by CPU time, which others on the machine disturb less. ``--oracle plain`` compares with a plain pipeline
in this process instead (``benchmarks.rvc_plain``; the tiny size always does). The last line is one JSON object:

device              what it ran on
alone_ratio         the oracle's seconds for one recording, its voice loaded, in those of ours
throughput_ratio_8  its seconds for eight requests of four voices and eight pitches, which load the voice each time, in
                    those of ours for all eight at the same moment; the table has eight of one voice and pitch as well
switch_ratio        its seconds from the request for another voice or pitch to the start of the conversion, in those of
                    ours through the converter's queue and thread, for a voice in memory; the table also has a voice
                    that ours has to read
parity_max_abs      largest difference of the audio, of the very engines that were measured, in a window as long as the
                    recording. What is drawn at random or differs on purpose is taken out: no noise (zeros in both), no
                    median over pitch, no loudness, all of the oracle's index searched instead of one list, its content
                    encoder given the 30 ms without which the end is missing, and ours given its f0: rounding moves
                    f0 by a millionth, which the sine's phase adds up over the recording. Each with its own f0 is
                    printed above
rtf                 seconds of ours per second of audio, of the eight requests
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from benchmarks.coqui import Span, now
from benchmarks.rvc_figures import Difference, Figures, report
from benchmarks.rvc_files import Voice, make_shared, make_voices, sung
from benchmarks.rvc_oracle import InferRvc, oracle_python
from benchmarks.rvc_plain import PlainRvc
from serving.audio.pcm import Pcm
from serving.engines.base import SpeechChunk
from serving.engines.conversion import ConversionOptions
from serving.engines.rvc.configuration import RvcConfig
from serving.engines.rvc.engine import RvcConverter
from serving.engines.rvc.stream import convert_stream
from serving.engines.rvc.synthesizer import Noise
from serving.engines.rvc.voices import LoadedVoice
from serving.engines.rvc.windows import CONTEXT, HOP, RATE, Window
from serving.engines.xtts.device import select_device

VOICES, REQUESTS = 4, 8
Oracle = InferRvc | PlainRvc


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--size", choices=["tiny", "full"], default="full")
    parser.add_argument("--oracle", choices=["infer-rvc-python", "plain"], default="infer-rvc-python")
    parser.add_argument("--oracle-python", type=Path, help="of an environment that has infer-rvc-python 1.3.1")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        shared = make_shared(Path(folder) / "shared", options.size)
        voices = make_voices(Path(folder), options.size, VOICES)
        asyncio.run(measure(options, shared, voices))


async def measure(options: argparse.Namespace, shared: Path, voices: Sequence[Voice]) -> None:
    device = select_device(options.device, fallback_cpu=False)
    oracle: Oracle
    if options.size == "tiny" or options.oracle == "plain":
        oracle = PlainRvc(shared, options.size)
    else:
        python = options.oracle_python or oracle_python()
        oracle = InferRvc(python, shared, options.threads, cpu=device.type == "cpu")
    ours = RvcConverter.load(shared, device=str(device))
    figures = Figures(REQUESTS, options.seconds)
    try:
        recordings = [sung(options.seconds, number) for number in range(REQUESTS)]
        oracle.convert(recordings[0], voices[0].raw, 0)
        await batch(ours, recordings[:VOICES], voices, range(VOICES))
        for _ in range(options.rounds):
            await one_round(ours, oracle, voices, recordings, figures)
        parity = await difference(ours, oracle, voices[0], recordings[0])
    finally:
        await ours.close()
        oracle.close()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} threads"
    title = f"{options.size} size on {name}: recordings of {options.seconds:.0f} s beside {oracle.name}"
    report(title, name, oracle.name, figures, parity)


async def one_round(
    ours: RvcConverter, oracle: Oracle, voices: Sequence[Voice], recordings: Sequence[Pcm], figures: Figures
) -> None:
    oracle.reload(voices[0].raw, 0)
    alone, made = oracle.convert(recordings[0], voices[0].raw, 0)
    figures.alone.theirs.append(alone)
    figures.one_voice.theirs.append(Span(alone.wall * REQUESTS, alone.cpu * REQUESTS))
    span, audio = await batch(ours, recordings[:1], voices[:1], [0])
    figures.alone.ours.append(span)
    figures.streamed.theirs.append(alone)
    figures.streamed.ours.append((await batch(ours, recordings[:1], voices[:1], [0], whole=False))[0])
    assert abs(len(audio[0]) - len(made)) <= 0.04 * len(made), f"{len(audio[0])} samples, and theirs {len(made)}"
    asked = list(enumerate(recordings))
    spans = [oracle.convert(pcm, voices[number % VOICES].raw, number - 4)[0] for number, pcm in asked]
    figures.together.theirs.append(Span(sum(span.wall for span in spans), sum(span.cpu for span in spans)))
    figures.together.ours.append((await batch(ours, recordings, voices, range(-4, 4)))[0])
    figures.one_voice.ours.append((await batch(ours, recordings, voices[:1], [0]))[0])
    for voice in voices:
        reloaded = oracle.reload(voice.raw, 0)
        figures.switch.theirs.append(reloaded)
        figures.reading.theirs.append(reloaded)
        figures.switch.ours.append(await switch(ours, voice))
        began = now()
        LoadedVoice.load(voice.own.directory, torch.device(ours.device), "tf32")
        figures.reading.ours.append(now() - began)


async def batch(
    ours: RvcConverter,
    recordings: Sequence[Pcm],
    voices: Sequence[Voice],
    pitches: Sequence[int],
    *,
    whole: bool = True,
) -> tuple[Span, list[Pcm]]:
    """All ``recordings`` at the same moment; voices and pitches are taken in turn."""

    async def convert(number: int) -> Pcm:
        voice = voices[number % len(voices)].own
        asked = ConversionOptions(pitch=float(pitches[number % len(pitches)]), f0_method="rmvpe")
        stream = convert_stream(ours, _whole(recordings[number]), voice, asked, seed=number, whole=whole)
        return np.concatenate([chunk.pcm async for chunk in stream])

    began = now()
    made = await asyncio.gather(*(convert(number) for number in range(len(recordings))))
    return now() - began, made


async def switch(ours: RvcConverter, voice: Voice) -> Span:
    """To ``voice``, as far as the start of its conversion: through the queue, on the thread that owns the device."""
    began = now()
    await asyncio.wrap_future(ours._batcher.submit(lambda: _assert_loaded(ours, voice)))
    return now() - began


def _assert_loaded(ours: RvcConverter, voice: Voice) -> None:
    loads = ours._voices.loads
    ours._voices.get(voice.own)
    assert ours._voices.loads == loads, "the voice was not in memory"


async def difference(ours: RvcConverter, oracle: Oracle, voice: Voice, pcm: Pcm) -> Difference:
    """Of all samples; see above for what is left out."""
    frames = len(pcm) // HOP
    assert len(pcm) == frames * HOP
    window = Window(0, 0, frames, len(pcm), np.pad(pcm, CONTEXT * HOP, mode="reflect"))
    expected, f0 = oracle.bare(pcm, voice.raw)

    async def largest() -> float:
        made = await ours.convert(window, voice.own, ConversionOptions(f0_method="rmvpe", filter_radius=0), 0)
        assert len(made) == len(expected), f"{len(made)} samples, and theirs {len(expected)}"
        return float(np.abs(made - expected).max())

    with mock.patch.object(Noise, "draw", _silence):
        own = await largest()
        with mock.patch.dict(ours._pitch, {"rmvpe": _Given(torch.from_numpy(f0[None]).to(ours.device))}):
            return Difference(await largest(), own, float(np.abs(expected).max()))


@dataclass(frozen=True, slots=True)
class _Given:
    """A pitch method that knows the answer."""

    curve: torch.Tensor
    name: str = "given"

    def f0(self, _: torch.Tensor, __: Sequence[int]) -> torch.Tensor:
        return self.curve


def _silence(config: RvcConfig, lengths: Sequence[int], _: Sequence[int], device: torch.device) -> Noise:
    frames = max(lengths)
    prior = torch.zeros(len(lengths), config.inter_channels, frames, device=device)
    return Noise(prior, torch.zeros(len(lengths), frames * config.hop, device=device))


async def _whole(pcm: Pcm) -> AsyncGenerator[SpeechChunk, None]:
    yield SpeechChunk(pcm, RATE)


if __name__ == "__main__":
    main()
