"""A trimmed model is the same on texts of its tokens, and loses no other text."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from simmim.errors import ConfigError
from simmim.tasks.trimmed_vocabulary import closed_vocabulary, trim_model, trim_tokenizer

_ENGLISH = "the house on the hill is old and the other houses there are older still"
_FRENCH = "la maison sur la colline est vieille et les autres maisons y sont encore plus vieilles"


def _tokenizer():
    """Make a tokenizer of byte pairs as Gemma's is: words begin with a bar, bytes to fall back on."""
    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    backend.train_from_iterator([_ENGLISH, _FRENCH] * 3, trainer)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )


@pytest.fixture(scope="module")
def both():
    """Give the whole tokenizer, the one trimmed to English, and the tokens that were kept."""
    tokenizer = _tokenizer()
    kept = closed_vocabulary(tokenizer, tokenizer(_ENGLISH)["input_ids"], "xyz")
    return tokenizer, trim_tokenizer(tokenizer, kept), kept


def test_texts_of_the_kept_tokens_are_tokenized_the_same(both):
    whole, trimmed, kept = both
    assert len(trimmed) == len(kept) < len(whole)
    assert [kept[index] for index in trimmed(_ENGLISH)["input_ids"]] == whole(_ENGLISH)["input_ids"]
    assert len(trimmed(_FRENCH)["input_ids"]) > len(whole(_FRENCH)["input_ids"])
    assert trimmed.bos_token == "<bos>"
    assert kept[trimmed.eos_token_id] == whole.eos_token_id


@given(st.lists(st.sampled_from([*_ENGLISH.split(), "house", "maison", "", "est"]), max_size=6))
def test_a_text_is_tokenized_the_same_if_its_tokens_were_kept(both, words):
    whole, trimmed, kept = both
    text = " ".join(words)
    ids = whole(text)["input_ids"]
    assert ([kept[index] for index in trimmed(text)["input_ids"]] == ids) == (set(ids) <= set(kept))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=40))
def test_no_text_is_lost(both, text):
    _, trimmed, _ = both
    ids = trimmed(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert trimmed.decode(ids) == text


def test_logits_of_the_kept_tokens_are_the_same(both):
    whole, trimmed, kept = both
    torch.manual_seed(0)
    ends = [1, whole("y", add_special_tokens=False)["input_ids"][0]]
    config = LlamaConfig(
        vocab_size=len(whole),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=list(ends),
    )
    model = LlamaForCausalLM(config).eval()
    ids = torch.tensor([whole(_ENGLISH)["input_ids"]])
    with torch.no_grad():
        before = model(ids).logits[..., kept]
        trim_model(model, kept)
        after = model(torch.tensor([trimmed(_ENGLISH)["input_ids"]])).logits
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)
    assert model.config.vocab_size == len(kept)
    assert [kept[index] for index in model.generation_config.eos_token_id] == ends


def test_what_cannot_be_trimmed_is_refused(both):
    whole, _, kept = both
    backend = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    with pytest.raises(ConfigError, match=r"expected one of byte pairs \(BPE\)"):
        closed_vocabulary(PreTrainedTokenizerFast(tokenizer_object=backend), [0], "")
    config = LlamaConfig(
        vocab_size=len(whole), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    with pytest.raises(ConfigError, match="expected output weights that are tied"):
        trim_model(LlamaForCausalLM(config), kept)
