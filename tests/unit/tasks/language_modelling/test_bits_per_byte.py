"""A document costs what one pass over all of it says, however long it is, in parts of any size."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from simmim import SimMIMForCausalLM
from simmim.data.chat_template import add_chat_template
from simmim.data.tokenizer import train_tokenizer
from simmim.errors import ConfigError
from simmim.tasks.dialogue.examples import tokenize_conversations
from simmim.tasks.language_modelling.bits_per_byte import byte_ends, score_replies, score_texts
from support import small_config

TEXTS = ["a tree stands by the sea " * 2, "sea", "the 樹 stands, naïvely 🌲! " * 2, "x"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a tree stands by the sea the"] * 3, 280)


def model_of(**changes):
    model = SimMIMForCausalLM(small_config(vocab_size=300, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4)
    return model.double().eval()


def alone(model, ids, start=0, end=None):
    """Return the nats of the tokens after each of ids[start:end], read in one pass that begins there."""
    piece = torch.tensor([ids[start:end]])
    with torch.no_grad():
        logits = model(piece[:, : len(ids) - 1 - start], use_cache=False).logits[0]
    targets = torch.tensor(ids[start + 1 : start + 1 + len(logits)])
    return -logits.log_softmax(-1).gather(1, targets[:, None])[:, 0].numpy()


@pytest.mark.parametrize("changes", [{}, {"state_reach": "pyramid", "segment_shift": 4}, {"state_read": "broadcast"}])
@pytest.mark.parametrize("chunk", [13, 4096])
def test_parts_and_packing_change_nothing(tokenizer, changes, chunk):
    model = model_of(**changes)
    found = dict(score_texts(model, tokenizer, TEXTS, chunk=chunk))
    assert sorted(found) == [0, 1, 2, 3]
    for place, text in enumerate(TEXTS):
        ids = [1, *tokenizer(text, add_special_tokens=False)["input_ids"], 2]
        np.testing.assert_allclose(found[place].nats, alone(model, ids), rtol=1e-5)
        assert found[place].bytes == len(text.encode())
        np.testing.assert_allclose(found[place].bits.sum() * math.log(2), found[place].nats.sum())


@pytest.mark.parametrize(("context", "chunk"), [(1, 4096), (6, 9), (20, 9)])
def test_forgotten_context_is_not_read(tokenizer, context, chunk):
    model = model_of()
    found = dict(score_texts(model, tokenizer, TEXTS, context=context, chunk=chunk))
    for place, text in enumerate(TEXTS):
        ids = [1, *tokenizer(text, add_special_tokens=False)["input_ids"], 2]
        expected = [alone(model, ids, start, start + context) for start in range(0, len(ids) - 1, context)]
        np.testing.assert_allclose(found[place].nats, np.concatenate(expected), rtol=1e-5)


def test_a_model_of_another_kind_is_read_document_by_document(tokenizer):
    from transformers import GPT2Config

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=2, n_positions=256, bos_token_id=1, eos_token_id=2)
    model = AutoModelForCausalLM.from_config(config).eval()
    found = dict(score_texts(model, tokenizer, TEXTS, chunk=30))
    for place, text in enumerate(TEXTS):
        ids = [1, *tokenizer(text, add_special_tokens=False)["input_ids"], 2]
        np.testing.assert_allclose(found[place].nats, alone(model, ids), rtol=1e-3)


def test_bytes_are_counted_where_tokens_end(tokenizer):
    text = "sea 樹 é🌲 x"
    ends = byte_ends(tokenizer, text)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ends) == len(ids) + 1
    assert ends[-1] == ends[-2] == len(text.encode())
    assert (np.diff(ends) >= 0).all()
    # a token that ends a character ends where the decoded tokens before it do
    for count in range(1, len(ids)):
        decoded = tokenizer.decode(ids[:count])
        if "\ufffd" not in decoded:
            assert ends[count - 1] == len(decoded.encode())
    plain = byte_ends(tokenizer, "a tree")
    assert plain.tolist()[-2:] == [6, 6]


def test_what_cannot_be_measured_is_refused(tokenizer, tiny_language_model):
    with pytest.raises(ConfigError, match="context: expected at least 1 token, got 0"):
        list(score_texts(model_of(), tokenizer, TEXTS, context=0))
    nameless = AutoTokenizer.from_pretrained(tiny_language_model)
    nameless.bos_token = None
    with pytest.raises(ConfigError, match="expected one with a start and an end token"):
        list(score_texts(model_of(), nameless, TEXTS))


def said(role, content, name=None):
    return {"role": role, "content": content, "name": name}


TALKS = [
    [
        said("user", "樹 or sea?", "Ann"),
        said("assistant", "the 樹 🌲, naïvely", "Bo"),
        said("user", "sea " * 20, "Ann"),
    ],
    [
        said("system", "a tree"),
        said("user", "sea?"),
        said("assistant", "x"),
        said("user", "?"),
        said("assistant", "樹"),
    ],
]


@pytest.mark.parametrize("chunk", [9, 4096])
@pytest.mark.parametrize("context", [None, 7])
def test_replies_cost_what_a_model_loses_by_them(chunk, context):
    tokenizer = train_tokenizer(["a tree stands by the sea the"] * 3, 280)
    add_chat_template(tokenizer)
    model = model_of()
    found = dict(score_replies(model, tokenizer, TALKS, chunk=chunk, context=context))
    for place, (row, talk) in enumerate(zip(tokenize_conversations(dataset(TALKS), tokenizer), TALKS, strict=True)):
        ids, wanted = row["input_ids"], np.array(row["labels"][1:]) != -100
        step = context or len(ids)
        every = np.concatenate([alone(model, ids, start, start + step) for start in range(0, len(ids) - 1, step)])
        np.testing.assert_allclose(found[place].nats, np.where(wanted, every, 0), rtol=1e-5)
        replies = "".join(message["content"] for message in talk if message["role"] == "assistant")
        assert found[place].bytes == len(replies.encode())
        # bytes grow with the tokens of replies alone, and each of them ends where its text does
        grown = np.diff(found[place].ends, prepend=0)
        assert (grown[~wanted] == 0).all()
        tokens = [token for token, one in zip(ids[1:], wanted, strict=True) if one]
        plain = [tokenizer.decode(tokens[: n + 1], skip_special_tokens=True) for n in range(len(tokens))]
        whole = [n for n, text in enumerate(plain) if replies.startswith(text)]
        assert [int(grown[wanted][: n + 1].sum()) for n in whole] == [len(plain[n].encode()) for n in whole]


def dataset(talks):
    return Dataset.from_list([{"messages": talk} for talk in talks])


def test_added_tokens_of_a_reply_are_text_and_cost_bytes():
    tokenizer = train_tokenizer(["a tree stands by the sea the"] * 3, 280)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<ORG>"]})
    add_chat_template(tokenizer)
    talk = [said("user", "who? <ORG>?"), said("assistant", "the <ORG>")]
    [(_, costs)] = score_replies(model_of(), tokenizer, [talk])
    assert costs.bytes == len("the <ORG>")
