"""Folders with tiny models of random weights that translate: SimMIM's, MarianMT, M2M100, NLLB, T5, chat and pairs."""

import io
import json
import warnings

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from simmim import SimMIMConfig, SimMIMForConditionalGeneration
from simmim.data.tokenizer import train_tokenizer, vocabulary_size
from simmim.tasks.translation.vocabulary import add_translation_tokens

TEXTS = ["the house is red and the cat is old", "la maison est rouge et le chat est vieux"] * 20


def simmim(folder, languages=("fr", "en"), texts=TEXTS):
    """Save a model of SimMIM's task `translation`."""
    tokenizer = train_tokenizer(texts, 300)
    add_translation_tokens(tokenizer, languages)
    config = SimMIMConfig(
        vocab_size=vocabulary_size(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_decoder_layers=1,
        num_attention_heads=2,
        segment_length=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
    )
    return _saved(folder, SimMIMForConditionalGeneration(config), tokenizer)


def marian(folder, targets=()):
    """Save a MarianMT model; with several target languages their tags are tokens such as `>>fra<<`."""
    pieces = _pieces(folder)
    vocabulary = {token: place for place, token in enumerate(["</s>", "<unk>", *pieces, *targets, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    model = folder / "source.spm"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")
        tokenizer = MarianTokenizer(
            str(model), str(model), str(folder / "vocab.json"), source_lang="en", target_lang="fr"
        )
    size = len(vocabulary)
    config = MarianConfig(
        vocab_size=size,
        **_small(),
        max_position_embeddings=64,
        pad_token_id=size - 1,
        eos_token_id=0,
        decoder_start_token_id=size - 1,
        forced_eos_token_id=0,
    )
    return _saved(folder, MarianMTModel(config), tokenizer)


def m2m100(folder):
    """Save an M2M100 model."""
    pieces = _pieces(folder)
    vocabulary = {token: place for place, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "source.spm"))
    config = M2M100Config(vocab_size=300, **_small(), max_position_embeddings=128)  # languages are behind the pieces
    return _saved(folder, M2M100ForConditionalGeneration(config), tokenizer)


def nllb(folder):
    """Save an NLLB model, which is an M2M100 with another tokenizer."""
    characters = [*sorted(set("".join(TEXTS)) - {" "}), "▁"]
    vocabulary = {token: place for place, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *characters])}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[])
    config = M2M100Config(vocab_size=len(tokenizer) + 8, **_small(), max_position_embeddings=128)
    return _saved(folder, M2M100ForConditionalGeneration(config), tokenizer)


def t5(folder):
    """Save a T5 model, which is told the languages in words."""
    tokenizer = train_tokenizer(TEXTS, 300)
    config = T5Config(
        vocab_size=vocabulary_size(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return _saved(folder, T5ForConditionalGeneration(config), tokenizer)


def chat(folder, template=True):
    """Save a causal model with a chat template."""
    backend = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", bos_token="<|im_start|>")
    if template:
        tokenizer.chat_template = (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=None,
    )
    return _saved(folder, LlamaForCausalLM(config), tokenizer)


def pairs(folder, directions=("en-fr", "fr-en"), longest=200):
    """Save a causal model that reads pairs of blocks, as the default model does."""
    chat(folder, template=False)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["translation_pairs"] = {"directions": list(directions), "longest": longest}
    path.write_text(json.dumps(config))
    return folder


def _small():
    return {
        **{"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2},
        **{"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
    }


def _pieces(folder):
    """Train a sentencepiece model into the folder and return its pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=stream, vocab_size=40, hard_vocab_limit=False, minloglevel=2
    )
    (folder / "source.spm").write_bytes(stream.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=stream.getvalue())
    found = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    return [piece for piece in found if piece not in ("<unk>", "<s>", "</s>")]


def _saved(folder, model, tokenizer):
    torch.manual_seed(0)
    # Random weights never end a text: after some tokens the end becomes more likely with each.
    model.generation_config.exponential_decay_length_penalty = (8, 1.6)
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
