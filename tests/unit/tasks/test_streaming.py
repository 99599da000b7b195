"""What is streamed is what decoding all at once gives, without half characters, and steers no terminal."""

import torch

from simmim.data.tokenizer import train_tokenizer
from simmim.tasks.streaming import TextStream, terminal_safe


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


def test_control_characters_do_not_reach_a_terminal():
    assert terminal_safe("a\tb\n\x1b[31mc\x07 d\u202e e\u200d") == "a\tb\n\ufffd[31mc\ufffd d\ufffd e\u200d"
