"""What a `ReadingCache` refuses, and gradients."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig

from reading_models import draw, own_attention, tiny
from simmim.errors import ConfigError, ShapeError
from simmim.reading.cache import ReadingCache


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=2),
        GPTNeoXConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2),
    ],
    ids=["gpt2", "gpt_neox"],
)
def test_unsupported_families(config):
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ConfigError, match=f"model: expected one of the families gemma2, .*, got {config.model_type}"):
        ReadingCache(model)


def test_bidirectional_attention():
    with pytest.raises(ConfigError, match="model: expected causal attention"):
        ReadingCache(tiny("gemma3_text", use_bidirectional_attention=True))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_another_attention(attention):
    with pytest.raises(ConfigError, match=f'expected attn_implementation="simmim", got .{attention}.; load it so'):
        ReadingCache(tiny("llama", attention))


def test_another_attention_later():
    model = tiny("llama", "sdpa")
    model.set_attn_implementation("simmim")
    cache = ReadingCache(model)
    model(draw(1, 5), past_key_values=cache)
    model.set_attn_implementation("sdpa")
    with pytest.raises(ConfigError, match="got 'sdpa'"):
        model(draw(1, 5), past_key_values=cache)


@pytest.mark.parametrize("attention", ["sdpa", "simmim"])
def test_the_cache_of_another_model(attention):
    with pytest.raises(ConfigError, match="past_key_values: expected a ReadingCache of this model"):
        tiny("llama", attention)(draw(1, 5), past_key_values=ReadingCache(tiny("llama")))


@pytest.mark.parametrize(("setting", "value"), [("segment", 0), ("near", -1), ("sink", -1)])
def test_settings(setting, value):
    with pytest.raises(ConfigError, match=f"{setting}: expected at least {value + 1}, got {value}"):
        ReadingCache(tiny("llama"), **{setting: value})


@pytest.mark.parametrize(
    "mask",
    [torch.ones(2, 5), torch.ones(1, 9), torch.ones(2, 1, 5, 9), {"full_attention": None}],
    ids=["new tokens only", "one row", "four dimensions", "dict"],
)
def test_masks_of_another_shape(mask):
    model = tiny("llama")
    cache = ReadingCache(model)
    model(draw(2, 4), past_key_values=cache)
    with pytest.raises(ShapeError, match=r"attention_mask: expected shape \(2, 9\)"):
        model(draw(2, 5), attention_mask=mask, past_key_values=cache)


def test_another_batch_size():
    model = tiny("llama")
    cache = ReadingCache(model)
    model(draw(2, 4), past_key_values=cache)
    with pytest.raises(ShapeError, match="input_ids: expected 2 rows, as the cache has, got 3"):
        model(draw(3, 4), past_key_values=cache)


@pytest.mark.parametrize("padding", [[0, 0], [3]], ids=["two documents", "padding"])
def test_drop_of_padded_documents(padding):
    model, cache = tiny("llama"), None
    cache = ReadingCache(model)
    mask = (torch.arange(8) >= torch.tensor(padding)[:, None]).long()
    model(draw(len(padding), 8), attention_mask=mask, past_key_values=cache)
    with pytest.raises(ShapeError, match="drop: expected one document without padding"):
        cache.drop()


def test_packed_documents():
    model = tiny("llama")
    with pytest.raises(ShapeError, match="position_ids: expected consecutive positions"):
        model(draw(1, 6), position_ids=torch.tensor([[0, 1, 2, 0, 1, 2]]), past_key_values=ReadingCache(model))


def test_cropping_to_a_length():
    model = tiny("llama")
    cache = ReadingCache(model)
    model(draw(1, 6), past_key_values=cache)
    with pytest.raises(ValueError, match="negative"):
        cache.crop(3)


def test_attention_weights():
    model = tiny("llama")
    with pytest.raises(ConfigError, match='output_attentions: .* load the model with "eager"'):
        model(draw(1, 6), past_key_values=ReadingCache(model), output_attentions=True)
    with pytest.raises(ConfigError, match="output_attentions"):
        model.generate(
            draw(1, 6),
            max_new_tokens=2,
            past_key_values=ReadingCache(model),
            output_attentions=True,
            return_dict_in_generate=True,
        )


def test_a_soft_cap_without_a_cache():
    with pytest.raises(ConfigError, match='expected a ReadingCache with this family; else load it with "eager"'):
        tiny("gemma2")(draw(1, 6))


def test_dropout_and_checkpoints_of_training():
    model = tiny("llama", attention_dropout=0.1).train()
    with pytest.raises(ConfigError, match=r"no dropout with a ReadingCache; call model.eval\(\)"):
        model(draw(1, 6), past_key_values=ReadingCache(model))
    model = tiny("llama").train()
    model.activation_checkpointing_enable()
    with pytest.raises(ConfigError, match="no gradient checkpointing with a ReadingCache"):
        model(draw(1, 6), past_key_values=ReadingCache(model))


@pytest.mark.parametrize("case", ["llama", "gemma3_text"])
@pytest.mark.parametrize("chunks", [[20], [7, 13], [19, 1]])
def test_gradients_are_those_of_own_attention(case, chunks):
    ids, found = draw(2, 20), []
    for model in (own_attention(case).train(), tiny(case).train()):
        cache, past, logits = ReadingCache(model, segment=4) if found else None, 0, []
        for chunk in chunks if found else [20]:
            logits.append(model(ids[:, past : past + chunk], past_key_values=cache).logits)
            past += chunk
        torch.cat(logits, 1).log_softmax(-1)[..., 3].sum().backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, expected in found[0].items():
        assert (found[1][name] - expected).abs().max() <= 1e-4 * expected.abs().max(), name


def test_embeddings_instead_of_ids():
    model, ids = tiny("llama"), draw(1, 20)
    with torch.no_grad():
        expected = model(ids, past_key_values=ReadingCache(model)).logits
        embedded = model.get_input_embeddings()(ids)
        assert torch.equal(model(inputs_embeds=embedded, past_key_values=ReadingCache(model)).logits, expected)
