"""Conversations become ids whose labels are the replies alone, for one speaker or for each."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from simmim import SimMIMConfig, SimMIMForCausalLM
from simmim.data.chat_template import add_chat_template
from simmim.data.tokenizer import train_tokenizer
from simmim.errors import ConfigError, DataError
from simmim.tasks.dialogue.examples import each_speaker_replies, tokenize_conversations


def message(role: str, content: str, name: str | None = None) -> dict[str, Any]:
    return {"role": role, "content": content, "name": name}


PLAY = [
    message("user", "Who's there?", "Bernardo"),
    message("assistant", "Nay, answer me.", "Francisco"),
    message("user", "Long live the king!", "Bernardo"),
    message("assistant", "Bernardo?", "Francisco"),
    message("user", "He.", "Bernardo"),
]
PLAIN = [message("system", "Be brief."), message("user", "Hello."), message("assistant", "Yes?")]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    made = train_tokenizer(["user assistant system"] * 3, 280)
    add_chat_template(made)
    return made


def rows(*conversations: list[dict[str, Any]]) -> Dataset:
    return Dataset.from_dict({"messages": list(conversations), "group": ["g"] * len(conversations)})


def test_labels_are_the_replies_with_their_ends(tokenizer: Any) -> None:
    tokenized = tokenize_conversations(rows(PLAY, PLAIN), tokenizer)

    assert tokenized.column_names == ["input_ids", "labels", "length"]
    for row, conversation, said in zip(
        tokenized, (PLAY, PLAIN), ("Nay, answer me.<|end|>Bernardo?<|end|>", "Yes?<|end|>"), strict=True
    ):
        assert tokenizer.decode(row["input_ids"]) == tokenizer.apply_chat_template(conversation, tokenize=False)
        assert tokenizer.decode([label for label in row["labels"] if label != -100]) == said
        assert all(label in (-100, token) for label, token in zip(row["labels"], row["input_ids"], strict=True))
        assert row["length"] == len(row["input_ids"])


def test_a_model_learns_the_replies_alone(tokenizer: Any) -> None:
    tokenized = tokenize_conversations(rows(PLAY), tokenizer).with_format("torch")[0]
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
    model = SimMIMForCausalLM(SimMIMConfig(vocab_size=len(tokenizer), segment_length=8, **sizes))
    ids, labels = tokenized["input_ids"][None], tokenized["labels"][None]
    loss = model(ids, labels=labels).loss
    logits = model(ids).logits[0, :-1]
    wanted = labels[0, 1:] != -100
    expected = -logits.log_softmax(-1)[wanted].gather(1, labels[0, 1:][wanted, None]).mean()
    assert loss.item() == pytest.approx(expected.item())


def test_each_speaker_replies_to_the_others(tokenizer: Any) -> None:
    repeated = each_speaker_replies(rows(PLAY, PLAIN, PLAY[:1]))

    assert repeated.column_names == ["messages", "group"]
    roles = [[one["role"] for one in row["messages"]] for row in repeated]
    assert roles == [
        ["assistant", "user", "assistant", "user", "assistant"],  # Bernardo, who opens
        ["user", "assistant", "user", "assistant"],  # Francisco; what comes after his last turn is left out
        ["system", "user", "assistant"],  # no names: as it was
    ]  # and who speaks alone has nothing to reply to
    assert [one["content"] for one in repeated[0]["messages"]] == [one["content"] for one in PLAY]
    assert all(one["name"] for one in repeated[0]["messages"])
    assert not any(one["name"] for one in repeated[1]["messages"])
    learnt = [label for row in tokenize_conversations(repeated, tokenizer) for label in row["labels"] if label != -100]
    said = [one["content"] + "<|end|>" for one in [*PLAY, PLAIN[-1]]]
    assert sorted(tokenizer.decode(learnt)) == sorted("".join(said)), "every turn is learnt once"


def test_what_cannot_be_learnt_from_is_refused(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="row 1: chat template: messages: message 1: expected the role system, user or"):
        tokenize_conversations(rows(PLAY, [message("narrator", "x"), PLAY[1]]), tokenizer)
    with pytest.raises(DataError, match="row 0: expected a message with the role assistant, got none to learn from"):
        tokenize_conversations(rows(PLAY[:1]), tokenizer)
    other = train_tokenizer(["x"], 260)
    with pytest.raises(ConfigError, match="tokenizer: expected one with a chat template, this one has none; give it"):
        tokenize_conversations(rows(PLAY), other)
    other.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(ConfigError, match="expected a chat template that marks what the assistant says"):
        tokenize_conversations(rows(PLAY), other)
