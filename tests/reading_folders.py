"""Tiny models, encoders and tokenizers in folders, and readers made of them, for tests of reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from simmim.data.chat_template import add_chat_template
from simmim.data.tokenizer import train_tokenizer
from simmim.reading.embedding import Encoder
from simmim.reading.heads import Head
from simmim.reading.reader import Reader, ReadingSettings
from simmim.tasks.templates import apply_template

__all__ = ["TEXT", "files_of", "make_reader", "make_tokenizer", "save_encoder", "save_model", "tiny_encoder"]

TEXT = "\n".join(
    f"House {number} stands by the {place}. It was built in {1700 + 3 * number}. 河上的橋有{number}個拱。\n"
    for number, place in enumerate("river mill bridge harbour garden tower station market library school".split())
)
SETTINGS = ReadingSettings(segment=8, near=2, chunk=48, keep="keys")
HEADS = (Head(1, 3), Head(0, 1), Head(1, 0))


def make_tokenizer(template: bool = True) -> Any:
    """Return a tokenizer of bytes and a few merges that writes conversations."""
    tokenizer = train_tokenizer([TEXT, "user assistant system question answer"], 330)
    if template:
        add_chat_template(tokenizer)
    return tokenizer


def tiny_llama(vocabulary: int, window: int = 512, layers: int = 2, **more: Any) -> PreTrainedModel:
    """Return a random Llama, always with the same weights, in float32."""
    config = LlamaConfig(
        **{"vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2},
        **{"max_position_embeddings": window, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1},
        **more,
    )
    torch.manual_seed(5)
    return LlamaForCausalLM(config).eval()


def tiny_bert() -> tuple[Any, Any]:
    """Return a random encoder and its tokenizer."""
    tokenizer = make_tokenizer(template=False)
    config = BertConfig(
        **{"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "initializer_range": 0.5, "max_position_embeddings": 256},
    )
    torch.manual_seed(6)
    return BertModel(config).eval(), tokenizer


def tiny_encoder(fingerprint: str = "tiny-bert") -> Encoder:
    """Return an encoder of sentences."""
    return Encoder(*tiny_bert(), fingerprint)


def save_model(folder: Path, window: int = 2048) -> Path:
    """Write a tiny model and its tokenizer."""
    tokenizer = make_tokenizer()
    tiny_llama(len(tokenizer), window).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_encoder(folder: Path) -> Path:
    """Write a tiny encoder and its tokenizer."""
    model, tokenizer = tiny_bert()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_reader(
    model: PreTrainedModel | None = None,
    *,
    encoder: bool | Encoder = True,
    fingerprint: str = "tiny",
    heads: Sequence[Head] = HEADS,
    template: bool = True,
    **settings: Any,
) -> Reader:
    """Return a reader with a tiny model; settings replace those of `SETTINGS`."""
    tokenizer = make_tokenizer(template)
    if model is None:
        model = tiny_llama(len(tokenizer))
        model.set_attn_implementation("simmim")
    return Reader(
        model,
        tokenizer,
        fingerprint=fingerprint,
        render=apply_template,
        heads=heads,
        settings=ReadingSettings(**(vars(SETTINGS) | settings)),
        encoder=tiny_encoder() if encoder is True else encoder or None,
    )


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a folder but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


transformers.utils.logging.disable_progress_bar()
