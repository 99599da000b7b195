"""The models: saving, Auto classes, losses, generation with a cache, batch invariance, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, DynamicCache

from simmim import ConfigError, ShapeError, SimMIMConfig, SimMIMForConditionalGeneration, SimMIMModel
from support import small_config, with_large_weights

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "literal": {"state_read": "broadcast", "state_pooling": "first", "neighbours": 0},
    "gated": {"state_read": "gated_broadcast", "state_pooling": "attention", "state_null": True},
    "shifted": {"segment_shift": 4, "state_null": True, "state_pooling": "last"},
    "no-states": {"state_read": "none", "rotary": False},
    "copying": {"copy_head": True},
    "pyramid": {"memory": "pyramid", "state_reach": "pyramid"},
    "pyramid-copying": {"memory": "pyramid", "copy_head": True},
    "two-level": {"memory": "two_level", "memory_top_k": 2},
    "two-level-copying": {"memory": "two_level", "memory_top_k": 99, "copy_head": True},
}


def model_of(seed: int = 0, **changes: Any) -> SimMIMForConditionalGeneration:
    """Build a model whose weights are large enough to make every token matter."""
    return with_large_weights(SimMIMForConditionalGeneration(small_config(**changes)), seed)


def preset_model(preset: str) -> SimMIMForConditionalGeneration:
    """Build one of a single layer on either side, or of two where the second is shifted."""
    layers = 2 if "segment_shift" in PRESETS[preset] else 1
    return model_of(num_hidden_layers=layers, num_decoder_layers=layers, **PRESETS[preset])


@pytest.fixture
def texts() -> tuple[Tensor, Tensor]:
    """Three sources of 20, 37 and 7 tokens, padded right, not at all and left, with rubbish in the padding."""
    ids = torch.randint(4, 50, (3, 37), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 20:] = 0
    mask[2, :30] = 0
    return ids, mask


@pytest.mark.parametrize("preset", PRESETS)
class TestGeneration:
    """Contract 4 on the whole model: decoding with the cache is decoding without it."""

    def test_step_equals_forward_at_every_position(self, preset: str, texts: tuple[Tensor, Tensor]) -> None:
        model = preset_model(preset)
        ids, mask = texts
        target = torch.randint(4, 50, (3, 19), generator=torch.Generator().manual_seed(2))
        held = torch.ones_like(target)
        held[1, :5] = 0  # a left-padded target among others
        whole = model(ids, mask, decoder_input_ids=target, decoder_attention_mask=held, use_cache=False).logits
        for start in (1, 13):
            first = model(
                ids, mask, decoder_input_ids=target[:, :start], decoder_attention_mask=held[:, :start], use_cache=True
            )
            cache, found = first.past_key_values, [first.logits]
            for t in range(start, 19):
                step = model(
                    input_ids=ids,
                    encoder_outputs=(first.encoder_last_hidden_state,),
                    attention_mask=mask,
                    decoder_input_ids=target[:, t : t + 1],
                    decoder_attention_mask=held[:, : t + 1],
                    past_key_values=cache,
                    use_cache=True,
                )
                found.append(step.logits)
            assert cache.get_seq_length() == 19
            torch.testing.assert_close(torch.cat(found, 1)[held.bool()], whole[held.bool()], rtol=0, atol=1e-10)

    def test_generate_gives_the_same_with_and_without_cache(self, preset: str, texts: tuple[Tensor, Tensor]) -> None:
        """Into a second segment; one beam and three in turn, so that of two forms of a memory one has three."""
        beams = 1 + 2 * (list(PRESETS).index(preset) % 2)
        model = preset_model(preset)
        ids, mask = texts
        settings = {
            "attention_mask": mask,
            "max_new_tokens": 10,
            "eos_token_id": None,
            "do_sample": False,
            "num_beams": beams,
        }
        cached = model.generate(ids, use_cache=True, **settings)
        assert cached.shape == (3, 11)
        assert torch.equal(cached, model.generate(ids, use_cache=False, **settings))
        alone = model.generate(ids[:1, :20], max_new_tokens=10, eos_token_id=None, do_sample=False, num_beams=beams)
        assert torch.equal(alone[0], cached[0])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_document_does_not_depend_on_its_batch(preset: str, texts: tuple[Tensor, Tensor]) -> None:
    """Contract 5: token outputs, pyramid and loss are those of the document alone."""
    ids, mask = texts
    encoder = SimMIMModel(small_config(**PRESETS[preset])).double().eval()
    together = encoder(ids, mask)
    assert not together.last_hidden_state[mask == 0].any()
    for row in range(3):
        alone = encoder(ids[row][mask[row].bool()][None])
        torch.testing.assert_close(together.last_hidden_state[row][mask[row].bool()], alone.last_hidden_state[0])
        torch.testing.assert_close(together.pooler_output[row], alone.pooler_output[0])
        width = alone.global_representation.shape[1]
        torch.testing.assert_close(together.global_representation[row, :width], alone.global_representation[0])


def test_outputs_have_the_shapes_that_are_documented(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    output = SimMIMModel(small_config())(ids, mask, output_hidden_states=True)
    assert output.last_hidden_state.shape == (3, 37, 16)
    assert output.global_representation.shape == (3, 8, 16)
    assert output.pooler_output.shape == (3, 16)
    assert [level.counts.tolist() for level in output.pyramid.levels] == [[3, 5, 1], [2, 3, 1], [1, 2, 1], [1, 1, 1]]
    assert [state.shape for state in output.hidden_states] == [(3, 37, 16)] * 3
    torch.testing.assert_close(output.hidden_states[-1], output.last_hidden_state)
    assert isinstance(SimMIMModel(small_config())(ids, return_dict=False), tuple)


def test_saved_models_come_back_through_the_auto_classes(tmp_path: Path, texts: tuple[Tensor, Tensor]) -> None:
    model = model_of().float()
    ids, mask = texts
    model.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "simmim_auto.py",
    }
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert type(again) is SimMIMForConditionalGeneration
    expected = model(ids, mask, labels=ids)
    torch.testing.assert_close(again(ids, mask, labels=ids).logits, expected.logits, rtol=0, atol=0)
    assert again.lm_head.weight is again.encoder.embed_tokens.weight is again.decoder.embed_tokens.weight
    encoder = AutoModel.from_pretrained(tmp_path).eval()
    assert type(encoder) is SimMIMModel
    torch.testing.assert_close(encoder(ids, mask).last_hidden_state, expected.encoder_last_hidden_state, rtol=0, atol=0)
    assert AutoConfig.from_pretrained(tmp_path).to_dict()["segment_length"] == 8


def test_loss_is_the_mean_over_labels_and_falls_when_trained(texts: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    model = SimMIMForConditionalGeneration(small_config()).train()
    ids, mask = texts
    labels = ids[:, :9].clone()
    labels[0, 5:] = -100
    output = model(ids, mask, labels=labels)
    expected = torch.nn.functional.cross_entropy(output.logits[labels != -100], labels[labels != -100])
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(model(ids, mask, labels=labels, num_items_in_batch=46).loss, expected / 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(25):
        loss = model(ids, mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < expected / 4


@pytest.mark.parametrize("copying", [False, True])
def test_a_source_of_padding_alone_disturbs_nothing(copying: bool, texts: tuple[Tensor, Tensor]) -> None:
    model = model_of(copy_head=copying)
    ids, mask = texts
    before = model(ids, mask, labels=ids).logits
    mask = torch.cat((mask, torch.zeros_like(mask[:1])))
    output = model(torch.cat((ids, ids[:1])), mask, labels=torch.cat((ids, ids[:1])))
    torch.testing.assert_close(output.logits[:3], before)
    output.loss.backward()
    assert output.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_every_parameter_gets_a_gradient(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    for preset in PRESETS.values():
        model = model_of(**preset)
        model(ids, mask, labels=ids).loss.backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_gradient_checkpointing_changes_no_gradient(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    grads = []
    for checkpointing in (False, True):
        model = model_of().train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(ids, mask, labels=ids).loss.backward()
        grads.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(grads[0], grads[1])


def test_targets_are_moved_right_behind_the_start_token() -> None:
    labels = torch.tensor([[7, 8, 9], [7, -100, -100]])
    moved = model_of().prepare_decoder_input_ids_from_labels(labels)
    assert moved.tolist() == [[1, 7, 8], [1, 7, 0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"state_read": "nonsense"},
            "state_read: expected one of attend, broadcast, gated_broadcast, none; got 'nonsense'",
        ),
        ({"state_pooling": "max"}, "state_pooling: expected one of attention, first, last, mean; got 'max'"),
        ({"aggregator": "sum"}, "aggregator: expected one of attention, concat, weighted_sum; got 'sum'"),
        ({"hidden_size": 15}, "hidden_size: expected a multiple of num_attention_heads"),
        ({"hidden_size": "16"}, "hidden_size: expected a whole number"),
        ({"hidden_size": 18, "num_attention_heads": 6}, "even width"),
        ({"neighbours": 3}, "neighbours: expected 0 or 1, got 3"),
        ({"segment_length": 0}, "segment_length: expected a whole number of 1 or more, got 0"),
        ({"segment_shift": 8}, "segment_shift: expected less than segment_length"),
        ({"dropout": 1.0}, "dropout: expected a share"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        small_config(**changes)


def test_literal_preset_is_the_source_form_and_its_decoder_reads_segment_ends() -> None:
    config = SimMIMConfig.literal(vocab_size=50, hidden_size=16, num_attention_heads=2, intermediate_size=24)
    assert (config.state_read, config.state_pooling, config.neighbours) == ("broadcast", "first", 0)
    model = SimMIMForConditionalGeneration(config)
    poolings = [
        type(layer.attention.state_pooling).__name__ for layer in (model.encoder.layers[0], model.decoder.layers[0])
    ]
    assert poolings == ["FirstPooling", "LastPooling"]


def test_wrong_inputs_are_refused(texts: tuple[Tensor, Tensor]) -> None:
    model = model_of()
    ids, mask = texts
    with pytest.raises(ShapeError, match=r"attention_mask: expected shape \[3, 37\]"):
        model(ids, mask[:, :-1], labels=ids)
    with pytest.raises(ShapeError, match="exactly one of them, got neither"):
        model.encoder()
    with pytest.raises(ShapeError, match="add a batch dimension"):
        model.encoder(ids[0])
    with pytest.raises(ShapeError, match="EncoderDecoderCache"):
        model(ids, mask, decoder_input_ids=ids[:, :1], past_key_values=DynamicCache())


@pytest.mark.parametrize("preset", PRESETS)
def test_maps_sum_to_one_and_everything_returned_has_a_gradient(preset: str, texts: tuple[Tensor, Tensor]) -> None:
    model = model_of(**PRESETS[preset])
    ids, mask = texts
    output = model(ids, mask, labels=ids, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(output.logits, model(ids, mask, labels=ids).logits, rtol=0, atol=1e-10)
    memory = {"tokens": 37, "pyramid": 9, "two_level": 40}[model.config.memory]
    assert [weights.shape for weights in output.cross_attentions] == [(3, 2, 37, memory)] * 2
    for weights in output.cross_attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=0, atol=1e-10)
    states = [*output.encoder_state_attentions, *output.decoder_state_attentions]
    assert [state is None for state in states] == [model.config.state_read == "none"] * 4
    returned = [*output.encoder_hidden_states, *output.decoder_hidden_states, *output.cross_attentions]
    returned += [*output.encoder_attentions, *output.decoder_attentions, *(s for s in states if s is not None)]
    for tensor in returned:
        tensor.retain_grad()
    output.loss.backward()
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in returned)


@pytest.mark.parametrize("beams", [1, 2])
def test_generate_returns_the_maps_of_every_step(beams: int, texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    output = model_of(memory="two_level", memory_top_k=1).generate(
        ids,
        attention_mask=mask,
        num_beams=beams,
        max_new_tokens=4,
        do_sample=False,
        eos_token_id=None,
        return_dict_in_generate=True,
        output_attentions=True,
        output_hidden_states=True,
    )
    assert [weights.shape[:3] for weights in output.encoder_attentions] == [(3, 2, 37)] * 2
    assert [step[0].shape for step in output.cross_attentions] == [(3 * beams, 2, 1, 40)] * 4
    assert [step[1].shape[:3] for step in output.decoder_attentions] == [(3 * beams, 2, 1)] * 4


@pytest.mark.parametrize("preset", ["pyramid", "two-level"])
def test_every_memory_is_saved_and_comes_back(tmp_path: Path, preset: str, texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    model = model_of(**PRESETS[preset]).float()
    model.save_pretrained(tmp_path)
    again, report = SimMIMForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    expected = model(ids, mask, labels=ids).logits
    torch.testing.assert_close(again.eval()(ids, mask, labels=ids).logits, expected, rtol=0, atol=0)


def test_a_memory_of_tokens_has_no_parameters_of_its_own() -> None:
    """The shipped model, and every one trained before there was a choice, loads unchanged."""
    names = {name.split(".", 3)[-1] for name in model_of().decoder.state_dict() if "cross_attention" in name}
    assert names == {"weight", "q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"}
    assert not any("memory" in name for name in model_of().state_dict())


@pytest.mark.parametrize("padding", ["left", "right"])
def test_sampling_runs_and_respects_the_seed(padding: str, texts: tuple[Tensor, Tensor]) -> None:
    model = model_of()
    ids, mask = texts
    if padding == "left":
        ids, mask = ids.flip(1), mask.flip(1)
    torch.manual_seed(3)
    first = model.generate(ids, attention_mask=mask, do_sample=True, max_new_tokens=12, eos_token_id=None)
    torch.manual_seed(3)
    assert torch.equal(
        first, model.generate(ids, attention_mask=mask, do_sample=True, max_new_tokens=12, eos_token_id=None)
    )
