"""Train a byte-level tokenizer on a corpus; it gives back every text exactly and knows no maximum length."""

import logging
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from simmim.errors import ConfigError

__all__ = ["SPECIAL_TOKENS", "train_tokenizer"]

logger = logging.getLogger(__name__)

# Their places in this list are their ids.
SPECIAL_TOKENS = ["<pad>", "<s>", "</s>", "<mask>"]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train byte-pair encoding over the bytes of the texts.

    Every text can be encoded, as all 256 bytes are in the vocabulary; `</s>` is appended to it. What looks like a
    special token inside a text is text (pass `split_special_tokens=False` to read it as the token), so
    `decode(encode(text), skip_special_tokens=True) == text` holds for any text. The same texts give the same tokenizer.

    Args:
        texts: The texts to learn the merges from; they are read once.
        vocab_size: Tokens in the vocabulary, bytes and special tokens included, at least 260. Texts that do not hold
            so many different pairs give a smaller vocabulary, which is logged.

    Returns:
        The tokenizer; `save_pretrained` writes it and `AutoTokenizer.from_pretrained` reads it.

    Raises:
        ConfigError: `vocab_size` does not hold the bytes and the special tokens.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    smallest = len(SPECIAL_TOKENS) + len(alphabet)
    if vocab_size < smallest:
        raise ConfigError(
            f"vocab_size: expected at least {smallest} ({len(alphabet)} bytes and {len(SPECIAL_TOKENS)} special "
            f"tokens), got {vocab_size}."
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer=trainer)
    if backend.get_vocab_size() < vocab_size:
        logger.warning("vocab_size=%d: the texts give %d tokens only", vocab_size, backend.get_vocab_size())
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", SPECIAL_TOKENS.index("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
    )
