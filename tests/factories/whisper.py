"""A Whisper in CTranslate2's format whose weights are made so that it says one text, whatever it hears.

Everything of the real thing runs: the log-mel spectrogram, the encoder, decoding with timestamps and the alignment
from which word times come. Like whisper-tiny.en it knows English alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from ctranslate2.converters import TransformersConverter
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

from tests.factories.cache import cached

TEXT = " One two three. Four five six seven."
END_S = 4.0
"""Where the last word ends as its timestamp says."""

SPECIAL = ("endoftext", "startoftranscript", "translate", "transcribe", "startoflm", "startofprev", "nospeech")
TIMES = 1501
WIDTH = 64


def make_whisper(directory: Path, *, seed: int = 0) -> Path:
    """Write model.bin, config.json, vocabulary and tokenizer.json (4 MB) to ``directory`` and return it."""
    tokenizer = _tokenizer()
    with tempfile.TemporaryDirectory() as source:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _model(tokenizer).save_pretrained(source)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<|endoftext|>").save_pretrained(source)
        TransformersConverter(source, copy_files=["tokenizer.json"]).convert(str(directory), force=True)
    return directory


def cached_whisper() -> Path:
    """Shared by all tests; read-only by convention: copy to change."""
    return cached("whisper", [Path(__file__)], make_whisper)


def _tokenizer() -> Tokenizer:
    """Bytes, the words of the text, and Whisper's special tokens in its order."""
    words = [word.replace(" ", "Ġ") for word in _words()]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys([*sorted(ByteLevel.alphabet()), *words]))}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokens = [*SPECIAL, "notimestamps", *(f"{index * 0.02:.2f}" for index in range(TIMES))]
    tokenizer.add_special_tokens([AddedToken(f"<|{token}|>", special=True) for token in tokens])
    return tokenizer


def _words() -> list[str]:
    """Words with the blank before them, and punctuation."""
    return [f" {word}" for word in TEXT.replace(".", "").split()] + ["."]


def _said(tokenizer: Tokenizer) -> list[int]:
    """The tokens of the text between its timestamps, and the end."""
    pieces = TEXT.replace(".", " .").split()
    tokens = [piece if piece == "." else f"Ġ{piece}" for piece in pieces]
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return [vocabulary[token] for token in ("<|0.00|>", *tokens, f"<|{END_S:.2f}|>", "<|endoftext|>")]


def _model(tokenizer: Tokenizer) -> WhisperForConditionalGeneration:
    end = tokenizer.token_to_id("<|endoftext|>")
    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=WIDTH,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=WIDTH,
        decoder_ffn_dim=WIDTH,
        decoder_start_token_id=tokenizer.token_to_id("<|startoftranscript|>"),
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        # So long that the logit of the wanted token leaves nothing to the 1,501 timestamps together.
        embedding = 4 * torch.nn.functional.normalize(torch.randn(config.vocab_size, WIDTH), dim=1)
        model.model.decoder.embed_tokens.weight.copy_(embedding)
        model.proj_out.weight.copy_(embedding)
        # The position decides the next token: its embedding outweighs all that the layers add.
        for position, token in enumerate(_said(tokenizer)):
            model.model.decoder.embed_positions.weight[position] = 20 * embedding[token]
    model.generation_config.suppress_tokens = []
    model.generation_config.begin_suppress_tokens = []
    return model
