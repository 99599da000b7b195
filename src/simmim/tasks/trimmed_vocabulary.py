"""Leaves out of a model the tokens that its languages never use.

Most weights of a small multilingual model are rows of embeddings for other languages. After "Load What You Need:
Smaller Versions of Multilingual BERT" (Abdaoui, Pradel and Sigel, 2020), with byte-pair merges in place of word pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from simmim.errors import ConfigError

__all__ = ["closed_vocabulary", "trim_model", "trim_tokenizer"]


def closed_vocabulary(tokenizer: PreTrainedTokenizerBase, used: Iterable[int], characters: Iterable[str]) -> list[int]:
    """Return the tokens to keep: those used, those that they are merged from, the bytes and the special ones.

    A text that was tokenized into `used` alone is tokenized the same with them; any other text is tokenized into
    smaller pieces, at worst bytes, so no text is lost.

    Args:
        tokenizer: a byte-pair tokenizer with bytes to fall back on.
        used: ids of the tokens that occur.
        characters: characters to keep apart from them.

    Returns:
        Ids in rising order.
    """
    state = _state(tokenizer)
    vocabulary: dict[str, int] = state["model"]["vocab"]
    names = {index: token for token, index in vocabulary.items()}
    ranks = {(left, right): rank for rank, (left, right) in enumerate(state["model"]["merges"])}
    special = set(tokenizer.all_special_ids)
    kept = special | {vocabulary[token] for token in vocabulary if token.startswith("<0x") and len(token) == 6}
    kept |= {vocabulary[character] for character in characters if character in vocabulary}
    for index in {*used} - special:
        kept |= {vocabulary[token] for token in _merged(names[index], ranks) if token in vocabulary}
        kept.add(index)
    return sorted(kept)


def trim_tokenizer(tokenizer: PreTrainedTokenizerBase, kept: Sequence[int]) -> PreTrainedTokenizerBase:
    """Return a tokenizer of the tokens in `kept` alone; their ids are their indices in it.

    Raises:
        ConfigError: the tokenizer is not one of byte pairs.
    """
    state = _state(tokenizer)
    position = {index: new for new, index in enumerate(kept)}
    model = state["model"]
    model["vocab"] = {token: position[index] for token, index in model["vocab"].items() if index in position}
    model["merges"] = [
        [left, right] for left, right in model["merges"] if {left, right, left + right} <= model["vocab"].keys()
    ]
    state["added_tokens"] = [
        {**token, "id": position[token["id"]]} for token in state["added_tokens"] if token["id"] in position
    ]
    for token in (state["post_processor"] or {}).get("special_tokens", {}).values():
        token["ids"] = [position[index] for index in token["ids"]]
    names = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **names)


def trim_model(model: PreTrainedModel, kept: Sequence[int]) -> None:
    """Leave the rows of `kept` in a model's embeddings and output weights, which must be tied.

    Raises:
        ConfigError: the output weights are apart from the embeddings.
    """
    if not model.config.tie_word_embeddings:
        raise ConfigError("model: expected output weights that are tied to the embeddings, these are apart")
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.detach()[torch.as_tensor(kept)].clone()
    model.resize_token_embeddings(len(kept), mean_resizing=False)
    with torch.no_grad():
        resized: Any = model.get_input_embeddings()
        resized.weight.copy_(rows)
    position = {index: new for new, index in enumerate(kept)}
    for settings in (model.config, model.generation_config):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"):
            index = getattr(settings, name, None)
            if isinstance(index, int):
                setattr(settings, name, position.get(index))
            elif isinstance(index, list):
                setattr(settings, name, [position[one] for one in index if one in position])


def _merged(token: str, ranks: Mapping[tuple[str, str], int]) -> set[str]:
    """Return whatever the merges make of a token's characters on the way to it."""
    pieces = list(token)
    seen = set(pieces)
    while len(pieces) > 1:
        rank, position = min((ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(pieces)))
        if rank == len(ranks):
            break
        pieces[position : position + 2] = [pieces[position] + pieces[position + 1]]
        seen.add(pieces[position])
    return seen


def _state(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    state: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    if state["model"].get("type") != "BPE":
        raise ConfigError("tokenizer: expected one of byte pairs (BPE), this is of another kind")
    return state
