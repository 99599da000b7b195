"""Every memory, and what reads it, equals the equations: outputs, gradients, attention maps, and one error bound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simmim.nn.aggregators import AGGREGATORS
from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.cross_attention import CrossAttention
from simmim.nn.memory import MEMORIES, Memory
from simmim.ops import reference
from support import HEADS, HIDDEN, LENGTH, batch_of, documents

LENGTHS = (1, LENGTH - 1, LENGTH, LENGTH + 1, 2 * LENGTH, 27, 0, 17 * LENGTH - 1)
"""The last one has segments enough that a query's choice of one or two is gathered, with gradients and without."""
WIDTH = 17 * LENGTH + 1
QUERIES = 3


def random_memory(name: str, top_k: int, dtype: torch.dtype = torch.float64) -> tuple[Memory, CrossAttention]:
    """Build a memory and its reader, none of whose parameters is zero or one."""
    memory = MEMORIES.find(name)(HIDDEN, LENGTH, "concat")
    reader = memory.reader(HEADS, top_k)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in (*memory.parameters(), *reader.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return memory.to(dtype), reader.to(dtype)


def plain(x: Tensor, vectors: Tensor, reader: nn.Module) -> Tensor:
    """Return ordinary multi-head attention of ``x [N, E]`` to ``vectors [M, E]``."""
    w = dict(reader.named_parameters())
    q, k, v = (
        (source @ w[f"{name}_proj.weight"].T).unflatten(-1, (HEADS, -1)).transpose(0, 1)
        for name, source in (("q", x), ("k", vectors), ("v", vectors))
    )
    return reference.attention(q, k, v).transpose(0, 1).flatten(1) @ w["o_proj.weight"].T


def expected(name: str, x: Tensor, text: Tensor, memory: Memory, reader: CrossAttention, top_k: int) -> Tensor:
    """Apply the equations to one document."""
    if name == "two_level":
        sizes = {"num_heads": HEADS, "segment_length": LENGTH}
        return reference.two_level_attention(x, text, dict(reader.named_parameters()), top_k=top_k, **sizes)
    if name == "pyramid":
        text = distinct_nodes(text, dict(memory.hierarchy.named_parameters()), "concat")
    return plain(x, text, reader)


def distinct_nodes(text: Tensor, weights: dict[str, Tensor], aggregator: str) -> Tensor:
    """Return the means of the reference's nodes, but for those that are only carried up from the level below."""
    [nodes, *above] = reference.hierarchy(list(text.split(LENGTH)), weights, aggregator)
    found, below = list(nodes), len(nodes)
    for level in above:
        found += level[: below // 2]
        below = len(level)
    return torch.stack([node.mean(0) for node in found])


def batch(texts: list[Tensor], name: str) -> tuple[Tensor, Tensor]:
    tokens, mask = batch_of(texts, WIDTH)
    # A memory of tokens is read as it is, and the encoder's output is zero at padding; others make their own.
    return (tokens.masked_fill(~mask[..., None], 0) if name == "tokens" else tokens), mask


def gradients(output: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(3), dtype=output.dtype)
    found = torch.autograd.grad((output * direction).sum(), wanted, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, found, strict=True)]


CASES = [("tokens", 1), ("pyramid", 1), ("two_level", 1), ("two_level", 2), ("two_level", 17), ("two_level", 99)]


@pytest.mark.parametrize(("name", "top_k"), CASES)
def test_outputs_and_gradients_equal_the_equations(name: str, top_k: int) -> None:
    memory, reader = random_memory(name, top_k)
    texts = [text.requires_grad_() for text in documents(LENGTHS)]
    x = torch.randn(len(texts), QUERIES, HIDDEN, dtype=torch.float64, requires_grad=True)
    vectors, mask = memory(*batch(texts, name))
    output = reader(x, reader.project_memory(vectors, mask), mask)
    assert not output[6].any(), "a document without tokens reads zeros"
    held = [row for row, text in enumerate(texts) if len(text)]
    truth = torch.stack([expected(name, x[row], texts[row], memory, reader, top_k) for row in held])
    torch.testing.assert_close(output[held], truth, rtol=0, atol=1e-12)
    wanted = [x, *(texts[row] for row in held), *memory.parameters(), *reader.parameters()]
    for ours, theirs in zip(gradients(output[held], wanted), gradients(truth, wanted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)
    # A document alone, and without gradients, takes other paths.
    with torch.no_grad():
        for row, true in zip(held, truth, strict=True):
            vectors, mask = memory(texts[row][None])
            alone = reader(x[row][None], reader.project_memory(vectors, mask), mask)[0]
            torch.testing.assert_close(alone, true, rtol=0, atol=1e-12)


@pytest.mark.parametrize("aggregator", sorted(AGGREGATORS))
def test_a_pyramid_gives_every_node_once_from_the_segments_up(aggregator: str) -> None:
    memory = MEMORIES.find("pyramid")(HIDDEN, LENGTH, aggregator).double()
    for parameter in memory.parameters():
        nn.init.normal_(parameter, std=0.5)
    texts = documents(LENGTHS)
    vectors, mask = memory(*batch(texts, "pyramid"))
    assert vectors.shape == (len(texts), 2 * 17 - 1, HIDDEN)
    for row, text in enumerate(texts):
        if len(text):
            truth = distinct_nodes(text, dict(memory.hierarchy.named_parameters()), aggregator)
            assert mask[row].tolist() == [column < len(truth) for column in range(33)]
            torch.testing.assert_close(vectors[row, : len(truth)], truth, rtol=0, atol=1e-12)
            assert not vectors[row, len(truth) :].any()


@pytest.mark.parametrize(("name", "top_k"), CASES)
def test_maps_are_the_weights_that_were_used(name: str, top_k: int) -> None:
    """They sum to one over what exists, times the values they are the output, and the output goes on from them."""
    memory, reader = random_memory(name, top_k)
    vectors, mask = memory(*batch(documents(LENGTHS), name))
    x = torch.randn(len(LENGTHS), QUERIES, HIDDEN, dtype=torch.float64)
    projected, maps = reader.project_memory(vectors, mask), AttentionMaps()
    output = reader(x, projected, mask, maps)
    weights = maps.kept["cross"]
    assert weights.shape == (len(LENGTHS), HEADS, QUERIES, vectors.shape[1])
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=0, atol=1e-12)
    assert not weights.masked_select(~mask[:, None, None]).any()
    if name == "two_level":
        assert int((weights > 0).sum(-1).max()) <= top_k * LENGTH
    mixed = (weights @ projected[1]).transpose(1, 2).flatten(-2)
    torch.testing.assert_close(reader.o_proj(mixed), output, rtol=0, atol=1e-12)
    torch.testing.assert_close(reader(x, projected, mask), output, rtol=0, atol=1e-12)
    [gradient] = torch.autograd.grad(output.sum(), weights)
    assert gradient.any()


def test_nothing_is_gathered_at_once_that_need_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients the chosen segments are gathered in parts; the parts give what the whole gives."""
    memory, reader = random_memory("two_level", 1)
    vectors, mask = memory(*batch(documents(LENGTHS), "two_level"))
    x = torch.randn(len(LENGTHS), QUERIES, HIDDEN, dtype=torch.float64)
    projected = reader.project_memory(vectors, mask)
    whole, sizes, select = reader(x, projected, mask), [], Tensor.index_select

    def counted(tensor: Tensor, *args: object) -> Tensor:
        found = select(tensor, *args)
        sizes.append(found.numel() if tensor.is_floating_point() else 0)
        return found

    limit = 2 * LENGTH * HIDDEN
    monkeypatch.setattr("simmim.ops.attention.GATHER_LIMIT", limit)
    monkeypatch.setattr(Tensor, "index_select", counted)
    with torch.no_grad():
        parts = reader(x, projected, mask)
    assert len(sizes) > 3, "in parts"
    assert 2 * max(sizes) <= limit, "keys and values together"
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "top_k"), [("tokens", 1), ("two_level", 99)])
def test_error_is_at_most_twice_that_of_the_naive_form(name: str, top_k: int, dtype: torch.dtype) -> None:
    """|fast - ref64| <= 2 |naive in the same dtype - ref64|, outputs and gradients, as norms over the tensor."""
    [text], [x] = documents([41], dtype), documents([5], dtype, seed=7)

    def run(into: torch.dtype, fast: bool) -> list[Tensor]:
        memory, reader = (module.to(into) for module in random_memory(name, top_k, dtype))
        tokens, queries = (t.to(into).detach().requires_grad_() for t in (text, x))
        if fast:
            vectors, mask = memory(tokens[None])
            out = reader(queries[None], reader.project_memory(vectors, mask), mask)[0]
        else:
            out = expected(name, queries, tokens, memory, reader, top_k)
        return [t.double() for t in (out, *gradients(out, [tokens, queries, *reader.parameters()]))]

    truth = run(torch.float64, False)
    for ours, naive, true in zip(run(dtype, True), run(dtype, False), truth, strict=True):
        assert ours.isfinite().all()
        assert (ours - true).norm() <= 2 * (naive - true).norm() + 1e-12
