"""Tests that `simmim evaluate` measures a language model in bits per byte, with and without far context."""

import json
import math
import shutil

import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer
from typer.testing import CliRunner

from lab.reports.language import render_language_report
from simmim import SimMIMForCausalLM
from simmim.cli.main import app


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_a_language_model_is_measured_on_whole_documents(tiny_language_model, tmp_path):
    shutil.copytree(tiny_language_model, tmp_path / "other")
    out = tmp_path / "out.json"
    arguments = ("--context", 8, "--beside", tmp_path / "other", "--output", out)
    result = run(tiny_language_model, *arguments)
    assert result.exit_code == 0, result.stderr
    record = json.loads(out.read_text())
    file = tiny_language_model.parent.parent / "test-texts.jsonl"
    texts = [json.loads(line)["text"] for line in file.read_text().splitlines()]
    model, tokenizer = (
        SimMIMForCausalLM.from_pretrained(tiny_language_model),
        AutoTokenizer.from_pretrained(tiny_language_model),
    )
    bits = 0.0
    for text in texts:
        ids = torch.tensor([[1, *tokenizer(text, add_special_tokens=False)["input_ids"], 2]])
        with torch.no_grad():
            bits += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1) / math.log(2)
    size = sum(len(text.encode()) for text in texts)
    assert record["bits_per_byte"]["model"]["mean"] == pytest.approx(bits / size, abs=2e-4)
    assert (record["documents"], record["bytes"], record["kind"]) == (len(texts), size, "language-modelling")
    assert list(record["bits_per_byte"]) == ["model", "context 8", "other", "xz -9e"]
    assert record["differences"]["other"] == {"mean": 0, "low": 0, "high": 0}
    assert record["bits_per_byte"]["context 8"] != record["bits_per_byte"]["model"]
    assert record["systems"]["context 8"]["about"].endswith("model, the context forgotten every 8 tokens")
    assert "bits per byte by position" in result.stdout
    assert "context 8" in render_language_report(record)


def test_options_of_summaries_are_refused(tiny_language_model, tiny_model):
    result = run(tiny_language_model, "--num-beams", 4)
    assert result.exit_code == 1
    assert "--num-beams: the model writes no summaries; leave it out" in result.stderr
    result = run(tiny_model, "--context", 4)
    assert "--context: the model writes summaries, and reads documents in full; leave it out" in result.stderr


def test_a_file_must_hold_texts(tiny_language_model, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"document": "one"}) + "\n")
    result = run(tiny_language_model, "--file", file)
    assert result.exit_code == 1
    assert "`text` must be a text that is not blank, got no such field" in result.stderr


def test_a_model_of_summaries_cannot_stand_beside(tiny_language_model, tiny_model):
    result = run(tiny_language_model, "--beside", tiny_model)
    assert "expected a SimMIMForCausalLM, got a SimMIMForConditionalGeneration" in result.stderr


def talk_of(*lines):
    return [
        {"role": ("user", "assistant")[n % 2], "content": line, "name": "AB"[n % 2]} for n, line in enumerate(lines)
    ]


TALKS = [talk_of("who is there", "a user", "樹"), talk_of("the system", "asks " * 300, "what", "河流")]


def test_replies_in_a_file_are_measured(tiny_chat_model, tmp_path):
    file, out = tmp_path / "talks.jsonl", tmp_path / "out.json"
    file.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in TALKS))
    result = run(tiny_chat_model, "--file", file, "--context", 16, "--output", out)
    assert result.exit_code == 0, result.stderr
    record = json.loads(out.read_text())
    replies = "".join(message["content"] for talk in TALKS for message in talk if message["role"] == "assistant")
    assert (record["documents"], record["rows"], record["bytes"]) == (2, 2, len(replies.encode()))
    assert list(record["bits_per_byte"]) == ["model", "context 16"]
    assert sum(row["bytes"] for row in record["by_position"]) == record["bytes"]
    unwrapped = " ".join(result.stdout.split())  # the line may wrap, as it holds the path
    assert f"2 conversations, {record['bytes']:,} bytes of replies" in unwrapped
    page = render_language_report(record)
    for shown in (
        "what the assistant says in all conversations",
        "By position in the conversation",
        "2 conversations of",
    ):
        assert shown in page


def test_in_a_corpus_every_speaker_is_measured(tiny_chat_model, tmp_path, monkeypatch):
    rows = Dataset.from_list([{"messages": talk, "group": "g", "near_duplicate": False} for talk in TALKS])
    monkeypatch.setattr("simmim.data.corpora.load_corpus", lambda name: {"test": rows, "validation": rows})
    monkeypatch.setattr("simmim.data.corpora.load_manifest", lambda name: {})
    out = tmp_path / "out.json"
    result = run(tiny_chat_model, "--corpus", "plays", "--output", out)
    assert result.exit_code == 0, result.stderr
    record = json.loads(out.read_text())
    spoken = "".join(message["content"] for talk in TALKS for message in talk)
    assert (record["documents"], record["rows"], record["bytes"]) == (4, 2, len(spoken.encode()))
    assert "2 conversations, each as every speaker who replies in it" in result.stdout


def test_replies_need_a_chat_template(tiny_language_model, tmp_path):
    file = tmp_path / "talks.jsonl"
    file.write_text(json.dumps({"messages": TALKS[0]}) + "\n")
    result = run(tiny_language_model, "--file", file)
    assert result.exit_code == 1
    assert "tokenizer: expected one with a chat template, this one has none" in result.stderr
