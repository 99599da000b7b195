"""The memories by themselves: what they hand over, how one is added, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simmim.errors import ConfigError
from simmim.nn.cross_attention import CrossAttention, TwoLevelCrossAttention
from simmim.nn.memory import MEMORIES, Memory
from support import HEADS, HIDDEN, LENGTH, batch_of, documents

NAMES = ("tokens", "pyramid", "two_level")


def memory_of(name: str) -> Memory:
    return MEMORIES.find(name)(HIDDEN, LENGTH, "concat").double()


def test_two_level_puts_the_tokens_side_by_side_without_padding() -> None:
    texts = documents([4, 13, 0])
    vectors, mask = memory_of("two_level")(*batch_of(texts, 20))
    assert vectors.shape == (3, 3 * LENGTH, HIDDEN)
    for row, text in enumerate(texts):
        torch.testing.assert_close(vectors[row, : len(text)], text, rtol=0, atol=0)
        assert not vectors[row, len(text) :].any()
    assert mask[0].tolist() == [True] * 4 + [False] * 14
    assert mask[2].all(), "a document without tokens has its zeros to read"


@pytest.mark.parametrize(
    ("tokens", "size", "masked"), [(1, 1, False), (5, 5, False), (6, 6, False), (7, 12, True), (12, 12, False)]
)
def test_two_level_takes_no_more_room_than_it_must(tokens: int, size: int, masked: bool) -> None:
    """A short document is one segment of its own length, and needs no mask; so does one of whole segments."""
    vectors, mask = memory_of("two_level")(torch.randn(2, tokens, HIDDEN).double())
    assert vectors.shape[1] == size
    assert (mask is not None) == masked


@pytest.mark.parametrize(("tokens", "nodes"), [(1, 1), (6, 1), (7, 3), (18, 5), (24, 7), (30, 9)])
def test_a_pyramid_of_s_segments_has_2s_minus_1_nodes(tokens: int, nodes: int) -> None:
    vectors, mask = memory_of("pyramid")(torch.randn(2, tokens, HIDDEN).double())
    assert vectors.shape == (2, nodes, HIDDEN)
    assert mask is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tokens", [0, 3, 13])
def test_documents_without_tokens_read_zeros(name: str, tokens: int) -> None:
    memory = memory_of(name)
    vectors, mask = memory(torch.zeros(2, tokens, HIDDEN).double(), torch.zeros(2, tokens, dtype=torch.bool))
    assert not vectors.any()
    assert mask.all()
    reader = memory.reader(HEADS, 2).double()
    read = reader(torch.randn(2, 1, HIDDEN).double(), reader.project_memory(vectors, mask), mask)
    assert not read.any()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_depends_neither_on_padding_nor_on_the_batch(name: str) -> None:
    memory = memory_of(name)
    reader = memory.reader(HEADS, 1).double()
    texts = documents([5, 17, 6, 29])
    queries = torch.randn(4, 2, HIDDEN).double()

    def read(tokens: Tensor, mask: Tensor | None, x: Tensor) -> Tensor:
        vectors, held = memory(tokens, mask)
        return reader(x, reader.project_memory(vectors, held), held)

    alone = [read(text[None], None, x[None])[0] for text, x in zip(texts, queries, strict=True)]
    for order in ([0, 1, 2, 3], [3, 0, 2], [2, 2, 1]):
        tokens, mask = batch_of([texts[i] for i in order], 31)
        if name == "tokens":
            tokens = tokens.masked_fill(~mask[..., None], 0)
        together = read(tokens, mask, queries[order])
        torch.testing.assert_close(together, torch.stack([alone[i] for i in order]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("top_k", [1, 2, 50])
@pytest.mark.parametrize("tokens", [3, LENGTH, 20, 70])
def test_constant_values_come_back(top_k: int, tokens: int) -> None:
    """Contract 2: if all values are 1, attention returns 1, whichever way the segments are read."""
    reader = TwoLevelCrossAttention(HIDDEN, HEADS, LENGTH, top_k).double()
    vectors, mask = memory_of("two_level")(torch.randn(2, tokens, HIDDEN).double())
    keys, values, states = reader.project_memory(vectors, mask)
    reader.o_proj = torch.nn.Identity()
    read = reader(torch.randn(2, 4, HIDDEN).double(), (keys, torch.ones_like(values), states), mask)
    torch.testing.assert_close(read, torch.ones_like(read))


def test_a_short_document_is_read_as_by_plain_cross_attention() -> None:
    """Contract 6: with one segment there is nothing to choose."""
    two_level = TwoLevelCrossAttention(HIDDEN, HEADS, LENGTH, 3).double()
    plain = CrossAttention(HIDDEN, HEADS).double()
    plain.load_state_dict({k: v for k, v in two_level.state_dict().items() if "state" not in k})
    tokens, x = torch.randn(2, 5, HIDDEN).double(), torch.randn(2, 3, HIDDEN).double()
    vectors, mask = memory_of("two_level")(tokens)
    read = two_level(x, two_level.project_memory(vectors, mask), mask)
    torch.testing.assert_close(read, plain(x, plain.project_memory(tokens)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_large_vectors_stay_finite(name: str, dtype: torch.dtype) -> None:
    """Contract 8."""
    memory = memory_of(name).to(dtype)
    reader = memory.reader(HEADS, 1).to(dtype)
    tokens = (torch.randn(2, 70, HIDDEN) * 100).to(dtype).requires_grad_()
    vectors, mask = memory(tokens, torch.arange(70) < torch.tensor([[70], [3]]))
    read = reader(tokens[:, :2], reader.project_memory(vectors, mask), mask)
    read.float().mean().backward()
    assert read.isfinite().all()
    assert tokens.grad.isfinite().all()


def test_a_memory_of_ones_own_is_found_by_its_name() -> None:
    @MEMORIES.register("first_token")
    class FirstToken(Memory):
        def forward(self, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
            return tokens[:, :1], None

    try:
        vectors, _ = memory_of("first_token")(torch.randn(2, 4, HIDDEN).double())
        assert vectors.shape == (2, 1, HIDDEN)
        assert type(memory_of("first_token").reader(HEADS, 1)) is CrossAttention
    finally:
        del MEMORIES["first_token"]
    with pytest.raises(ConfigError, match="memory: expected one of pyramid, tokens, two_level; got 'first_token'"):
        memory_of("first_token")


def test_a_reader_must_choose_at_least_one_segment() -> None:
    with pytest.raises(ConfigError, match="top_k: expected a whole number of 1 or more segments, got 0"):
        memory_of("two_level").reader(HEADS, 0)
