"""What is streamed is what decoding all at once gives, without half characters."""

import pytest
import torch

from simmim.data.tokenizer import train_tokenizer
from simmim.tasks.streaming import TextStream


def test_pieces_make_up_the_text_and_hold_whole_characters():
    tokenizer = train_tokenizer(["a tree by the sea"], 270)
    text = "a tree 樹 by\nthe 🌲 sea"
    ids = tokenizer(text)["input_ids"]
    pieces: list[str] = []
    stream = TextStream(tokenizer, pieces.append)
    stream.put(torch.tensor([[1, 5, 6]]))  # the prompt
    for token in ids:
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) > 10
    assert stream.tokens == ids


@pytest.mark.parametrize(
    "text",
    ["\ufffd", "a\ufffd", "a\ufffd\ufffd", "a\ufffdb", "\ufffd" * 20, "樹\ufffd 🌲\ufffd", "a \ufffd\n", ""],
    ids=lambda text: ascii(text[:6]),
)
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_the_end_is_what_decoding_all_at_once_gives(text, cut):
    tokenizer = train_tokenizer(["a tree by the sea"], 270)
    ids = tokenizer(f"{text}🌲" if cut else text, add_special_tokens=False)["input_ids"]
    ids = [*ids[: len(ids) - cut], tokenizer.eos_token_id]
    pieces: list[str] = []
    stream = TextStream(tokenizer, pieces.append)
    stream.put(torch.tensor([[1]]))
    for token in ids:
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)
    assert "".join(pieces).startswith(text)
    if not cut:
        assert "".join(pieces) == text
