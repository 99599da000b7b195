"""Gives a tokenizer the tokens and the template that write a conversation as one text, turn by turn."""

import json
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.control_tokens import control_tokens
from simmim.errors import ConfigError

__all__ = ["ROLES", "TURN_TOKENS", "add_chat_template", "turn_end_ids"]

ROLES = ("system", "user", "assistant")
# Begin a message, end its header, end its text. Special tokens at every border: the tokens of a conversation are those
# of its messages, one after the other, so that a new turn can be encoded alone.
TURN_TOKENS = ("<|turn|>", "<|says|>", "<|end|>")
_TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def add_chat_template(tokenizer: PreTrainedTokenizerBase) -> int:
    """Make a tokenizer write conversations; it is changed in place, and saved and loaded with the template.

    A message becomes `<|turn|>ROLE NAME<|says|>TEXT<|end|>`, the name only where it has one. The roles are `system`,
    `user` and `assistant`; speakers of a play or a transcript are a `name` beside one of them. What the assistant
    says, `<|end|>` included, is what `apply_chat_template(..., return_assistant_tokens_mask=True)` marks;
    `add_generation_prompt=True` begins its next turn, with `assistant_name="NAME"` under a name.

    From here on a call of the tokenizer reads control tokens as such (`split_special_tokens=False`), as a conversation
    that was written out needs it; the template refuses a message that holds one, as it refuses an unknown role. Other
    texts are encoded with `simmim.data.control_tokens.encode_plain_text`, which never does.

    Returns:
        How many tokens are new. A model that there is already has to be resized:
        `model.resize_token_embeddings(len(tokenizer))`.

    Raises:
        ConfigError: The tokenizer has another chat template.
    """
    refused = [token for token in control_tokens(tokenizer) if token not in TURN_TOKENS]
    template = _TEMPLATE.read_text(encoding="utf-8").replace("CONTROL_TOKENS", json.dumps([*refused, *TURN_TOKENS]))
    if tokenizer.chat_template not in (None, template):
        raise ConfigError(
            "tokenizer: expected one without a chat template, or with ours; this one has another. Use it as it is, or "
            "set tokenizer.chat_template to None first."
        )
    added = tokenizer.add_special_tokens(
        {"extra_special_tokens": list(TURN_TOKENS)}, replace_extra_special_tokens=False
    )
    tokenizer.chat_template = template
    tokenizer.split_special_tokens = tokenizer.init_kwargs["split_special_tokens"] = False
    return added


def turn_end_ids(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None = None) -> list[int]:
    """Return the tokens that end what a model says: the end of a turn, if the tokenizer has it, and the end of a text.

    Those that the configuration of a model for `generate` names come behind them.

    They belong into the `eos_token_id` of a chat model's configuration, where `generate` finds them.
    """
    ends = [tokenizer.convert_tokens_to_ids(TURN_TOKENS[-1]), tokenizer.eos_token_id]
    known = [token for token in ends if token is not None and token != tokenizer.unk_token_id]
    config = None if model is None else model.generation_config
    configured = None if config is None else config.eos_token_id
    more = configured if isinstance(configured, list) else [] if configured is None else [configured]
    return list(dict.fromkeys([*known, *more]))
