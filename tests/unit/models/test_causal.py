"""The causal language model: no leak, decoding with a cache, every mode of generation, padding, labels and maps."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.generation import BaseStreamer, StoppingCriteria

from simmim import ConfigError, ShapeError
from simmim.models.modeling_simmim_causal import SimMIMForCausalLM
from support import small_config

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "literal": {"state_read": "broadcast", "state_pooling": "first", "neighbours": 0},
    "gated": {"state_read": "gated_broadcast", "state_pooling": "attention", "state_null": True},
    "shifted": {"segment_shift": 4, "state_null": True, "state_pooling": "last"},
    "no-states": {"state_read": "none", "rotary": False},
    "pyramid": {"state_reach": "pyramid", "segment_shift": 4},
    "longer": {"training_length": 24},
    "plain-head": {"copy_head": False},
}
TOKENS = 37


def model_of(seed: int = 0, **changes: Any) -> SimMIMForCausalLM:
    """Build a model whose weights are large enough to make every token matter."""
    model = SimMIMForCausalLM(small_config(**changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.double().eval()


def preset_model(preset: str) -> SimMIMForCausalLM:
    """Build one of a single layer, or of two where the second is shifted."""
    return model_of(num_hidden_layers=2 if "segment_shift" in PRESETS[preset] else 1, **PRESETS[preset])


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(4, 50, (3, TOKENS), generator=torch.Generator().manual_seed(1))


def padded(ids: Tensor, side: str, lengths: tuple[int, ...] = (20, TOKENS, 7)) -> tuple[Tensor, Tensor]:
    """Keep the first tokens of each row, with rubbish where the others stood: left, right or, mixed, in the middle."""
    mask, out = torch.zeros_like(ids), ids.flip(1)
    for row, length in enumerate(lengths):
        places = {
            "left": torch.arange(TOKENS - length, TOKENS),
            "right": torch.arange(length),
            "mixed": torch.randperm(TOKENS, generator=torch.Generator().manual_seed(row))[:length].sort().values,
        }[side]
        out[row, places], mask[row, places] = ids[row, :length], 1
    return out, mask


def test_the_states_of_longer_texts_weigh_as_much_as_those_that_were_learnt_from(ids: Tensor) -> None:
    plain, limited = (model_of(training_length=length)(ids).logits for length in (None, 24))
    assert torch.equal(plain[:, :24], limited[:, :24])
    assert not torch.allclose(plain[:, 24:], limited[:, 24:])


@pytest.mark.parametrize("preset", PRESETS)
class TestPresets:
    def test_no_leak_by_value_and_by_gradient(self, preset: str, ids: Tensor) -> None:
        """Contract 3 on the whole model."""
        model = preset_model(preset)
        before = model(ids[:1]).logits
        for t in (0, 7, 8, 20, TOKENS - 2):
            changed = ids[:1].clone()
            changed[:, t + 1 :] = (changed[:, t + 1 :] + 17) % 50
            torch.testing.assert_close(model(changed).logits[:, : t + 1], before[:, : t + 1], rtol=0, atol=1e-12)
        kept: list[Tensor] = []
        model.get_input_embeddings().register_forward_hook(lambda _, __, out: kept.append(out))
        logits = model(ids[:1]).logits
        torch.testing.assert_close(logits, before)
        [embedded] = kept
        for t in (0, 8, 20):
            [gradient] = torch.autograd.grad(logits[0, t].square().sum(), embedded, retain_graph=True)
            assert gradient[0, t].any()
            assert not gradient[0, t + 1 :].any()

    @pytest.mark.parametrize("side", ["left", "right", "mixed"])
    def test_padding_changes_nothing(self, preset: str, side: str, ids: Tensor) -> None:
        """Contract 5: logits and loss are those of the texts alone, wherever their padding stands."""
        model = preset_model(preset)
        batch, mask = padded(ids, side)
        together = model(batch, mask, labels=batch.masked_fill(mask == 0, -100))
        losses = []
        for row, length in enumerate((20, TOKENS, 7)):
            alone = model(ids[row : row + 1, :length], labels=ids[row : row + 1, :length])
            torch.testing.assert_close(together.logits[row][mask[row] == 1], alone.logits[0], rtol=0, atol=1e-10)
            losses.append(alone.loss * (length - 1))
        torch.testing.assert_close(together.loss, sum(losses) / (19 + TOKENS - 1 + 6))

    def test_step_equals_forward_at_every_position(self, preset: str, ids: Tensor) -> None:
        """Contract 4 on the whole model, with padding on either side and in between."""
        model = preset_model(preset)
        for side, starts in (("left", (1,)), ("mixed", (24,))):
            batch, mask = padded(ids, side)
            whole = model(batch, mask, use_cache=False).logits
            for start in starts:
                output = model(batch[:, :start], mask[:, :start], use_cache=True)
                cache, found = output.past_key_values, [output.logits]
                with torch.no_grad():
                    for t in range(start, TOKENS):
                        step = model(batch[:, t : t + 1], mask[:, : t + 1], past_key_values=cache, use_cache=True)
                        found.append(step.logits)
                assert step.past_key_values is cache
                assert cache.get_seq_length() == TOKENS
                held = mask == 1
                torch.testing.assert_close(torch.cat(found, 1)[held], whole[held], rtol=0, atol=1e-10)

    @pytest.mark.parametrize("beams", [1, 3])
    def test_generate_gives_the_same_with_and_without_cache(self, preset: str, beams: int, ids: Tensor) -> None:
        """Ten tokens, so that every row goes on into a new segment, and one of them into a third."""
        model = preset_model(preset)
        # The sides take turns: each with every preset and with any number of beams.
        batch, mask = padded(ids, ("left", "right")[(list(PRESETS).index(preset) + beams // 2) % 2])
        settings = {"max_new_tokens": 10, "eos_token_id": None, "do_sample": False, "num_beams": beams}
        cached = model.generate(batch, attention_mask=mask, **settings)
        assert cached.shape == (3, TOKENS + 10)
        assert torch.equal(cached, model.generate(batch, attention_mask=mask, use_cache=False, **settings))
        alone = model.generate(ids[:1, :20], **settings)
        assert torch.equal(cached[0, TOKENS:], alone[0, 20:])

    def test_every_parameter_gets_a_gradient(self, preset: str, ids: Tensor) -> None:
        model = preset_model(preset)
        model(ids, labels=ids).loss.backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_labels_are_moved_and_minus_100_is_left_out(ids: Tensor) -> None:
    model = model_of()
    labels = ids.clone()
    labels[0, :30] = -100
    output = model(ids, labels=labels)
    logits, targets = output.logits[:, :-1], labels[:, 1:]
    expected = torch.nn.functional.cross_entropy(logits[targets != -100].float(), targets[targets != -100])
    torch.testing.assert_close(output.loss, expected)
    count = int((targets != -100).sum())
    torch.testing.assert_close(model(ids, labels=labels, num_items_in_batch=2 * count).loss, expected / 2)
    assert model(ids, labels=torch.full_like(ids, -100)).loss == 0
    assert output.past_key_values is None, "no cache where a loss is wanted"
    kept = model(ids, labels=labels, logits_to_keep=5)
    torch.testing.assert_close(kept.logits, output.logits[:, -5:])
    last = torch.nn.functional.cross_entropy(output.logits[:, -5:-1].flatten(0, 1).float(), ids[:, -4:].flatten())
    torch.testing.assert_close(kept.loss, last)
    places = torch.tensor([3, 30])
    torch.testing.assert_close(model(ids, logits_to_keep=places).logits, output.logits[:, places])


def test_training_lowers_the_loss_and_checkpointing_changes_no_gradient(ids: Tensor) -> None:
    grads = []
    for checkpointing in (False, True):
        model = model_of().train()
        if checkpointing:
            model.activation_checkpointing_enable()
        runs: list[int] = []
        model.decoder.layers[0].attention_norm.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        model(ids, labels=ids).loss.backward()
        assert len(runs) == 1 + checkpointing, "checkpointing runs a layer once more"
        grads.append([p.grad for p in model.parameters()])
        # Generating in the midst of training reads the cache all the same.
        settings = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": None}
        assert torch.equal(model.generate(ids, **settings), model.generate(ids, use_cache=False, **settings))
    torch.testing.assert_close(grads[0], grads[1])
    model = SimMIMForCausalLM(small_config()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    first = model(ids, labels=ids).loss
    for _ in range(25):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < first / 4


@pytest.mark.parametrize(("preset", "beams"), [*zip(PRESETS, itertools.cycle((1, 2)), strict=False)])
def test_a_prompt_read_in_parts_gives_what_it_gives_whole(
    preset: str, beams: int, ids: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long prompt, or any with ``prefill_chunk_size``, is read part by part, and the same text comes out."""
    model = preset_model(preset)
    mask = (torch.arange(TOKENS) < torch.tensor([TOKENS, 20, 9])[:, None]).flip(1)
    calls: list[int] = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0].shape[1]))
    settings = {"attention_mask": mask.long(), "max_new_tokens": 5, "do_sample": False, "num_beams": beams}
    whole = model.generate(ids, **settings)
    assert max(calls) == TOKENS
    for chosen, chunk in (({"prefill_chunk_size": 11}, 11), ({}, 9), ({"attention_mask": None}, 9)):
        monkeypatch.setattr("simmim.models.transformers_hooks.PREFILL_CHUNK", 9)
        calls.clear()
        found = model.generate(ids, **settings | chosen)
        assert torch.equal(found[:1], whole[:1]), "the first row has no padding"
        assert "attention_mask" in chosen or torch.equal(found, whole)
        assert max(calls) == chunk
    right = settings | {"attention_mask": mask.flip(1).long(), "prefill_chunk_size": 11}
    moved = torch.stack([row.roll(int(held.sum())) for row, held in zip(ids, mask, strict=True)])
    calls.clear()
    assert torch.equal(model.generate(moved, **right)[:, TOKENS:], whole[:, TOKENS:])
    assert max(calls) == 11


@pytest.mark.parametrize("beams", [1, 2])
def test_sampling_respects_the_seed_and_needs_no_cache(beams: int, ids: Tensor) -> None:
    model = model_of()
    batch, mask = padded(ids, "left")
    drawn = []
    for use_cache in (True, False, True):
        torch.manual_seed(3 + len(drawn) // 2)
        settings = {"do_sample": True, "num_beams": beams, "max_new_tokens": 12, "eos_token_id": None}
        drawn.append(model.generate(batch, attention_mask=mask, use_cache=use_cache, **settings))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_generation_goes_on_from_the_cache_of_an_earlier_one(ids: Tensor) -> None:
    model = model_of(segment_shift=4)
    batch, mask = padded(ids, "left")
    settings = {"do_sample": False, "eos_token_id": None}
    whole = model.generate(batch, attention_mask=mask, max_new_tokens=25, **settings)
    first = model.generate(batch, attention_mask=mask, max_new_tokens=11, return_dict_in_generate=True, **settings)
    assert first.past_key_values.get_seq_length() == TOKENS + 10
    longer = torch.cat((mask, torch.ones(3, 11, dtype=mask.dtype)), dim=1)
    again = model.generate(
        first.sequences, attention_mask=longer, past_key_values=first.past_key_values, max_new_tokens=14, **settings
    )
    assert torch.equal(again, whole)
    # A new turn of a dialogue, several tokens at once, after a forward pass without padding.
    said = model(ids[:, :20]).past_key_values
    turn = model.generate(ids, past_key_values=said, max_new_tokens=9, **settings)
    assert torch.equal(turn, model.generate(ids, max_new_tokens=9, **settings))


def test_generation_starts_from_ready_embeddings(ids: Tensor) -> None:
    model = model_of(copy_head=False)
    batch, mask = padded(ids, "left")
    settings = {"attention_mask": mask, "do_sample": False, "eos_token_id": None, "max_new_tokens": 12}
    embedded = model.get_input_embeddings()(batch)
    assert torch.equal(
        model.generate(inputs_embeds=embedded, **settings), model.generate(batch, **settings)[:, TOKENS:]
    )


def test_what_embeddings_stand_for_is_not_copied_and_what_follows_is(ids: Tensor) -> None:
    """Vectors have no ids: the copy head passes over them, and finds among the tokens after them what is there."""
    model = model_of()
    embedded = model.get_input_embeddings()(ids)
    with torch.no_grad():
        hidden = model.decoder(ids).last_hidden_state
        torch.testing.assert_close(model(inputs_embeds=embedded).logits, model.lm_head(hidden))
        said = torch.tensor([[7, 8, 9, 7, 8]]).expand(3, -1)
        cache = model(inputs_embeds=embedded, use_cache=True).past_key_values
        found = model(said, past_key_values=cache).logits.log_softmax(-1)
        plain = model.lm_head(model.decoder(torch.cat((ids, said), 1)).last_hidden_state[:, TOKENS:]).log_softmax(-1)
    torch.testing.assert_close(found[:, :3], plain[:, :3])
    assert (found[:, 3, 8] > plain[:, 3, 8]).all(), "8 came after 7"
    assert (found[:, 4, 9] > plain[:, 4, 9]).all(), "9 came after 7 8"
    rest = torch.ones(50, dtype=torch.bool).index_fill(0, torch.tensor([8]), False)
    assert (found[:, 3, rest] < plain[:, 3, rest]).all()


class Recorder(BaseStreamer):
    def __init__(self) -> None:
        self.got: list[Tensor] = []
        self.ended = False

    def put(self, value: Tensor) -> None:
        self.got.append(value.flatten())

    def end(self) -> None:
        self.ended = True


class AfterToken(StoppingCriteria):
    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return input_ids[:, -1] == self.token


def test_streamers_and_stopping_criteria_work(ids: Tensor) -> None:
    model, streamer = model_of(), Recorder()
    settings = {"do_sample": False, "eos_token_id": None, "max_new_tokens": 12}
    whole = model.generate(ids[:1], streamer=streamer, **settings)
    assert streamer.ended
    assert torch.equal(torch.cat(streamer.got), whole[0])
    token = int(whole[0, TOKENS + 4])
    first = TOKENS + whole[0, TOKENS:].tolist().index(token)
    stopped = model.generate(ids[:1], stopping_criteria=[AfterToken(token)], **settings)
    assert torch.equal(stopped, whole[:, : first + 1])
    ended = model.generate(ids[:1], **{**settings, "eos_token_id": token})
    assert torch.equal(ended, whole[:, : first + 1])


@pytest.mark.parametrize("preset", PRESETS)
def test_maps_sum_to_one_and_everything_returned_has_a_gradient(preset: str, ids: Tensor) -> None:
    model = model_of(**PRESETS[preset])
    output = model(ids, labels=ids, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(output.logits, model(ids).logits, rtol=0, atol=1e-10)
    assert [state.shape for state in output.hidden_states] == [(3, TOKENS, 16)] * 3
    assert len(output.attentions) == len(output.state_attentions) == 2
    reads = model.config.state_read
    assert all((state is None) == (reads == "none") for state in output.state_attentions)
    returned = [*output.hidden_states, *output.attentions, *(s for s in output.state_attentions if s is not None)]
    for tensor in returned:
        tensor.retain_grad()
    output.loss.backward()
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in returned)
    for own, state in zip(output.attentions, output.state_attentions, strict=True):
        assert own.shape[:3] == (3, 2, TOKENS)
        given = own.sum(-1) if reads != "attend" else own.sum(-1) + state.sum(-1)
        torch.testing.assert_close(given, torch.ones_like(given), rtol=0, atol=1e-10)


@pytest.mark.parametrize("beams", [1, 2])
def test_generate_returns_the_maps_and_states_of_every_step(beams: int, ids: Tensor) -> None:
    output = model_of().generate(
        ids,
        num_beams=beams,
        max_new_tokens=4,
        do_sample=False,
        eos_token_id=None,
        return_dict_in_generate=True,
        output_attentions=True,
        output_hidden_states=True,
    )
    assert [len(step) for step in output.attentions] == [2] * 4
    assert [step[0].shape[:3] for step in output.attentions] == [
        (
            3 * beams,
            2,
            n,
        )
        for n in (TOKENS, 1, 1, 1)
    ]
    assert [step[-1].shape for step in output.hidden_states] == [(3 * beams, n, 16) for n in (TOKENS, 1, 1, 1)]


def test_a_saved_model_comes_back(tmp_path: Path, ids: Tensor) -> None:
    for tied in (True, False):
        folder = tmp_path / str(tied)
        model = SimMIMForCausalLM(small_config(tie_word_embeddings=tied)).eval()
        model.save_pretrained(folder)
        again = SimMIMForCausalLM.from_pretrained(folder).eval()
        torch.testing.assert_close(again(ids).logits, model(ids).logits, rtol=0, atol=0)
        assert (again.lm_head.weight is again.decoder.embed_tokens.weight) == tied
        assert not again.config.is_encoder_decoder
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "simmim_auto.py",
    }
    again.resize_token_embeddings(60)
    assert again(ids).logits.shape[-1] == again.get_input_embeddings().num_embeddings == 60


def test_what_cannot_be_is_refused(ids: Tensor) -> None:
    with pytest.raises(ConfigError, match="num_hidden_layers: expected 1 or more for a decoder, got 0"):
        model_of(num_hidden_layers=0)
    model = model_of()
    other = model_of(num_hidden_layers=3)(ids).past_key_values
    with pytest.raises(ShapeError, match="past_key_values: expected the SimMIMCache of 2 layers .* of 3"):
        model(ids[:, :1], past_key_values=other)
    with pytest.raises(ShapeError, match="exactly one of them, got neither"):
        model()
    with pytest.raises(ValueError, match="assisted generation is not supported with stateful models"):
        model.generate(ids[:1], prompt_lookup_num_tokens=2, max_new_tokens=4)
