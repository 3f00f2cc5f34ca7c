"""Conditioning latents of a voice: from the model's presets, from memory, from the volume, or from its references."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from serving.audio.decode import decode
from serving.audio.resample import resample
from serving.audio.wav import read_wav
from serving.engines.base import Voice
from serving.engines.xtts.checkpoint import Latents, LoadedXtts
from serving.errors import EngineError, InvalidRequest, NotFound, StorageError
from serving.files import refusing, write_atomic

logger = logging.getLogger(__name__)

SAMPLE_RATE = 22050
MIN_SECONDS = 0.33
"""Shorter references leave coqui's conditioning encoder nothing to encode."""

LONGEST_S = 600.0
"""A reference that is not WAV; the model's ``max_ref_len`` (30 s) counts from its start."""

FIELD = "audio_sample"
"""What references are called in requests."""

SILENCE = 1e-3
"""Peak below which a reference is silence: -60 dBFS."""

STRETCH = 3 * SAMPLE_RATE
STRETCHES = 16
"""Samples and number of the pieces of references that are compared with each other."""

MEMORY_BYTES = 64 * 2**20


class Conditioner:
    """Finds or computes latents; only the thread that owns the model may call it.

    ``name`` is ``<model>@<revision>``: latents of one set of weights mean nothing to another. At most ``memory_bytes``
    of computed latents stay in memory, the least recently used leave first.
    """

    def __init__(self, loaded: LoadedXtts, name: str, memory_bytes: int = MEMORY_BYTES) -> None:
        self._loaded = loaded
        self._name = name
        self._memory: OrderedDict[str, Latents] = OrderedDict()
        self._references: dict[str, Path] = {}
        self._free = memory_bytes

    def latents(self, voice: Voice) -> Latents:
        """The latents of ``voice``.

        Raises NotFound for an unknown preset, InvalidRequest (``audio_sample``) for references that are silent or
        shorter than 0.33 s, EngineError for references that cannot be read.
        """
        if voice.preset is not None:
            if voice.preset not in self._loaded.speakers:
                raise NotFound(f"voice {voice.preset!r} is not a preset of {self._name}", "voice")
            return self._loaded.speakers[voice.preset]
        if not voice.references:
            raise InvalidRequest(f"voice {voice.id!r} has neither a preset nor reference audio", "voice")
        key = _stamp(voice)
        found = self._memory.pop(key, None)
        if found is None:
            found = self._from_volume(voice)
            self._free -= found.nbytes
        self._memory[key] = found
        self._references[key] = voice.references[0]
        while self._free < 0:
            self._forget(next(iter(self._memory)))
        return found

    def similarity(self, voice: Voice) -> float | None:
        """The lowest cosine between the speaker embeddings of stretches of 3 s, at most 16 of all references together.

        None for fewer than two that are not mostly silence. Raises what ``latents`` does for its references.
        """
        heard = [piece for path in voice.references for piece in _stretches(self._reference(path))]
        chosen = [heard[round(at)] for at in np.linspace(0, len(heard) - 1, min(len(heard), STRETCHES))]
        if len(chosen) < 2:
            return None
        embeddings = torch.stack([self._loaded.model.get_speaker_embedding(each, SAMPLE_RATE) for each in chosen])
        unit = torch.nn.functional.normalize(embeddings.reshape(len(chosen), -1), dim=1)
        return float((unit @ unit.T).min())

    def remembered(self) -> list[tuple[str, Path]]:
        """What is in memory, and a file without which it must not be there; any thread may ask."""
        return list(self._references.items())

    def forget(self, keys: Collection[str]) -> None:
        """Drop latents of voices that were deleted."""
        for key in keys:
            self._forget(key)

    def _forget(self, key: str) -> None:
        found = self._memory.pop(key, None)
        self._references.pop(key, None)
        if found is not None:
            self._free += found.nbytes

    def _from_volume(self, voice: Voice) -> Latents:
        fingerprint = self._fingerprint(voice)
        path = voice.conditioning / f"{self._name}.safetensors" if voice.conditioning else None
        latents = self._read(path, fingerprint) if path else None
        if latents is None:
            latents = self._compute(voice)
            if path:
                _write(path, latents, fingerprint)
        return latents

    def _fingerprint(self, voice: Voice) -> str:
        """A hash of all that the latents depend on, apart from the weights."""
        config = self._loaded.config
        settings = (config.gpt_cond_len, config.gpt_cond_chunk_len, config.max_ref_len, config.sound_norm_refs)
        digest = hashlib.sha256(repr((self._name, settings)).encode())
        for path in voice.references:
            digest.update(hashlib.sha256(_bytes(path)).digest())
        return digest.hexdigest()

    def _read(self, path: Path, fingerprint: str) -> Latents | None:
        """What an earlier process kept; None where there is nothing, or nothing that fits."""
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                matches = (file.metadata() or {}).get("fingerprint") == fingerprint
                latents = Latents(file.get_tensor("gpt_cond_latent"), file.get_tensor("speaker_embedding"))
        except (SafetensorError, OSError) as error:
            logger.warning("the conditioning file %s is torn (%s) and is made again", path, error)
            return None
        args = self._loaded.config.model_args
        expected = ((1, args.gpt_n_model_channels), (1, args.d_vector_dim, 1))
        shapes = (tuple(latents.gpt_cond_latent.shape[::2]), tuple(latents.speaker_embedding.shape))
        if not matches or shapes != expected:
            logger.info("the conditioning file %s belongs to other references or weights and is made again", path)
            return None
        return latents

    def _compute(self, voice: Voice) -> Latents:
        """coqui's ``get_conditioning_latents``, but for decoding: its torchaudio.load needs FFmpeg libraries."""
        config, model = self._loaded.config, self._loaded.model
        references = [self._reference(path) for path in voice.references]
        embeddings = [model.get_speaker_embedding(audio, SAMPLE_RATE) for audio in references]
        latent = model.get_gpt_cond_latents(
            torch.cat(references, dim=-1),
            SAMPLE_RATE,
            length=config.gpt_cond_len,
            chunk_length=config.gpt_cond_chunk_len,
        )
        return Latents(latent.cpu().contiguous(), torch.stack(embeddings).mean(dim=0).cpu().contiguous())

    def _reference(self, path: Path) -> Any:
        """One reference as float32 [1, samples] at 22.05 kHz, at most ``max_ref_len`` seconds."""
        config = self._loaded.config
        audio = read_wav(path) if path.suffix == ".wav" else decode(_bytes(path), max_seconds=LONGEST_S, param=FIELD)
        pcm = resample(audio.pcm, audio.sample_rate, SAMPLE_RATE)[: SAMPLE_RATE * config.max_ref_len]
        if len(pcm) < MIN_SECONDS * SAMPLE_RATE:
            raise InvalidRequest(
                f"the reference audio is {len(pcm) / SAMPLE_RATE:.2f} s long; send at least {MIN_SECONDS} s of speech",
                FIELD,
            )
        peak = float(np.abs(pcm).max())
        if not peak >= SILENCE:
            raise InvalidRequest("the reference audio is silent; send a recording of speech", FIELD)
        pcm = np.clip(pcm, -1.0, 1.0)
        if config.sound_norm_refs:
            pcm = pcm / np.abs(pcm).max() * np.float32(0.75)
        return torch.from_numpy(pcm)[None]


def _stretches(audio: Any) -> list[Any]:
    """``audio`` [1, samples] in pieces of 3 s, without those a fifth as loud as the whole, which are pauses."""
    pieces = [each for each in audio.split(STRETCH, dim=-1) if each.shape[-1] == STRETCH]
    loudest = float(audio.square().mean().sqrt())
    return [each for each in pieces if float(each.square().mean().sqrt()) > 0.2 * loudest]


def _stamp(voice: Voice) -> str:
    """Changes when a reference file is replaced, without reading it."""
    try:
        stats = [(str(path), path.stat()) for path in voice.references]
    except OSError as error:
        raise EngineError(f"a reference of voice {voice.id!r} is gone ({error}); add the voice again") from error
    return repr([(name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats])


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read the reference {path} ({error}); add the voice again") from error


def _write(path: Path, latents: Latents, fingerprint: str) -> None:
    """Keep ``latents`` for other replicas and restarts, where the volume lets us."""
    tensors = {"gpt_cond_latent": latents.gpt_cond_latent, "speaker_embedding": latents.speaker_embedding}
    try:
        with refusing(path):
            path.parent.mkdir(exist_ok=True)  # but not its parents: the voice may have been deleted meanwhile
        write_atomic(path, save(tensors, {"fingerprint": fingerprint}))
    except StorageError as error:
        logger.warning("the conditioning of a voice is not kept: %s", error)
