"""Prints SHA-256 digests of what the models compute, so that a change of code can be shown to change no number.

    python -m lab.output_digests --output before.json          on the code before the change
    python -m lab.output_digests --compare before.json         on the code after it

The digests cover, in float32 on one thread: both shipped models on 50 fixed inputs (padded batches, a prompt that is
continued token by token), and for a small model of every form of attention the outputs, gradients, decoding steps and
state-dict keys. They depend on the machine and on the version of torch: they are compared, never stored here.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.pretrained import LANGUAGE_MODEL
from simmim import SimMIMConfig, SimMIMForCausalLM, SimMIMForConditionalGeneration, SimMIMModel
from simmim.models.pretrained import SUMMARISER, pretrained_path

INPUTS = 50
STEPS = 5
"""Tokens that are decoded one at a time after each prompt."""

FORMS: dict[str, dict[str, object]] = {
    "default": {},
    "literal": {"state_pooling": "first", "state_read": "broadcast", "neighbours": 0, "partial_rotary_factor": 1.0},
    "gated": {"state_read": "gated_broadcast", "state_null": True},
    "none": {"state_read": "none"},
    "block-local": {"state_read": "none", "neighbours": 0},
    "shifted": {"segment_shift": 4},
    "null": {"state_null": True},
    "shared": {"state_weight": "shared", "tie_state_projections": False},
    "limited": {"training_length": 24},
    "pyramid": {"state_reach": "pyramid"},
    "pyramid-broadcast": {"state_reach": "pyramid", "state_read": "broadcast", "aggregator": "attention"},
    "attention-pooling": {"state_pooling": "attention", "partial_rotary_factor": 1.0},
    "last": {"state_pooling": "last", "rotary": False, "tie_state_projections": False},
}


def digest(tensors: Iterator[tuple[str, Tensor | None]] | list[tuple[str, Tensor | None]]) -> str:
    """Return the SHA-256 of named tensors, bit for bit."""
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(name.encode())
        if tensor is not None:
            found.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
            found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def example(number: int, vocabulary: int, longest: int) -> tuple[Tensor, Tensor]:
    """Return the ids and the mask of a batch: one to three documents, padded on either side or inside."""
    make = torch.Generator().manual_seed(number)
    batch, tokens = 1 + number % 3, int(torch.randint(1, longest, (), generator=make))
    ids = torch.randint(3, vocabulary, (batch, tokens), generator=make)
    mask = torch.ones_like(ids)
    if batch > 1:
        mask[0, : tokens // 3] = 0
        mask[1, tokens // 2 + 1 :] = 0
    if batch > 2:
        mask[2] = torch.rand(tokens, generator=make) < 0.8
        mask[2, -1] = 1
    return ids, mask


@torch.no_grad()
def continued(model: SimMIMForCausalLM, ids: Tensor, mask: Tensor) -> list[tuple[str, Tensor | None]]:
    """Return the logits of a prompt in two parts and of some single steps."""
    cut = max(1, ids.shape[1] // 2)
    found: list[tuple[str, Tensor | None]] = []
    out = model(input_ids=ids[:, :cut], attention_mask=mask[:, :cut], use_cache=True)
    found.append(("first part", out.logits))
    if cut < ids.shape[1]:
        out = model(input_ids=ids[:, cut:], attention_mask=mask, past_key_values=out.past_key_values)
        found.append(("second part", out.logits))
    for step in range(STEPS):
        mask = torch.cat((mask, torch.ones_like(mask[:, :1])), 1)
        token = (ids[:, :1] + step) % model.config.vocab_size
        out = model(input_ids=token, attention_mask=mask, past_key_values=out.past_key_values)
        found.append((f"step {step}", out.logits))
    return found


@torch.no_grad()
def shipped_digests() -> dict[str, str]:
    """Return a digest of each shipped model on each input."""
    found = {}
    language = SimMIMForCausalLM.from_pretrained(LANGUAGE_MODEL, dtype=torch.float32).eval()
    summariser = SimMIMForConditionalGeneration.from_pretrained(pretrained_path(SUMMARISER), dtype=torch.float32).eval()
    for number in range(INPUTS):
        ids, mask = example(number, language.config.vocab_size, 700)
        whole = [("logits", language(input_ids=ids, attention_mask=mask).logits)]
        found[f"{LANGUAGE_MODEL.name} {number}"] = digest(whole + continued(language, ids, mask))
        ids, mask = example(number, summariser.config.vocab_size, 700)
        out = summariser(input_ids=ids, attention_mask=mask, decoder_input_ids=ids[:, :20])
        found[f"{SUMMARISER} {number}"] = digest(
            [("logits", out.logits), ("encoder", out.encoder_last_hidden_state)]
            + [("written", summariser.generate(ids, attention_mask=mask, max_new_tokens=5))] * (number % 5 == 0)
        )
    return found


def small_config(form: dict[str, object], *, causal: bool) -> SimMIMConfig:
    """Return the configuration of a small model of a form."""
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "segment_length": 8,
    }
    return SimMIMConfig(**{**sizes, "num_hidden_layers": 2, "copy_head": causal, **form})  # type: ignore[arg-type]


def form_digests(name: str, form: dict[str, object]) -> dict[str, str]:
    """Return digests of outputs, gradients, steps and state-dict keys of a small encoder and decoder of a form."""
    found = {}
    for causal in (False, True):
        torch.manual_seed(0)
        cls = SimMIMForCausalLM if causal else SimMIMModel
        model: Any = cls(small_config(form, causal=causal))
        with torch.no_grad():
            for parameter in model.parameters():  # what starts at zero would hide what comes through it
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        kind = f"{name} {'causal' if causal else 'encoder'}"
        found[f"{kind} keys"] = hashlib.sha256("\n".join(model.state_dict()).encode()).hexdigest()
        for number in range(4):
            ids, mask = example(number, 64, 90)
            model.train().zero_grad()
            out = model(input_ids=ids, attention_mask=mask)
            kept = out.logits if causal else torch.cat((out.last_hidden_state, out.global_representation), 1)
            kept.square().sum().backward()
            gradients = ((key, parameter.grad) for key, parameter in model.named_parameters())
            found[f"{kind} {number}"] = digest(itertools.chain([("outputs", kept)], gradients))
            model.eval()
            with torch.no_grad():
                maps = model(input_ids=ids, attention_mask=mask, output_attentions=True)
            shown = zip(itertools.count(), (*maps.attentions, *maps.state_attentions))
            found[f"{kind} {number} maps"] = digest([(str(key), value) for key, value in shown])
            if causal:
                found[f"{kind} {number} continued"] = digest(continued(model, ids, mask))
    return found


def main() -> None:
    """Print, write or compare the digests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the digests to this file (JSON)")
    parser.add_argument(
        "--compare", type=Path, help="compare with the digests of this file; exit with 1 if one differs"
    )
    parser.add_argument("--forms-only", action="store_true", help="leave out the shipped models")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {} if options.forms_only else shipped_digests()
    for name, form in FORMS.items():
        found |= form_digests(name, form)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1))
    print(f"{len(found)} digests, together {hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()}")
    if options.compare:
        before = json.loads(options.compare.read_text())
        differ = [name for name in found if found[name] != before.get(name)]
        print(f"{len(differ)} of {len(found)} differ" + "".join(f"\n  {name}" for name in differ))
        raise SystemExit(bool(differ))


if __name__ == "__main__":
    main()
