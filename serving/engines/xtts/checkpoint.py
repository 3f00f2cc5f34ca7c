"""Reads an XTTS v2 model directory and writes nothing to it.

coqui's own ``load_checkpoint`` builds the model twice, rewrites ``model.pth`` in place when it holds a pickled config,
and lists hundreds of unrelated keys when one is missing; this loader takes the same files and hands coqui's ``Xtts``
its weights.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from serving.engines.xtts.weights import check_shapes, read_pickle, read_weights
from serving.errors import ModelFilesError

if TYPE_CHECKING:
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.models.xtts import Xtts

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ("[STOP]", "[START]", "[UNK]", "[SPACE]")
WIDTH_KEY = "hifigan_decoder.waveform_decoder.conv_pre.weight"
RELEASED_WIDTH = 512
TEXT_KEY = "gpt.text_embedding.weight"
SPEAKERS = "speakers_xtts.pth"


@dataclass(frozen=True, slots=True)
class Latents:
    """A voice as the model sees it, float32 on the CPU.

    ``gpt_cond_latent`` [1, frames, channels] opens the decoder's prompt (32 frames in XTTS v2);
    ``speaker_embedding`` [1, 512, 1] conditions the vocoder.
    """

    gpt_cond_latent: torch.Tensor
    speaker_embedding: torch.Tensor

    @property
    def nbytes(self) -> int:
        return int(self.gpt_cond_latent.nbytes + self.speaker_embedding.nbytes)


@dataclass(frozen=True, slots=True)
class LoadedXtts:
    """coqui's model in evaluation mode on ``device``, with its configuration and preset speakers by name."""

    model: Xtts
    config: XttsConfig
    speakers: Mapping[str, Latents]
    device: torch.device


@dataclass(frozen=True, slots=True)
class XttsParts:
    """A model directory that was read and checked: ``weights`` (backed by ``file``) fit ``model``, which lacks them.

    The decoder of ``model`` is on the meta device and has its training layers only.
    """

    model: Xtts
    config: XttsConfig
    tokenizer: Any
    file: Path
    weights: dict[str, torch.Tensor]


def load_checkpoint(directory: Path, device: torch.device) -> LoadedXtts:
    """Load config.json, model.safetensors or model.pth, vocab.json and, where it is there, speakers_xtts.pth.

    Raises ModelFilesError naming the file (and key) that is missing, torn or of another shape than config.json says.
    """
    config = read_config(directory)
    speakers = read_speakers(directory, config)
    return load_parts(read_parts(directory, config), speakers, device)


def load_parts(parts: XttsParts, speakers: Mapping[str, Latents], device: torch.device) -> LoadedXtts:
    """The model of ``parts`` on ``device``; its weights may have been replaced by others of their shapes meanwhile.

    Raises ModelFilesError for weights that are not finite.
    """
    _fill(parts, device)
    return LoadedXtts(parts.model, parts.config, speakers, device)


def read_config(directory: Path) -> XttsConfig:
    """config.json of ``directory``; raises ModelFilesError."""
    return _read_config(_existing(directory / "config.json"))


def read_parts(directory: Path, config: XttsConfig) -> XttsParts:
    """vocab.json and the weights of ``directory``; raises ModelFilesError as ``load_checkpoint`` does."""
    vocab = _existing(directory / "vocab.json")
    tokenizer = _read_tokenizer(vocab, config)
    weights_file, weights = read_weights(directory)
    _check_vocabulary(vocab, tokenizer.get_number_tokens(), weights_file, weights)
    model = _build(config, tokenizer, directory / "config.json", weights)
    check_shapes(weights_file, weights, model.state_dict())
    return XttsParts(model, config, tokenizer, weights_file, weights)


def owned(parts: XttsParts, key: str, device: torch.device) -> torch.Tensor:
    """The weight ``key`` on ``device`` as float32, copied: the file may go away later. Raises ModelFilesError."""
    tensor = parts.weights[key]
    # Integer tensors are the batch norms' counters.
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    tensor = tensor.to(device, dtype, copy=True)
    if not tensor.sum().isfinite():
        raise ModelFilesError(f"{parts.file}: {key} has values that are not finite; take the weights from another step")
    return tensor


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ModelFilesError(f"{path} is missing; an XTTS v2 directory holds config.json, vocab.json and model.pth")
    return path


def _read_config(path: Path) -> XttsConfig:
    from TTS.tts.configs.xtts_config import XttsConfig

    config = XttsConfig()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")  # coqpit puts the default for a value of a wrong type and warns
            config.load_json(str(path))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        raise _not_a_configuration(path, error) from error
    for warning in caught:
        if "field: model_args" in str(warning.message):
            raise _not_a_configuration(path, warning.message)
        logger.warning("%s: %s", path, warning.message)
    if config.model != "xtts" or not config.languages:
        raise ModelFilesError(f'{path} describes a model of kind "{config.model}"; expected "xtts" with languages')
    return config


def _not_a_configuration(path: Path, reason: object) -> ModelFilesError:
    text = " ".join(str(reason).split())[:200]
    return ModelFilesError(f"{path} is not an XTTS configuration ({text}); restore the original file")


def _read_tokenizer(path: Path, config: XttsConfig) -> Any:
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

    try:
        tokenizer = VoiceBpeTokenizer(vocab_file=str(path))
    except Exception as error:  # tokenizers raises plain Exceptions
        raise ModelFilesError(f"{path} is not a tokenizer file ({error}); restore the original file") from error
    known = tokenizer.tokenizer.get_vocab()
    for token in (*SPECIAL_TOKENS, *(f"[{language}]" for language in config.languages)):
        if token not in known:
            raise ModelFilesError(f"{path} has no token {token}; take the vocab.json that belongs to the weights")
    return tokenizer


def _check_vocabulary(vocab: Path, tokens: int, weights_file: Path, weights: Mapping[str, torch.Tensor]) -> None:
    if TEXT_KEY in weights and weights[TEXT_KEY].shape[0] != tokens:
        rows = weights[TEXT_KEY].shape[0]
        raise ModelFilesError(
            f"{vocab} has {tokens} tokens but {TEXT_KEY} of {weights_file} has {rows} rows; take files of one model"
        )


def _build(config: XttsConfig, tokenizer: Any, path: Path, weights: Mapping[str, torch.Tensor]) -> Xtts:
    """coqui's model without its weights: the decoder on the meta device, the small vocoder (26 M) in memory."""
    from TTS.tts.layers.xtts.gpt import GPT
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.models.xtts import Xtts

    args = config.model_args
    try:
        args.gpt_number_text_tokens = None  # Xtts() then leaves the decoder to us
        model = Xtts(config)
        model.tokenizer = tokenizer
        args.gpt_number_text_tokens = tokenizer.get_number_tokens()
        args.gpt_start_text_token = tokenizer.tokenizer.token_to_id("[START]")
        args.gpt_stop_text_token = tokenizer.tokenizer.token_to_id("[STOP]")
        with torch.device("meta"), quiet_transformers():
            model.gpt = GPT(**_decoder_arguments(args))
        if WIDTH_KEY in weights and weights[WIDTH_KEY].shape[0] != RELEASED_WIDTH:
            model.hifigan_decoder = HifiDecoder(**vocoder_arguments(args, weights[WIDTH_KEY].shape[0]))
    except (ValueError, TypeError, AssertionError, RuntimeError, ArithmeticError) as error:
        raise ModelFilesError(f"{path} does not describe an XTTS model ({error}); restore the original file") from error
    return model


def _decoder_arguments(args: Any) -> dict[str, Any]:
    return {
        "layers": args.gpt_layers,
        "model_dim": args.gpt_n_model_channels,
        "heads": args.gpt_n_heads,
        "start_text_token": args.gpt_start_text_token,
        "stop_text_token": args.gpt_stop_text_token,
        "max_text_tokens": args.gpt_max_text_tokens,
        "max_mel_tokens": args.gpt_max_audio_tokens,
        "max_prompt_tokens": args.gpt_max_prompt_tokens,
        "number_text_tokens": args.gpt_number_text_tokens,
        "num_audio_tokens": args.gpt_num_audio_tokens,
        "start_audio_token": args.gpt_start_audio_token,
        "stop_audio_token": args.gpt_stop_audio_token,
        "use_perceiver_resampler": args.gpt_use_perceiver_resampler,
        "code_stride_len": args.gpt_code_stride_len,
    }


def vocoder_arguments(args: Any, width: int) -> dict[str, Any]:
    """As coqui's, but for the channels of the first layer: no config.json tells them, so they are the weights' own."""
    return {
        "input_sample_rate": args.input_sample_rate,
        "output_sample_rate": args.output_sample_rate,
        "output_hop_length": args.output_hop_length,
        "ar_mel_length_compression": args.gpt_code_stride_len,
        "decoder_input_dim": args.decoder_input_dim,
        "d_vector_dim": args.d_vector_dim,
        "cond_d_vector_in_each_upsampling_layer": args.cond_d_vector_in_each_upsampling_layer,
        "upsample_initial_channel_decoder": width,
    }


def _fill(parts: XttsParts, device: torch.device) -> None:
    """Move the weights into the model, on ``device``."""
    model = parts.model
    for key in parts.weights:
        parts.weights[key] = owned(parts, key, device)
    model.load_state_dict(parts.weights, strict=True, assign=True)
    with quiet_transformers():
        model.gpt.init_gpt_for_inference(kv_cache=model.args.kv_cache)
    model.to(device).requires_grad_(False)
    torch.nn.Module.eval(model)  # coqui's own eval() wraps the decoder once more


def read_speakers(directory: Path, config: XttsConfig) -> dict[str, Latents]:
    """The preset speakers of ``directory`` by name, none where it has no speakers_xtts.pth; raises ModelFilesError."""
    path = directory / SPEAKERS
    if not path.exists():
        return {}
    speakers = read_pickle(path)
    if not isinstance(speakers, dict):
        raise ModelFilesError(f"{path} is not a table of speakers; restore the original file or remove it")
    return {str(name): _speaker(path, str(name), value, config) for name, value in speakers.items()}


def _speaker(path: Path, name: str, value: Any, config: XttsConfig) -> Latents:
    """One preset; ``frames`` is free, since XTTS v1 has as many as its reference was long."""
    channels, width = config.model_args.gpt_n_model_channels, config.model_args.d_vector_dim
    try:
        latent, embedding = value["gpt_cond_latent"].float().clone(), value["speaker_embedding"].float().clone()
        fits = latent.shape == (1, latent.shape[1], channels) and embedding.shape == (1, width, 1)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ModelFilesError(f"{path}: speaker {name} lacks gpt_cond_latent or speaker_embedding") from error
    if not fits:
        raise ModelFilesError(
            f"{path}: speaker {name} has shapes {list(latent.shape)} and {list(embedding.shape)}, "
            f"expected [1, 32, {channels}] and [1, {width}, 1]; take files of one model"
        )
    return Latents(latent, embedding)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' complaint that coqui's inner GPT-2, which has no text tokens, has no end-of-text token."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
