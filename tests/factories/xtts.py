"""XTTS v2 checkpoints with seeded random weights, in the released on-disk format, built when they are asked for.

They speak noise, but through every part of the real model; the vocabulary is trained here on invented words.
"""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import BpeTrainer

from serving.engines.xtts.checkpoint import quiet_transformers
from tests.factories.cache import cached

Size = Literal["tiny", "full"]
LANGUAGES = ["en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "zh-cn", "hu", "ko", "ja", "hi"]
SPEAKERS = ("Ada", "Berta", "Carl")
VOCABULARY = {"tiny": 512, "full": 6681}
VOCODER_WIDTH = {"tiny": 32, "full": 512}
SCRIPTS = ((0x21, 0x7F), (0xA1, 0xC0), (0xDF, 0x180), (0x430, 0x450), (0x621, 0x64B), (0x905, 0x94E))
"""Code points: Latin, Cyrillic, Arabic, Devanagari; the front end lowers capitals and romanises all others."""

DECODER = {
    "tiny": {"gpt_layers": 2, "gpt_n_model_channels": 64, "gpt_n_heads": 2, "decoder_input_dim": 64},
    "full": {"gpt_layers": 30, "gpt_n_model_channels": 1024, "gpt_n_heads": 16, "decoder_input_dim": 1024},
}
CLIMB = {"tiny": 4.0, "full": 9.0}
STOP_GAIN, STOP_BIAS = 3.0, -4.0
"""Chosen by trial, so that speech ends after 30 to 80 audio tokens (1.5 to 4 s), whatever the text."""

VOCODER_GAIN = 1.8


def make_checkpoint(directory: Path, size: Size = "tiny", *, seed: int = 0) -> Path:
    """Write config.json, model.pth, vocab.json and speakers_xtts.pth to ``directory`` and return it.

    "tiny" (36 MB, nearly all of it the speaker encoder, whose size is fixed) runs faster than real time on one core;
    "full" (1.9 GB) has the shapes of the released model.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = _config(size)
    (directory / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    _vocabulary(VOCABULARY[size], seed).save(str(directory / "vocab.json"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.save({"model": _state(directory / "config.json", size)}, directory / "model.pth")
        torch.save(_speakers(config["model_args"]), directory / "speakers_xtts.pth")
    return directory


def cached_checkpoint(size: Size = "tiny", seed: int = 0) -> Path:
    """A checkpoint shared by all tests, workers and processes of this user; read-only by convention: copy to change."""
    return cached(
        f"xtts-{size}-{seed}", [Path(__file__)], lambda directory: make_checkpoint(directory, size, seed=seed)
    )


def _config(size: Size) -> dict[str, Any]:
    """The released config.json's values; the XttsConfig defaults are others."""
    return {
        "model": "xtts",
        "languages": LANGUAGES,
        "model_args": {
            **DECODER[size],
            "gpt_batch_size": 1,
            "kv_cache": True,
            "gpt_max_audio_tokens": 605,
            "gpt_max_text_tokens": 402,
            "gpt_max_prompt_tokens": 70,
            "gpt_number_text_tokens": VOCABULARY[size],
            "gpt_start_text_token": None,
            "gpt_stop_text_token": None,
            "gpt_num_audio_tokens": 1026,
            "gpt_start_audio_token": 1024,
            "gpt_stop_audio_token": 1025,
            "gpt_code_stride_len": 1024,
            "gpt_use_masking_gt_prompt_approach": True,
            "gpt_use_perceiver_resampler": True,
            "input_sample_rate": 22050,
            "output_sample_rate": 24000,
            "output_hop_length": 256,
            "d_vector_dim": 512,
            "cond_d_vector_in_each_upsampling_layer": True,
        },
        "audio": {"sample_rate": 22050, "output_sample_rate": 24000, "dvae_sample_rate": 22050},
        "temperature": 0.75,
        "length_penalty": 1.0,
        "repetition_penalty": 5.0,
        "top_k": 50,
        "top_p": 0.85,
        "num_gpt_outputs": 1,
        "gpt_cond_len": 30,
        "gpt_cond_chunk_len": 4,
        "max_ref_len": 30,
        "sound_norm_refs": False,
    }


def _vocabulary(tokens: int, seed: int) -> Tokenizer:
    special = ["[STOP]", "[UNK]", "[SPACE]", *(f"[{language}]" for language in LANGUAGES), "[START]"]
    letters = [chr(code) for first, end in SCRIPTS for code in range(first, end) if not chr(code).isupper()]
    tokenizer = Tokenizer(BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    trainer = BpeTrainer(vocab_size=tokens, special_tokens=special, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(_invented_text(random.Random(seed)), trainer)
    assert tokenizer.get_vocab_size() == tokens
    return tokenizer


def _invented_text(chance: random.Random) -> list[str]:
    """Words of random syllables."""
    onsets, vowels, codas = "bcdfghjklmnprstvwz", "aeiouy", ["", "", "l", "n", "r", "s", "t"]
    syllables = [onset + vowel + coda for onset in onsets for vowel in vowels for coda in codas]
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(20_000)]
    return [" ".join(words[start : start + 100]) for start in range(0, len(words), 100)]


def _state(config_file: Path, size: Size) -> dict[str, torch.Tensor]:
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.models import xtts

    config = XttsConfig()
    config.load_json(str(config_file))
    stock = xtts.HifiDecoder
    # The vocoder's width is an argument that no configuration reaches.
    xtts.HifiDecoder = functools.partial(HifiDecoder, upsample_initial_channel_decoder=VOCODER_WIDTH[size])
    try:
        with quiet_transformers():
            model = xtts.Xtts(config)
    finally:
        xtts.HifiDecoder = stock
    with torch.no_grad():
        _liven_decoder(model.gpt)
        _teach_to_stop(model.gpt, CLIMB[size])
        _liven_vocoder(model.hifigan_decoder.waveform_decoder)
    state: dict[str, torch.Tensor] = model.state_dict()
    return state


def _liven_decoder(gpt: Any) -> None:
    """Weights so large that text and voice change the tokens; fresh GPT-2 weights hardly look at their input."""
    for embedding, scale in ((gpt.text_embedding, 0.3), (gpt.mel_embedding, 0.3), (gpt.text_pos_embedding.emb, 0.1)):
        embedding.weight.normal_(std=scale)
    for block in gpt.gpt.h:
        for layer in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            layer.weight.normal_(std=layer.weight.shape[0] ** -0.5)
    gpt.mel_head.weight.normal_(std=1.7 * gpt.model_dim**-0.5)


def _teach_to_stop(gpt: Any, climb: float) -> None:
    """Let the audio positions climb along one direction that only the stop token's logit sees."""
    direction = torch.nn.functional.normalize(torch.randn(gpt.model_dim), dim=0)
    positions = gpt.mel_pos_embedding.emb.weight.normal_(std=0.1)
    positions += climb / 40 * torch.arange(len(positions))[:, None] * direction
    gpt.mel_head.weight -= torch.outer(gpt.mel_head.weight @ direction, direction)
    gpt.mel_head.weight[gpt.stop_audio_token] = STOP_GAIN * direction
    gpt.mel_head.bias[gpt.stop_audio_token] = STOP_BIAS


def _liven_vocoder(vocoder: Any) -> None:
    """Audio that follows its latents, well above silence and below clipping."""
    for name, parameter in vocoder.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif name.endswith("original0"):
            parameter.mul_(VOCODER_GAIN)
    vocoder.conv_post.weight.mul_(4)


def _speakers(args: dict[str, Any]) -> dict[str, dict[str, torch.Tensor]]:
    """The order of the two tensors matters: coqui unpacks them by position."""
    return {
        name: {
            "gpt_cond_latent": torch.randn(1, 32, args["gpt_n_model_channels"]),
            "speaker_embedding": torch.nn.functional.normalize(torch.randn(1, args["d_vector_dim"], 1), dim=1),
        }
        for name in SPEAKERS
    }
