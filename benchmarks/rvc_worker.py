"""infer-rvc-python, run by ``benchmarks.rvc_oracle`` with a Python that has it; imports nothing of ours.

Reads a JSON object per line from standard input, ``{"do": name, ...}``, and answers each with one: what it found, and
``wall`` and ``cpu``, seconds of the clock and of this process. Audio travels in .npy files.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any
from unittest import mock

import numpy as np
import torch

MISSING = 480
"""Samples that infer-rvc-python's content encoder needs behind the audio to have a frame for each 20 ms of it."""

Answer = dict[str, Any]


class Worker:
    def __init__(self, hubert: str, rmvpe: str, threads: int, *, cpu: bool) -> None:
        torch.set_num_threads(threads)
        self._module = importlib.import_module("infer_rvc_python.main")
        importlib.import_module("faiss").omp_set_num_threads(threads)
        self._loader = self._module.BaseLoader(only_cpu=cpu, hubert_path=hubert, rmvpe_path=rmvpe, preload_models=True)

    def convert(self, audio: str, target: str, voice: str, index: str, pitch: int) -> Answer:
        """As its README says to: the voice is loaded again unless all options are those of the call before."""
        self._choose(voice, index, pitch)
        pcm = np.load(audio)
        began = _now()
        made, rate = self._loader.generate_from_cache((pcm, 16000), "voice")
        took = _since(began)
        np.save(target, (made / 32768).astype(np.float32))
        return took | {"rate": rate}

    def reload(self, voice: str, index: str, pitch: int) -> Answer:
        """What it does before it converts when the options have changed."""
        self._choose(voice, index, pitch)
        with mock.patch.object(self._loader, "infer", return_value=None):
            began = _now()
            self._loader.generate_from_cache((np.zeros(16000, np.float32), 16000), "voice")
            return _since(began)

    def bare(self, audio: str, target: str, voice: str, index: str) -> Answer:
        """The synthesizer's audio, float, with no noise, all of the index searched, and frames to the end; behind it,
        the f0 of every frame, those of the mirrored ends as well.
        """
        self.reload(voice, index, 0)
        kept, loaded = self._loader.model_vc, self._loader.hu_bert_model
        kept["index"].nprobe = kept["index"].nlist
        found: list[Any] = []
        convert, encode = kept["pipe"].vc, loaded.extract_features

        def longer(source: torch.Tensor, **options: Any) -> tuple[torch.Tensor, None]:
            size = source.shape[1]
            features, nothing = encode(torch.cat([source, source[:, -MISSING - 1 : -1].flip(1)], 1), **options)
            return features[:, : -(-size // 320)], nothing

        def kept_audio(*arguments: Any) -> Any:
            found.extend([convert(*arguments), arguments[5][0].cpu().numpy()])
            return found[0].copy()

        with (
            mock.patch.object(torch, "randn_like", torch.zeros_like),
            mock.patch.object(loaded, "extract_features", longer),
            mock.patch.object(kept["pipe"], "vc", kept_audio),
        ):
            self._loader.generate_from_cache((np.load(audio), 16000), "voice")
        pad = kept["pipe"].t_pad_tgt
        np.save(target, np.concatenate([found[0][pad:-pad], found[1]]).astype(np.float32))
        self._loader.cache_model = {}
        return {"frames": len(found[1])}

    def _choose(self, voice: str, index: str, pitch: int) -> None:
        """RVC's own options, under this package's names."""
        self._loader.apply_conf(
            tag="voice",
            file_model=voice,
            pitch_algo="rmvpe",
            pitch_lvl=pitch,
            file_index=index,
            index_influence=0.75,
            respiration_median_filtering=3,
            envelope_ratio=0.25,
            consonant_breath_protection=0.33,
        )


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> Answer:
    ended = _now()
    return {"wall": ended[0] - began[0], "cpu": ended[1] - began[1]}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the package prints is no answer
    worker: Worker | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        name = asked.pop("do")
        answer: Answer = {}
        if name == "open":
            worker = Worker(**asked)
        else:
            answer = getattr(worker, name)(**asked)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
