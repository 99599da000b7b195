"""Tests that `simmim.pipeline` gives summaries in the form that transformers' pipelines had."""

import shutil
import subprocess
import sys

import pytest
import torch

import simmim
from simmim.errors import CheckpointError, ConfigError, DataError
from simmim.tasks.checkpoints import load_model
from simmim.tasks.summarization.generation import summaries

TEXTS = ["editor", "server client fast " * 12, "image " * 30]


@pytest.fixture
def summarizer(tiny_model):
    return simmim.pipeline("summarization", tiny_model, device="cpu", max_new_tokens=5, num_beams=2)


@pytest.fixture
def varied(summarizer):
    """Return a pipeline whose model writes about every text something else."""
    for weight in summarizer.model.parameters():
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=0.5)
    return summarizer


def test_a_text_gives_a_list_of_one_dictionary(summarizer, tiny_model):
    [result] = summarizer(TEXTS[1])
    model, tokenizer = load_model(tiny_model)
    [(_, expected)] = summaries(model, tokenizer, [TEXTS[1]], num_beams=2, max_new_tokens=5)
    assert result == {
        "summary_text": expected.text,
        "complete": expected.complete,
        "source_tokens": len(tokenizer(TEXTS[1])["input_ids"]),
    }


def test_texts_give_a_flat_list_in_their_order_whatever_the_batch(varied):
    alone = [varied(text)[0] for text in TEXTS]
    assert len({result["summary_text"] for result in alone}) == len(TEXTS)
    for size in (1, 2, 3):
        assert varied(TEXTS, batch_size=size) == alone
    assert varied(tuple(TEXTS)) == alone
    assert varied([]) == []
    assert [found for [found] in varied(text for text in TEXTS)] == alone


def test_several_summaries_of_a_text_stay_together(varied):
    results = varied(TEXTS, num_beams=3, num_return_sequences=2, batch_size=2)
    assert [len(found) for found in results] == [2, 2, 2]
    assert len(varied(TEXTS[0], num_beams=3, num_return_sequences=2)) == 2
    assert [found[0]["source_tokens"] for found in results] == [r["source_tokens"] for r in varied(TEXTS)]


def test_arguments_of_generation_count_call_over_pipeline_over_model(varied):
    def tokens(**settings):
        [result] = varied(TEXTS[1], num_beams=1, **settings)
        return len(varied.tokenizer(result["summary_text"])["input_ids"]), result["complete"]

    assert tokens()[1] is False
    short, long = tokens(max_new_tokens=2), tokens(max_new_tokens=40, min_new_tokens=30)
    assert short[0] < long[0]
    assert tokens(max_length=3) == short  # the start token counts there
    [sampled] = varied(TEXTS[0], do_sample=True, num_beams=1, return_dict_in_generate=True)
    assert set(sampled) == {"summary_text", "complete", "source_tokens"}
    with pytest.raises(ValueError, match="max_new_token"):
        varied(TEXTS[0], max_new_token=3)


def test_what_is_no_text_is_refused(summarizer):
    with pytest.raises(DataError, match="inputs: expected texts .*, got a blank one"):
        summarizer(" \n")
    for wrong in (3, ["one", None]):
        with pytest.raises(DataError, match="inputs: expected texts .*, got (int|NoneType)"):
            summarizer(wrong)


def test_a_text_is_refused_not_cut_where_the_model_has_a_limit(summarizer):
    summarizer.tokenizer.model_max_length = 20
    with pytest.raises(DataError, match=r"expected at most 20 tokens, .* got \d+"):
        summarizer(TEXTS[1])


def test_an_unknown_task_or_model_is_named(tmp_path, tiny_model):
    with pytest.raises(ConfigError, match="task: expected one of summarization, translation; got 'summarize'"):
        simmim.pipeline("summarize")
    with pytest.raises(CheckpointError, match="got 'nobody/nothing', which is no folder and cannot be fetched"):
        simmim.pipeline("summarization", "nobody/nothing")
    with pytest.raises(CheckpointError, match="absent does not exist or is no folder"):
        simmim.pipeline("summarization", tmp_path / "absent")
    broken = shutil.copytree(tiny_model, tmp_path / "model")
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="model: cannot load the weights"):
        simmim.pipeline("summarization", str(broken))
    with pytest.raises(ConfigError, match="device: expected one of cpu"):
        simmim.pipeline("summarization", tiny_model, device="nonsense")
    assert simmim.pipeline("summarization", tiny_model, device=-1).device.type == "cpu"


def test_the_model_that_comes_with_the_package_is_the_default():
    [result] = simmim.pipeline("summarization")("This package draws graphs from text files.", num_beams=1)
    assert result["complete"]
    assert len(result["summary_text"].split()) > 1


def test_importing_simmim_does_not_import_what_a_pipeline_needs():
    code = "import sys, simmim; sys.exit('transformers.pipelines.base' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=600).returncode == 0
