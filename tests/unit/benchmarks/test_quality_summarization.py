"""The benchmark of summaries trains everything alike, goes on where it was stopped, and reports what it measured."""

import itertools
import json
import random

import pytest
import torch
from datasets import load_from_disk

from benchmarks import quality_report, quality_summarization
from benchmarks.measure import today
from benchmarks.quality_models import FORMS, Led, Size, build, parameters
from benchmarks.quality_training import batches
from lab.corpora.splits import Pair
from simmim.data import corpora
from simmim.errors import ConfigError, DataError
from simmim.nn.copy_head import CopyHead
from simmim.tasks.summarization.rouge import rouge, word_rule

SIZE = Size(
    vocab_size=300,
    hidden_size=64,
    intermediate_size=176,
    layers=2,
    decoder_layers=1,
    heads=2,
    segment_length=8,
    max_source_tokens=64,
    max_target_tokens=8,
    dropout=0.0,
)


@pytest.mark.parametrize("copy_head", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_models_are_of_one_size(form, copy_head):
    goal = parameters(build("simmim", SIZE, copy_head=copy_head))["compared"]
    counted = parameters(build(form, SIZE, copy_head=copy_head))
    assert abs(counted["compared"] / goal - 1) < 0.01
    assert (counted["positions"] > 0) == (form == "led")
    assert counted["total"] == counted["compared"] + counted["positions"]


def reach(form):
    """Return the places of a document that its first token's vector depends on."""
    torch.manual_seed(0)
    model = build(form, SIZE, copy_head=False).eval()
    vectors = torch.randn(1, 48, SIZE.hidden_size, requires_grad=True)
    if form == "led":
        mask = torch.zeros(1, 48)  # without the global token, which the text puts first
        encoded = model.get_encoder()(
            inputs_embeds=vectors, attention_mask=torch.ones(1, 48), global_attention_mask=mask
        )
    else:
        encoded = model.get_encoder()(inputs_embeds=vectors)
    encoded.last_hidden_state[0, 0].square().sum().backward()
    return vectors.grad[0].abs().sum(-1).nonzero().flatten().tolist()


def test_only_attention_differs():
    """Two layers: SimMIM and full attention reach everything, block-local two neighbours, LED two half windows."""
    assert reach("simmim") == reach("full") == list(range(48))
    assert reach("local") == list(range(24))
    assert reach("led") == list(range(25))


def test_led_gives_its_first_token_global_attention_when_it_trains_and_when_it_writes():
    torch.manual_seed(0)
    model = build("led", SIZE, copy_head=False).eval()
    assert isinstance(model, Led)
    seen = []
    encoder = model.get_encoder()
    encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["global_attention_mask"]), with_kwargs=True
    )
    ids = torch.randint(4, 300, (2, 30))
    model(input_ids=ids, labels=ids[:, :5].contiguous())
    model.generate(input_ids=ids, max_new_tokens=2, num_beams=2, do_sample=False)
    assert len(seen) == 2
    for mask in seen:
        assert mask[:, 0].tolist() == [1, 1]
        assert mask.sum() == 2


@pytest.mark.parametrize("form", FORMS)
def test_a_loss_without_logits_is_that_of_the_logits(form):
    torch.manual_seed(0)
    model = build(form, SIZE, copy_head=True).eval()
    ids = torch.randint(4, 300, (2, 30))
    labels = ids[:, 3:8].index_fill(1, torch.tensor([4]), -100)
    mask = torch.ones_like(ids).index_fill(1, torch.tensor([29]), 0)
    whole, alone = (model(ids, mask, labels=labels, skip_logits=skip).loss for skip in (False, True))
    torch.testing.assert_close(alone, whole)


@pytest.mark.parametrize("beams", [1, 2])
def test_led_makes_the_keys_of_what_it_copies_once_and_writes_what_forward_says(beams, monkeypatch):
    torch.manual_seed(0)
    model = build("led", SIZE, copy_head=True).eval()
    ids = torch.randint(4, 300, (2, 30))
    mask = torch.ones_like(ids).index_fill(1, torch.tensor([28, 29]), 0)
    made = []
    project = CopyHead.project_memory
    monkeypatch.setattr(CopyHead, "project_memory", lambda *given: made.append(given) or project(*given))
    settings = {"max_new_tokens": 5, "num_beams": beams, "do_sample": False, "early_stopping": beams > 1}
    written = model.generate(
        input_ids=ids, attention_mask=mask, output_logits=True, return_dict_in_generate=True, **settings
    )
    assert len(made) == 1
    logits = model(ids, mask, decoder_input_ids=written.sequences[:, :1]).logits[:, -1]
    torch.testing.assert_close(written.logits[0], logits.repeat_interleave(beams, dim=0))
    if beams == 1:
        logits = model(ids, mask, decoder_input_ids=written.sequences[:, :-1]).logits
        torch.testing.assert_close(torch.stack(written.logits, dim=1), logits)


def test_batches_are_full_of_like_lengths_and_lose_nothing():
    lengths = [random.Random(0).randint(5, 60) for _ in range(200)]
    order = batches(lengths, 128, seed=3)
    once: list[list[int]] = []
    while sum(map(len, once)) < 200:
        once.append(next(order))
    assert sorted(itertools.chain(*once)) == list(range(200))
    assert all(max(lengths[place] for place in batch) * len(batch) <= 128 for batch in once)
    padded = sum(max(lengths[place] for place in batch) * len(batch) for batch in once)
    assert padded < 1.15 * sum(lengths)
    assert next(batches(lengths, 128, seed=3)) == once[0]
    assert list(itertools.islice(order, len(once))) != once
    with pytest.raises(DataError, match="expected at least the longest document .60 tokens., got 50"):
        next(batches([*lengths, 60], 50, seed=0))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Register a corpus of made-up texts; return its name."""

    def pairs(split, count):
        drawn = random.Random(split)
        words = "river boat stone bridge water mill tower field road".split()
        texts = [" ".join(drawn.choices(words, k=drawn.randint(5, 60))) for _ in range(count)]
        return [
            Pair(document=text, summary=" ".join(text.split()[:3]), group=f"{split}{place // 2}", name=f"{place}")
            for place, text in enumerate(texts)
        ]

    def builder():
        counts = {"train": 24, "validation": 6, "test": 8}
        return {split: pairs(split, count) for split, count in counts.items()}, {"licence": "none"}

    monkeypatch.setitem(corpora.CORPORA, "made-up", corpora.Corpus(builder, "made-up texts"))
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))
    return "made-up"


def test_limits_are_one_number_or_one_for_each_corpus(corpus, tmp_path):
    options = ["--corpus", corpus, "--limit-train", "20", "30", "--work", str(tmp_path / "work")]
    with pytest.raises(ConfigError, match="--limit-train: expected one number, or one for each of 1 corpora, got"):
        quality_summarization.main(options)


@pytest.mark.slow
def test_a_run_trains_scores_and_goes_on(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality_summarization, "in_fresh_process", lambda function, *given: function(*given))
    monkeypatch.setattr(quality_report, "LONG", 48)
    monkeypatch.setenv("COLUMNS", "160")
    options = (
        f"--corpus {corpus} --limit-train 20 --max-source-tokens 48 --max-target-tokens 6 --vocab-size 270 --steps 2"
    )
    options += " --tokens-per-batch 96 --learning-rates 1e-3 1e-2 --hidden-size 16 --intermediate-size 24 --layers 1"
    options += " --decoder-layers 1 --heads 2 --segment-length 8 --beams 1 --threads 1"
    folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    quality_summarization.main([*options.split(), "--seeds", "0", "--copy", "both", *folders])

    stem = tmp_path / "out" / f"{today()}-quality-summarization-made-up"
    record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    assert stem.with_suffix(".png").stat().st_size > 10_000
    splits = record["data"]["corpora"][corpus]["splits"]
    assert splits["train"]["documents"] == 20
    assert splits["test"]["documents_cut"] > 0
    assert splits["test"]["longest_document"] == 48
    systems, scores = record["systems"], record["scores"][corpus]
    trained = ["simmim", "full", "local", "led", "simmim-copy", "full-copy", "local-copy", "led-copy"]
    assert list(scores) == [*trained, "lead", "textrank"]
    assert scores["lead"]["rouge"]["rouge1"]["mean"] > 50  # the summaries are the first three words
    seen = {systems[name]["trained"][0]["tokens"] for name in trained}
    assert len(seen) == 1  # all have read the same
    for name in trained:
        found = systems[name]
        losses = found["validation_loss_by_learning_rate"]
        assert losses[f"{found['learning_rate']:g}"] == min(losses.values()) == found["trained"][0]["validation_loss"]
        assert found["trained"][0]["tokens_per_second"] > 0
        assert "texts" not in found["written"][0]
    difference = scores["full"]["simmim_minus_this"]["rouge1"]["mean"]
    assert difference == pytest.approx(
        scores["simmim"]["rouge"]["rouge1"]["mean"] - scores["full"]["rouge"]["rouge1"]["mean"], abs=2e-3
    )
    assert f"--corpus {corpus} --limit-train 20" in record["command"]
    long = sum(tokens >= 48 for tokens in load_from_disk(str(tmp_path / "work" / "data" / "test"))["length"])
    assert 0 < record["long_documents"]["documents"] == long < 8
    shown = capsys.readouterr().out
    assert "LED" in shown
    assert f"{long} documents of 48 tokens or more, all corpora" in shown
    titles = [axes.get_title() for axes in quality_report.plot(record).axes]
    assert titles == [f"{corpus}, without the copy head", f"{corpus}, with the copy head", ""]

    # a second seed trains its own cells only
    monkeypatch.setattr("benchmarks.quality_training._fit", _counting_fit(fitted := []))
    quality_summarization.main([*options.split(), "--seeds", "0", "1", "--forms", "simmim", "--copy", "off", *folders])
    record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    again = record["systems"]["simmim"] | record["scores"][corpus]["simmim"]
    assert [cell.seed for cell in fitted] == [1]
    assert again["trained"][0] == systems["simmim"]["trained"][0]
    assert len(again["rouge_by_seed"]) == 2
    means = [one["rouge1"]["mean"] for one in again["rouge_by_seed"]]
    assert again["rouge"]["rouge1"]["mean"] == pytest.approx(sum(means) / 2, abs=2e-3)

    with pytest.raises(ConfigError, match="--steps: the cells in .* were made with 2, got 3"):
        quality_summarization.main([*options.replace("--steps 2", "--steps 3").split(), *folders])


def test_long_documents_of_all_corpora_are_compared_together(monkeypatch):
    references = ["red boats", "blue mills", "old towers", "wide fields"]
    written = {"simmim": references, "led": ["red mills", "blue mills", "old mills", "green rivers"]}
    rule = word_rule(references)
    corpora = {}
    for name, lengths in (("seas", [30, 10, 20, 19]), ("lands", [5, 40, 5, 5])):
        seeds = {
            system: [rouge(texts, references, groups=list("abcd"), rule=rule)] for system, texts in written.items()
        }
        corpora[name] = quality_report.Scored({}, seeds, list("abcd"), lengths)
    assert quality_report.gather_long(corpora) == {}
    monkeypatch.setattr(quality_report, "LONG", 20)
    found = quality_report.gather_long(corpora)
    assert found["documents"] == 3  # the first and third of the seas, the second of the lands
    assert found["systems"]["simmim"]["rouge"]["rouge1"]["mean"] == pytest.approx(100)
    assert found["systems"]["led"]["rouge"]["rouge1"]["mean"] == pytest.approx((50 + 50 + 100) / 3, abs=1e-3)
    assert found["systems"]["led"]["simmim_minus_this"]["rouge1"]["mean"] == pytest.approx(100 / 3, abs=1e-3)


def _counting_fit(fitted):
    from benchmarks.quality_training import _fit

    def fit(model, work, training, cell):
        fitted.append(cell)
        return _fit(model, work, training, cell)

    return fit


@pytest.mark.parametrize("wrong", [["--steps", "0"], ["--seeds"], ["--learning-rates", "-1"], ["--forms", "gru"]])
def test_wrong_arguments_are_refused_before_anything_runs(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        quality_summarization.main(wrong)
    assert wrong[0] in capsys.readouterr().err
