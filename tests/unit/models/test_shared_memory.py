"""Targets of a document, such as beams and samples, share its memory, and get what a memory of their own would give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from simmim import ShapeError, SimMIMForConditionalGeneration
from simmim.models.cache_simmim import SimMIMEncoderDecoderCache
from simmim.models.transformers_hooks import Seq2SeqGenerationHooks
from support import small_config, with_large_weights

MEMORIES: dict[str, dict[str, Any]] = {
    "tokens-copying": {"memory": "tokens", "copy_head": True},
    "pyramid": {"memory": "pyramid"},
    "two-level": {"memory": "two_level", "memory_top_k": 1},  # gathers, for want of gradients
    "two-level-copying": {"memory": "two_level", "memory_top_k": 9, "copy_head": True, "segment_shift": 4},
}
TOKENS = 75  # more than 8·memory_top_k segments of 8


def model_of(name: str) -> SimMIMForConditionalGeneration:
    """Build a model whose weights are large enough to make every token matter."""
    return with_large_weights(SimMIMForConditionalGeneration(small_config(**MEMORIES[name])))


@pytest.fixture
def texts() -> tuple[Tensor, Tensor]:
    """Three documents, one of them padded left and one right and in its midst, with rubbish in the padding."""
    ids = torch.randint(4, 50, (3, TOKENS), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :30] = 0
    mask[2, 10:20] = mask[2, 40:] = 0
    return ids, mask


@pytest.fixture
def targets() -> tuple[Tensor, Tensor]:
    """Two targets for each document, all different, one of them padded left."""
    ids = torch.randint(4, 50, (6, 14), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[3, :6] = 0
    return ids, mask


@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("wants_maps", [False, True])
def test_targets_side_by_side_are_decoded_as_with_a_document_each(
    name: str, wants_maps: bool, texts: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]
) -> None:
    model, (ids, mask) = model_of(name), texts
    decoded = {"decoder_input_ids": targets[0], "decoder_attention_mask": targets[1], "output_attentions": wants_maps}
    held = targets[1].bool()
    for context in (torch.no_grad, torch.enable_grad):
        with context():
            together = model(ids, mask, **decoded)
            apart = model(ids.repeat_interleave(2, 0), mask.repeat_interleave(2, 0), **decoded)
        torch.testing.assert_close(together.logits[held], apart.logits[held], rtol=0, atol=1e-10)
        for found, expected in zip(together.cross_attentions or (), apart.cross_attentions or (), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MEMORIES)
def test_targets_side_by_side_train_as_with_a_document_each(
    name: str, texts: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]
) -> None:
    model, (ids, mask) = model_of(name), texts
    gradients = []
    for repeats in (1, 2):
        model.zero_grad()
        model(ids.repeat_interleave(repeats, 0), mask.repeat_interleave(repeats, 0), labels=targets[0]).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-10)


CHOICES = {
    "within documents": ([1, 0, 3, 3, 4, 5], 3),
    "one of each": ([0, 3, 4], 3),
    "other documents": ([4, 4, 1, 0], 2),
    "across documents": ([0, 2, 3, 1, 5, 4], 6),
    "more of one": ([2, 2, 3, 2, 5, 5], 3),
    "none": ([], 0),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", MEMORIES)
def test_chosen_targets_go_on_with_their_documents(
    name: str, choice: str, texts: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]
) -> None:
    model, (ids, mask), (target, held) = model_of(name), texts, targets
    rows, _ = CHOICES[choice]
    with torch.no_grad():
        first = model(ids, mask, decoder_input_ids=target[:, :5], decoder_attention_mask=held[:, :5])
        cache = first.past_key_values
        cache.reorder_cache(torch.tensor(rows, dtype=torch.int32))
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(torch.arange(2 * len(rows)) % 2 == 1)
        if not rows:
            assert all(len(layer.projected[0]) == 0 for layer in cache.cross_attention_cache.layers if layer.projected)
            return
        documents = torch.tensor(rows) // 2
        # What is written for one target must not reach another that it shares its past with.
        target = torch.cat((target[rows, :5], torch.randint(4, 50, (len(rows), 9))), 1)
        held, found = held[rows], []
        for t in range(5, 14):
            step = model(
                encoder_outputs=(torch.full_like(first.encoder_last_hidden_state, torch.nan),),  # it was read once
                decoder_input_ids=target[:, t : t + 1],
                decoder_attention_mask=held[:, : t + 1],
                past_key_values=cache,
            )
            found.append(step.logits)
        whole = model(
            ids[documents],
            mask[documents],
            decoder_input_ids=target,
            decoder_attention_mask=held,
            use_cache=False,
        ).logits[:, 5:]
    held = held[:, 5:].bool()
    torch.testing.assert_close(torch.cat(found, 1)[held], whole[held], rtol=0, atol=1e-10)


@pytest.mark.parametrize("choice", CHOICES)
def test_no_more_documents_are_kept_than_must_be(
    choice: str, texts: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]
) -> None:
    cache = model_of("tokens-copying")(*texts, decoder_input_ids=targets[0]).past_key_values
    layers = cache.cross_attention_cache.layers
    before = [layer.projected[0].data_ptr() for layer in layers]
    rows, documents = CHOICES[choice]
    cache.batch_select_indices(torch.tensor(rows, dtype=torch.long))
    assert [len(tensor) for layer in layers for tensor in (*layer.projected, layer.mask)] == [documents] * 9
    moved = [layer.projected[0].data_ptr() for layer in layers] != before
    assert moved == (choice not in ("within documents", "one of each"))


SEARCHES: dict[str, dict[str, Any]] = {
    "beams": {"num_beams": 4},
    "some of the beams": {"num_beams": 4, "num_return_sequences": 2},
    "sampled beams": {"num_beams": 3, "num_return_sequences": 3, "do_sample": True},
    "samples": {"num_return_sequences": 3, "do_sample": True},
    "without a cache": {"num_beams": 3, "use_cache": False},
}


@pytest.mark.parametrize(
    ("name", "search"),
    [
        *(("tokens-copying", search) for search in SEARCHES),
        *(("pyramid", "beams"), ("two-level", "sampled beams"), ("two-level-copying", "without a cache")),
    ],
)
def test_a_search_finds_what_it_finds_with_a_memory_for_each_row(
    name: str, search: str, texts: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(name)
    settings = {"attention_mask": texts[1], "max_new_tokens": 12, "top_k": 0, **SEARCHES[search]}
    torch.manual_seed(3)
    shared = model.generate(texts[0], **settings)
    monkeypatch.delattr(Seq2SeqGenerationHooks, "_expand_inputs_for_generation")
    torch.manual_seed(3)
    assert torch.equal(shared, model.generate(texts[0], **settings))


@pytest.mark.parametrize(("name", "sampled"), list(zip(MEMORIES, [False, True, False, True], strict=True)))
def test_every_hypothesis_has_the_score_that_reading_it_again_gives(
    name: str, sampled: bool, texts: tuple[Tensor, Tensor]
) -> None:
    model, (ids, mask) = model_of(name), texts
    settings = {"num_beams": 4, "num_return_sequences": 4, "do_sample": sampled, "top_k": 0, "max_new_tokens": 12}
    settings |= {"length_penalty": 0.0, "return_dict_in_generate": True, "output_scores": True}
    output = model.generate(ids, attention_mask=mask, **settings)
    assert len(output.sequences) == 12
    for number, (row, score) in enumerate(zip(output.sequences, output.sequences_scores, strict=True)):
        end = (row[1:] == model.config.eos_token_id).nonzero()
        written = row[1 : 2 + int(end[0]) if len(end) else None]
        document = ids[number // 4][mask[number // 4].bool()]
        with torch.no_grad():
            logits = model(document[None], decoder_input_ids=row[None, : len(written)], use_cache=False).logits[0]
        expected = torch.log_softmax(logits, -1).gather(1, written[:, None]).sum()
        assert abs(score - expected) < 1e-4  # transformers adds in float32


@pytest.mark.parametrize("given", ["ids", "embeddings", "encoder outputs", "an offloading cache"])
def test_beams_cost_no_memory_of_their_own(given: str, texts: tuple[Tensor, Tensor]) -> None:
    model, (ids, mask) = model_of("pyramid" if given == "embeddings" else "tokens-copying"), texts
    read: list[int] = []
    model.decoder.memory.register_forward_pre_hook(lambda _, inputs: read.append(len(inputs[0])))
    kept, written = [], []
    for beams in (1, 4):
        inputs = {
            "ids": {"input_ids": ids},
            "embeddings": {"inputs_embeds": model.encoder.embed_tokens(ids)},
            "encoder outputs": {"encoder_outputs": model.encoder(ids, mask)},
            "an offloading cache": {"input_ids": ids, "past_key_values": SimMIMEncoderDecoderCache(2, offloading=True)},
        }[given]
        settings = {"num_beams": beams, "max_new_tokens": 6, "return_dict_in_generate": True, "eos_token_id": None}
        output = model.generate(**inputs, attention_mask=mask, **settings)
        layers = output.past_key_values.cross_attention_cache.layers
        kept.append([tensor.shape for layer in layers for tensor in layer.projected])
        written.append(output.sequences)
    assert kept[0] == kept[1]
    assert read == [3, 3], "the memory is made once a document"
    expected = model.generate(ids, attention_mask=mask, num_beams=4, max_new_tokens=6, eos_token_id=None)
    assert torch.equal(written[1], expected)


def test_as_many_targets_for_each_document_are_asked_for(texts: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ShapeError, match="decoder_input_ids: expected a row for each of 3 documents.* got 4 rows"):
        model_of("pyramid")(*texts, decoder_input_ids=torch.full((4, 2), 5))
