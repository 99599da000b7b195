"""The task `dialogue`: a recipe becomes a model that chats, from nothing or from a language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from transformers import AutoModelForCausalLM

from lab.corpora.conversations import Conversation, from_turns
from lab.corpora.splits import Text
from simmim import DataError
from simmim.data import corpora
from simmim.data.chat_template import turn_end_ids
from simmim.data.corpora import SPLITS
from simmim.data.tokenizer import train_tokenizer
from simmim.tasks.checkpoints import load_model
from simmim.tasks.dialogue.chat import Chat
from simmim.tasks.training.sections import Recipe
from simmim.train.run_config import load_recipe
from simmim.train.tasks import TASKS
from simmim.train.trainer import train

TALK = [{"role": "user", "content": "who is there"}, {"role": "assistant", "content": "it is the king", "name": "B"}]


def recipe_of(folder: Path, **changes: Any) -> Recipe:
    rows = folder / "talk.jsonl"
    rows.write_text(json.dumps({"messages": TALK}) + "\n" + json.dumps({"messages": TALK * 3}) + "\n")
    entries = {
        "task": "dialogue",
        "data": {"train": str(rows), "validation": str(rows), "sequence_length": 64},
        "tokenizer": {"vocab_size": 270},
        "output_dir": str(folder / "run"),
        "model": {
            **{"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "segment_length": 8},
            "num_hidden_layers": 1,
        },
        "training": {"max_steps": 2, "per_device_train_batch_size": 2, "save_steps": 2, "use_cpu": True},
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in entries.items() if value is not None}))
    return load_recipe(path)


def test_a_recipe_becomes_a_model_that_chats(tmp_path: Path) -> None:
    model, tokenizer = load_model(train(recipe_of(tmp_path)), "cpu", auto_class=AutoModelForCausalLM)

    assert model.generation_config.eos_token_id == model.config.eos_token_id == turn_end_ids(tokenizer)
    assert model.config.vocab_size == len(tokenizer)
    reply = Chat(model, tokenizer).reply("who is there", max_new_tokens=4, do_sample=False)
    assert reply.context_tokens > 4


def test_a_language_model_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    texts = tmp_path / "texts.jsonl"
    texts.write_text(json.dumps({"text": "the king is there, and who is it"}) + "\n")
    data = {"train": str(texts), "validation": str(texts), "sequence_length": 16}
    first = train(recipe_of(tmp_path / "first", task="language-modelling", data=data))
    before, plain = load_model(first, "cpu", auto_class=AutoModelForCausalLM)
    assert plain.chat_template is None

    second = train(recipe_of(tmp_path, tokenizer=None, model=None, init_from=str(first)))
    model, tokenizer = load_model(second, "cpu", auto_class=AutoModelForCausalLM)

    assert len(tokenizer) == len(plain) + 3
    assert model.get_input_embeddings().num_embeddings == before.get_input_embeddings().num_embeddings + 3
    assert Chat(model, tokenizer).reply("who", max_new_tokens=4, do_sample=False).new_tokens <= 4


def test_a_corpus_is_learnt_as_every_speaker_replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Conversation(from_turns([("A", "one"), ("B", "two"), ("A", "three"), ("C", "four")]), "g", "n")
    builder = corpora.Corpus(lambda: ({split: [scene] for split in SPLITS}, {}), "plays")
    monkeypatch.setitem(corpora.CORPORA, "plays", builder)
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))
    task = TASKS.find("dialogue")(recipe_of(tmp_path, data={"corpus": "plays", "sequence_length": 64}))

    splits = task.load()
    assert len(splits["train"]) == 3
    assert {"user A", "assistant A", "three"} <= set(task.texts(splits["train"]))


def test_texts_are_mixed_in_and_learnt_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Conversation(from_turns([("A", "one"), ("B", "two")]), "g", "n")
    essay = Text("the king is here", "g", "n")
    for name, row in (("plays", scene), ("essays", essay)):
        builder = corpora.Corpus(lambda row=row: ({split: [row] for split in SPLITS}, {}), name)
        monkeypatch.setitem(corpora.CORPORA, name, builder)
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))
    task = TASKS.find("dialogue")(recipe_of(tmp_path, data={"corpus": ["essays", "plays"], "sequence_length": 64}))
    rows = task.load()["train"]
    texts = list(task.texts(rows))
    assert "the king is here" in texts
    assert "two" in texts
    tokenizer = task.prepare(train_tokenizer(texts, 270))

    learnt = [
        (tokenizer.decode([token for token in row["labels"] if token >= 0]), row["length"] - len(row["labels"]))
        for row in task.rows_of(rows, tokenizer)
    ]

    assert learnt == [("two<|end|>", 0), ("<s>the king is here</s>", 0)]


def test_a_corpus_of_neither_is_refused(tmp_path: Path) -> None:
    task = TASKS.find("dialogue")(recipe_of(tmp_path))
    with pytest.raises(DataError, match=r"corpus names: expected the column text \(or document\), got name"):
        task.columns(Dataset.from_dict({"name": ["one"]}), "names")
