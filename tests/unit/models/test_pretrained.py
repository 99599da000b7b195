"""The trained models, of the package and of `lab`, load, are small enough to ship, may be passed on, and write."""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

from lab.pretrained import LANGUAGE_MODEL
from simmim import CheckpointError, pretrained_path
from simmim.data.chat_template import add_chat_template
from simmim.data.redistribution import check_redistributable
from simmim.data.tokenizer import train_tokenizer
from simmim.models.pretrained import SUMMARISER
from simmim.tasks.dialogue.chat import Chat
from simmim.tasks.language_modelling.bits_per_byte import score_texts
from simmim.tasks.language_modelling.examples import encode_text

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("folder", [pretrained_path(SUMMARISER), LANGUAGE_MODEL], ids=lambda folder: folder.name)
def test_shipped_models_are_small_bf16_safetensors_with_their_card_and_recipe(folder: Path) -> None:
    weights = folder / "model.safetensors"
    assert weights.stat().st_size <= 16_000_000
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}
    names = {"README.md", "config.json", "recipe.yaml", "tokenizer.json", "versions.json"}
    assert names <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "config.json").read_text())["model_type"] == "simmim"
    check_redistributable(folder)


def test_shipped_model_names_what_it_reads_about() -> None:
    """Each of two held-out texts gets a summary with its own name and without the other's, in one batch."""
    tokenizer = AutoTokenizer.from_pretrained(pretrained_path())
    model = AutoModelForSeq2SeqLM.from_pretrained(pretrained_path(), dtype=torch.float32).eval()
    names = {"aptitude-doc-en": "aptitude", "python3-mistralclient": "Mistral"}
    texts = [(EXAMPLES / f"{file}.txt").read_text(encoding="utf-8") for file in names]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    written = tokenizer.batch_decode(
        model.generate(**inputs, num_beams=4, max_new_tokens=32, do_sample=False), skip_special_tokens=True
    )
    found = [[name in summary for name in names.values()] for summary in written]
    assert found == [[True, False], [False, True]], written


def test_shipped_language_model_has_learnt_english_and_turns() -> None:
    """A held-out text costs it less than xz, and much less than the same words in another order; a reply ends."""
    tokenizer = AutoTokenizer.from_pretrained(LANGUAGE_MODEL)
    model = AutoModelForCausalLM.from_pretrained(LANGUAGE_MODEL, dtype=torch.float32).eval()
    text = (EXAMPLES / "python3-mistralclient.txt").read_text(encoding="utf-8")
    disordered = " ".join(sorted(text.split(), key=lambda word: word[::-1]))
    bits = {place: costs.bits.sum() for place, costs in score_texts(model, tokenizer, [text, disordered])}
    assert bits[0] < 8 * len(lzma.compress(text.encode(), preset=9))
    assert bits[0] < 0.8 * bits[1]
    torch.manual_seed(0)
    reply = Chat(model, tokenizer).reply("Who is there?", do_sample=True, top_p=0.9, max_new_tokens=200)
    assert reply.complete
    assert reply.text.strip()


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(CheckpointError, match=r"\(software-summaries\), got 'nothing'"):
        pretrained_path("nothing")


def test_shipped_language_model_goes_on_with_prompts_in_a_plain_pipeline() -> None:
    """Behind a prompt stands nothing that ends it, and a batch, padded on the left, writes what each writes alone."""
    tokenizer = AutoTokenizer.from_pretrained(LANGUAGE_MODEL)
    model = AutoModelForCausalLM.from_pretrained(LANGUAGE_MODEL, dtype=torch.float32).eval()
    prompts = ["The manual page", "To be, or not to be", "The option --help prints"]
    assert [ids[0] for ids in tokenizer(prompts)["input_ids"]] == [tokenizer.bos_token_id] * 3
    writes = pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
    settings = {"do_sample": False, "max_new_tokens": 6, "return_full_text": False}
    alone = [writes(prompt, **settings)[0]["generated_text"] for prompt in prompts]
    assert all(text.strip() for text in alone)
    assert [[found] for found in alone] == [
        [row["generated_text"] for row in rows] for rows in writes(prompts, batch_size=3, **settings)
    ]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    rows = model.generate(**inputs, do_sample=False, max_new_tokens=6)[:, inputs["input_ids"].shape[1] :]
    assert tokenizer.batch_decode(rows, skip_special_tokens=True) == alone
    assert tokenizer.chat_template == _chat_template()


def test_documents_are_read_as_they_were_when_figures_were_published() -> None:
    tokenizer = AutoTokenizer.from_pretrained(LANGUAGE_MODEL)
    text = (EXAMPLES / "python3-mistralclient.txt").read_text(encoding="utf-8")
    [ids] = encode_text(tokenizer, [text])
    assert hashlib.sha256(np.array(ids, dtype="<i4").tobytes()).hexdigest()[:16] == "113ed58faca7eaef"


def _chat_template() -> str:
    tokenizer = train_tokenizer([], 260)
    add_chat_template(tokenizer)
    return str(tokenizer.chat_template)
