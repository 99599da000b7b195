"""Tokens are drawn as the OpenAI API reference says, and texts come piece by piece as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from simmim.serve.pieces import Pieces
from simmim.serve.sampling import Sampler, Sampling

CPU = torch.device("cpu")
LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
IDS = torch.zeros(1, 3, dtype=torch.long)


def shares(sampling: Sampling, rows: int = 4000) -> torch.Tensor:
    """Return how often each token is drawn."""
    chosen = Sampler(sampling, rows, CPU)(IDS.expand(rows, -1), LOGITS.expand(rows, -1)).argmax(-1)
    return torch.bincount(chosen, minlength=4) / rows


def test_temperature_and_top_p_shape_what_is_drawn() -> None:
    for temperature in (0.5, 1.0, 2.0):
        expected = torch.softmax(LOGITS[0] / temperature, 0)
        assert torch.allclose(shares(Sampling(temperature=temperature, seed=0)), expected, atol=0.03)
    first, second = torch.softmax(LOGITS[0], 0)[:2].tolist()
    for top_p in (first - 0.01, 5e-324):
        assert shares(Sampling(top_p=top_p, seed=0)).tolist() == [1, 0, 0, 0]
    nucleus = shares(Sampling(top_p=first + 0.01, seed=0))
    assert nucleus[0].item() == pytest.approx(first / (first + second), abs=0.03)
    assert nucleus[2:].tolist() == [0, 0]
    assert shares(Sampling(temperature=0)).tolist() == [1, 0, 0, 0]


def test_penalties_and_bias_follow_the_formula() -> None:
    sampler = Sampler(Sampling(temperature=0, presence_penalty=0.7, frequency_penalty=0.4, logit_bias={3: 1.5}), 1, CPU)
    written: list[int] = []
    for _ in range(12):
        counts = torch.bincount(torch.tensor(written, dtype=torch.long), minlength=4)
        expected = LOGITS[0] + torch.tensor([0, 0, 0, 1.5]) - 0.4 * counts - 0.7 * (counts > 0)
        ids = torch.cat((IDS, torch.tensor([written], dtype=torch.long)), 1)
        chosen = int(sampler(ids, LOGITS).argmax())
        assert chosen == int(expected.argmax())
        written.append(chosen)
    assert set(written) == {0, 1, 2, 3}


@pytest.fixture(scope="module")
def tokenizer(tiny_chat_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_chat_model)


@settings(max_examples=60)
@given(ids=st.lists(st.integers(0, 289), max_size=12), data=st.data())
def test_pieces_make_the_text_up_to_the_first_stop(tokenizer: PreTrainedTokenizerBase, ids: list[int], data) -> None:
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    spans = st.tuples(st.integers(0, max(0, len(whole) - 1)), st.integers(1, 4))
    stops = [whole[at : at + size] for at, size in data.draw(st.lists(spans, max_size=3))] if whole else []
    written: list[str] = []
    pieces = Pieces(tokenizer, [1000], stops, written.append)
    for token in ids:
        pieces.put(token)
    pieces.end("length")
    # The first stop text to be complete ends the text: what comes after it is never known.
    ends = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops]
    text = "".join(written)
    assert whole.startswith(text)
    assert not any(stop in text for stop in stops)
    if not ends:
        assert (text, pieces.reason) == (whole, "length")
    else:
        assert pieces.reason == "stop"
        assert len(text) in {at for _, at in ends}
