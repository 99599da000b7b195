"""Prompts of pairs of blocks are the beginnings of what was trained on, and groups give their context."""

import pytest

import translation_models as tiny
from simmim.errors import ConfigError
from simmim.tasks.translation.loading import load_translation_model
from simmim.tasks.translation.models import translator_for
from simmim.tasks.translation.pairs import PairFormat

PAIRS = [("The house.", "La maison."), ("A {1}cat{2}\nis <bos> old", "Un {1}chat{2} est vieux"), ("x", "y")]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_translation_model(tiny.pairs(tmp_path_factory.mktemp("pairs"), longest=120))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_prompt_is_the_beginning_of_an_example(loaded, count):
    form = PairFormat(loaded[1], "en", "fr")
    pairs = PAIRS[:count]
    ids, learned = form.example(pairs)
    prompt = form.prompt(pairs[-1][0], pairs[:-1])
    assert ids[: len(prompt)] == prompt
    assert ids[-1] == form.end
    assert all(learned[len(prompt) :])
    assert learned.count(True) < len(learned)
    text = loaded[1].decode(ids)
    assert text.startswith("<|im_start|>English: The house.\nFrench: La maison.\n")
    assert text.count("\n") == 2 * count
    shown = loaded[1].decode([token for token, wanted in zip(ids, learned, strict=True) if wanted])
    assert shown == "".join(f" {' '.join(target.split())}\n" for _, target in pairs)


def test_each_block_of_a_group_sees_those_before_it(loaded, monkeypatch):
    translator = translator_for(*loaded, "en", "fr")
    seen = []
    generate = translator.generate

    def noted(rows, **settings):
        seen.extend(translator.tokenizer.decode(row) for row in rows)
        return generate(rows, **settings)

    monkeypatch.setattr(translator, "generate", noted)
    found = translator.write([["one", "two", "three"], ["alone"]])
    assert [len(one.blocks) for one in found] == [3, 1]
    assert sorted(text.count("English: ") for text in seen) == [1, 1, 2, 3]
    last = next(text for text in seen if "three" in text)
    assert f"English: one\nFrench: {' '.join(found[0].blocks[0].split())}\nEnglish: two\n" in last


def test_a_context_that_is_too_long_is_left_out(loaded):
    translator = translator_for(*loaded, "en", "fr")
    group = ["first " * 10, "second " * 10, "third"]
    prompts = []
    translator.generate = lambda rows, **settings: prompts.extend(rows) or _stop(translator)
    with pytest.raises(StopIteration):
        translator.write([group])
    written = translator._prompt(group, [_written("un"), _written("deux")])
    assert len(written) <= translator.limit
    assert translator.tokenizer.decode(written).count("English: ") < 3


def _stop(translator):
    raise StopIteration


def _written(text):
    from simmim.tasks.translation.translator import Written

    return Written([text], True)


def test_an_unknown_direction_is_refused(loaded):
    with pytest.raises(ConfigError, match=r"expected a direction that the model knows \(en-fr, fr-en\), got en-zh"):
        translator_for(*loaded, "en", "zh")
