"""Tests that one pipeline drives SimMIM's models and those of the hub, with random weights."""

import pytest
import torch

import translation_models as tiny
from simmim import pipeline
from simmim.errors import CheckpointError, ConfigError, DataError
from simmim.tasks.translation.causal import ChatTranslator, PairTranslator
from simmim.tasks.translation.loading import load_translation_model
from simmim.tasks.translation.marks import Block, Mark
from simmim.tasks.translation.models import BlockTranslator, SeqTranslator, translator_for
from simmim.tasks.translation.translate import translate_blocks

KINDS = {
    "simmim": (tiny.simmim, BlockTranslator),
    "marian": (tiny.marian, SeqTranslator),
    "m2m100": (tiny.m2m100, SeqTranslator),
    "nllb": (tiny.nllb, SeqTranslator),
    "t5": (tiny.t5, SeqTranslator),
    "chat": (tiny.chat, ChatTranslator),
    "pairs": (tiny.pairs, PairTranslator),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Give the folder of a model of each kind, made when it is asked for."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = KINDS[kind][0](tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_translates_blocks_and_loses_no_mark(folders, kind, beams):
    model, tokenizer = load_translation_model(folders(kind))
    translator = translator_for(model, tokenizer, "en", "fr", num_beams=beams)
    assert type(translator) is KINDS[kind][1]
    marks = (Mark("<b>", opens=(1,)), Mark("</b>", closes=(1,)))
    blocks = [Block("the {1}house{2} is red", marks), Block("the cat"), Block("is old and red")]
    found = translate_blocks(blocks, translator, group_size=2)
    assert len(found) == 3
    assert "{1}" in found[0].text
    assert "{2}" in found[0].text
    for one in found:
        assert one.score is None or one.score <= 0
        assert one.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_translation_does_not_depend_on_its_batch(folders, kind):
    """Compared as texts: rounding may differ in a padded batch, but hardly turns a choice of the largest logit."""
    translator = translator_for(*load_translation_model(folders(kind)), "en", "fr")
    texts = ["the house", "the cat is old and the house is red", "old"]
    alone = [translator.write([[text]])[0] for text in texts]
    together = translator.write([[text] for text in texts], batch_size=3)
    shortest = [min(len(a.blocks[0]), len(b.blocks[0])) for a, b in zip(alone, together, strict=True)]
    # the limit on new tokens is that of the longest of a batch: one that does not end may go on for longer
    for one, other, length in zip(alone, together, shortest, strict=True):
        assert one.blocks[0][:length] == other.blocks[0][:length]


def test_many_languages_are_told_in_the_way_of_each_model(folders):
    def translator(kind, source="en", target="fr"):
        return translator_for(*load_translation_model(folders(kind)), source, target)

    m2m = translator("m2m100")
    assert m2m.tokenizer.convert_ids_to_tokens(m2m.encode(["cat"])[0]) == "__en__"
    assert m2m.settings["forced_bos_token_id"] == m2m.tokenizer.get_lang_id("fr")
    many = translator("nllb")
    assert many.tokenizer.convert_ids_to_tokens(many.encode(["cat"])[0]) == "eng_Latn"
    assert many.settings["forced_bos_token_id"] == many.tokenizer.convert_tokens_to_ids("fra_Latn")
    assert translator("nllb", target="fra_Latn").settings == many.settings
    assert "English to French: cat" in translator("t5").tokenizer.decode(translator("t5").encode(["cat"]))
    asked = translator("chat").tokenizer.decode(translator("chat").encode(["cat"]))
    assert "Translate from English to French." in asked
    assert asked.endswith("<|im_start|>assistant\n")


def test_a_marian_model_of_several_languages_gets_a_tag(tmp_path):
    loaded = load_translation_model(tiny.marian(tmp_path, targets=(">>fra<<", ">>spa<<")))
    translator = translator_for(*loaded, "en", "fr")
    assert translator.tokenizer.convert_ids_to_tokens(translator.encode(["cat"])[0]) == ">>fra<<"
    with pytest.raises(ConfigError, match="expected one of the languages of the model"):
        translator_for(*loaded, "en", "zh")


@pytest.mark.parametrize(
    ("kind", "message"),
    [("simmim", "expected a language that the model writes"), ("nllb", "expected one that the model knows")],
)
def test_a_language_that_a_model_lacks_is_refused(folders, kind, message):
    with pytest.raises(ConfigError, match=message):
        translator_for(*load_translation_model(folders(kind)), "en", "xx")


def test_a_causal_model_without_a_template_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="this one has no template"):
        translator_for(*load_translation_model(tiny.chat(tmp_path, template=False)), "en", "fr")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="expected the folder of a saved model"):
        load_translation_model(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        load_translation_model("no/such-model")


def test_a_block_longer_than_the_model_reads_is_not_cut(folders):
    translator = translator_for(*load_translation_model(folders("marian")), "en", "fr")
    assert translator.limit == 64
    found = translate_blocks([Block("the house is red. " * 40 + "end")], translator)[0]
    assert "longer than the model reads: translated in" in found.repairs[0]


def test_the_pipeline_translates_texts_and_documents(folders):
    translate = pipeline("translation", folders("simmim"), to="fr", from_="en", num_beams=1, group_size=2)
    found = translate(["the house", "12", " the cat %s\n"])
    assert [sorted(one) for one in found] == [["faults", "repairs", "score", "translation_text"]] * 3
    assert found[1] == {"translation_text": "12", "score": None, "repairs": [], "faults": []}
    assert "%s" in found[2]["translation_text"]
    assert found[2]["translation_text"].startswith(" ")
    assert found[2]["translation_text"].endswith("\n")
    assert translate("house", memory={"house": "maison"})[0]["translation_text"] == "maison"
    content, blocks = translate.document("a.md", b"# the *house*\n\n`cat`\n")
    assert content.startswith(b"# ")
    assert content.endswith(b"\n\n`cat`\n")
    assert len(blocks) == 1


def test_the_pipeline_names_what_is_missing(folders):
    with pytest.raises(DataError, match="to: expected the language to write"):
        pipeline("translation", folders("simmim"))("text")
    with pytest.raises(DataError, match="inputs: expected a text or a list of texts"):
        pipeline("translation", folders("simmim"), to="fr")([1])


def test_generation_is_deterministic(folders):
    translator = translator_for(*load_translation_model(folders("simmim")), "en", "fr", num_beams=2)
    first = translator.write([["the house"]])
    torch.manual_seed(5)
    assert translator.write([["the house"]]) == first
