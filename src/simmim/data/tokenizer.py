"""Train a byte-level tokenizer, which gives back every text exactly, and choose what a tokenizer puts around a text."""

import logging
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from simmim.data.unicode import check_text
from simmim.errors import ConfigError

__all__ = ["SPECIAL_TOKENS", "begin_with_start_token", "end_with_end_token", "train_tokenizer", "vocabulary_size"]

logger = logging.getLogger(__name__)

# Their indices in this list are their ids.
SPECIAL_TOKENS = ["<pad>", "<s>", "</s>", "<mask>"]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train byte-pair encoding over the bytes of the texts.

    Every text can be encoded, as all 256 bytes are in the vocabulary; `</s>` is appended to it, as encoders read it
    (`begin_with_start_token` changes that for a causal language model). What looks like a special token inside a text
    is text (pass `split_special_tokens=False` to read it as the token), so
    `decode(encode(text), skip_special_tokens=True) == text` holds for any text. The same texts give the same tokenizer.

    Tokens for a text of one's own are added with `add_tokens(["<ORG>"])`. Those of `add_special_tokens` are read by
    `simmim.data.control_tokens.encode_plain_text`, thus everywhere in SimMIM, but a call of the tokenizer itself splits
    them, too: it can only split every special token or none.

    Args:
        texts: The texts to learn the merges from; they are read once.
        vocab_size: Tokens in the vocabulary, bytes and special tokens included, at least 260. Texts that do not hold
            so many different pairs give a smaller vocabulary, which is logged.

    Returns:
        The tokenizer; `save_pretrained` writes it and `AutoTokenizer.from_pretrained` reads it.

    Raises:
        DataError: One of the texts is no string, or no valid Unicode.
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
    backend.train_from_iterator(_checked(texts), trainer=trainer)
    if backend.get_vocab_size() < vocab_size:
        logger.warning("vocab_size=%d: the texts give %d tokens only", vocab_size, backend.get_vocab_size())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
    )
    end_with_end_token(tokenizer)
    return tokenizer


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the rows that an embedding needs for a tokenizer: its largest id and one.

    `len(tokenizer)` counts the tokens, which are fewer if ids are missing between them.
    """
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, start=1):
        check_text(f"text {number}", text)
        yield text


def end_with_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a tokenizer end each text with its end token and put nothing before it, as an encoder reads documents.

    A tokenizer that ends texts with that token already is left as it is, and so is one that has none.
    """
    end = tokenizer.eos_token
    if end is None or tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id:
        return
    _set_template(tokenizer, ["$A", end], ["$A", end, "$B", end], end, "right")


def begin_with_start_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a tokenizer begin each text with its start token and put nothing behind it, as a causal model continues it.

    With an end token behind every prompt a model has nothing left to write. The end of a document is put there by what
    encodes documents for training. Batches are padded on the left, so that every prompt ends where the model goes on.
    A tokenizer that does so already is left as it is, and so is one that has no such token.
    """
    start = tokenizer.bos_token
    around = tokenizer("a")["input_ids"]
    if start is None or (around[0] == tokenizer.bos_token_id and around[-1] != tokenizer.eos_token_id):
        return
    _set_template(tokenizer, [start, "$A"], [start, "$A", start, "$B"], start, "left")


def _set_template(
    tokenizer: PreTrainedTokenizerBase, single: list[str], pair: list[str], token: str, side: str
) -> None:
    """Set what a fast tokenizer puts around texts and on which side it pads them."""
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(token, tokenizer.convert_tokens_to_ids(token))]
    )
    for name in ("add_bos_token", "add_eos_token"):  # where they are saved, loading makes the template anew
        if name in tokenizer.init_kwargs:
            tokenizer.init_kwargs[name] = token == getattr(tokenizer, f"{name[4:7]}_token")
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = side
