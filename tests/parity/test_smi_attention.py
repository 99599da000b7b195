"""Every option of the fast SMI attention equals the equations, in outputs and in every gradient (contracts 1 and 8)."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from simmim.nn import SMIAttention
from simmim.ops import reference
from support import (
    DEFAULT,
    DOCUMENT_LENGTHS,
    HEADS,
    HIDDEN,
    LENGTH,
    LITERAL,
    batch_of,
    covering,
    documents,
    every_option,
    name_of,
    random_layer,
    reference_output,
    some_options,
)

WIDTH = 29


def gradients(output: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    """Return the gradients of a fixed random function of the output; zero where there is none."""
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(3), dtype=output.dtype)
    found = torch.autograd.grad((output * direction).sum(), wanted, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, found, strict=True)]


def assert_equals_reference(options: dict[str, Any]) -> None:
    layer = random_layer(**options)
    texts = [text.requires_grad_() for text in documents(DOCUMENT_LENGTHS)]
    hidden, mask = batch_of(texts, WIDTH)
    output = layer(hidden, mask)
    assert not output[~mask].any(), "padding must be zero"
    fast = torch.cat([row[held] for row, held in zip(output, mask, strict=True)])
    slow = torch.cat([reference_output(layer, text, options) for text in texts])
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-11)
    wanted = [*texts, *layer.parameters()]
    for name, ours, theirs in zip(
        [*(f"text {i}" for i in range(len(texts))), *(n for n, _ in layer.named_parameters())],
        gradients(fast, wanted),
        gradients(slow, wanted),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10, msg=lambda m, n=name: f"gradient of {n}: {m}")
    # An unpadded batch takes another path through the segments.
    alone = layer(texts[5][None])[0]
    torch.testing.assert_close(alone, reference_output(layer, texts[5], options), rtol=0, atol=1e-11)


@pytest.mark.parametrize("options", some_options(), ids=name_of)
def test_some_options_equal_the_equations(options: dict[str, Any]) -> None:
    assert_equals_reference(options)


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.parametrize("options", some_options(3), ids=name_of)
def test_every_option_equals_the_equations(options: dict[str, Any]) -> None:
    """Contract 1 with every three values of three options that can meet."""
    assert_equals_reference(options)


@pytest.mark.parametrize("tokens", [1, LENGTH - 1, LENGTH, LENGTH + 1, 2 * LENGTH, 63])
def test_literal_form_is_the_five_equations(tokens: int) -> None:
    """The options' reference and the fast form both equal the source's own equations, which know no options."""
    layer = random_layer(rotary=False, **LITERAL)
    [text] = documents([tokens])
    weights = dict(layer.named_parameters())
    literal = reference.smi_attention_literal(text, weights, LENGTH, HEADS)
    torch.testing.assert_close(layer(text[None])[0], literal, rtol=0, atol=1e-11)
    torch.testing.assert_close(reference_output(layer, text, {**LITERAL, "rotary": False}), literal, rtol=0, atol=1e-11)


@pytest.mark.parametrize("options", [DEFAULT, LITERAL, {**DEFAULT, "causal": True, "state_null": True}], ids=name_of)
def test_gradcheck(options: dict[str, Any]) -> None:
    """Analytic gradients equal finite differences, so reference and fast form cannot be wrong in the same way."""
    layer = random_layer(**options)
    [text] = documents([LENGTH + 3])
    names = [name for name, _ in layer.named_parameters()]

    def apply(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(apply, (text[None].requires_grad_(), *parameters), atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("read", ["attend", "broadcast"])
def test_error_is_at_most_twice_that_of_the_naive_form(dtype: torch.dtype, causal: bool, read: str) -> None:
    """|fast - ref64| <= 2 |naive in the same dtype - ref64|, outputs and gradients, as norms over the tensor."""
    options = {**DEFAULT, "causal": causal, "state_read": read}
    exact = random_layer(**options).to(dtype).double()
    rounded = random_layer(**options).to(dtype)
    [text] = documents([41], dtype)

    def run(layer: SMIAttention, fast: bool, x: Tensor) -> list[Tensor]:
        x = x.detach().requires_grad_()
        out = layer(x[None])[0] if fast else reference_output(layer, x, options)
        return [t.double() for t in (out, *gradients(out, [x, *layer.parameters()]))]

    truth = run(exact, False, text.double())
    for ours, naive, true in zip(run(rounded, True, text), run(rounded, False, text), truth, strict=True):
        assert ours.isfinite().all()
        assert (ours - true).norm() <= 2 * (naive - true).norm() + 1e-12


def steps_equal_the_whole(options: dict[str, Any], starts: Sequence[int]) -> None:
    """Read some tokens at once and the others one by one: ragged and with holes, and side by side without padding."""
    layer = random_layer(**options)
    hidden, mask = batch_of(documents(DOCUMENT_LENGTHS), WIDTH)
    full = torch.stack(documents([WIDTH] * 2))
    for x, held in ((hidden, mask), (full, None)):
        expected = layer(x, held)
        for start in starts:
            first, cache = layer.prefill(x[:, :start], None if held is None else held[:, :start])
            rest = [
                layer.step(x[:, t : t + 1], cache, None if held is None else held[:, t : t + 1])
                for t in range(start, WIDTH)
            ]
            actual = torch.cat((first, *rest), dim=1)
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-11, msg=lambda m: f"{options}: {m}")


def causal_options() -> list[dict[str, Any]]:
    return [chosen for chosen in every_option() if chosen["causal"]]


def in_turn(*values: Any, among: Iterable[dict[str, Any]] | None = None) -> list[Any]:
    """Return causal options, some if not said, each with one of the values as parameters: the values take turns."""
    pairs = zip(among or some_options(causal=True), itertools.cycle(values), strict=False)
    return [pytest.param(options, value, id=f"{name_of(options)}-{value}") for options, value in pairs]


@pytest.mark.parametrize(("options", "starts"), in_turn((0, LENGTH), (1, 2 * LENGTH + 1)))
@torch.no_grad()
def test_a_step_at_a_time_equals_the_parallel_pass(options: dict[str, Any], starts: tuple[int, ...]) -> None:
    """Contract 4 on a layer, for some options: prefill of any length, then steps."""
    steps_equal_the_whole(options, starts)


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.parametrize("options", some_options(3, causal=True), ids=name_of)
@torch.no_grad()
def test_a_step_at_a_time_equals_the_parallel_pass_with_every_option(options: dict[str, Any]) -> None:
    """Contract 4 on a layer, with every three values of three options that can meet."""
    steps_equal_the_whole(options, (0, LENGTH + 1))


@torch.no_grad()
def test_a_token_without_padding_costs_few_operations() -> None:
    """What all layers share, and all documents, is not worked out by each: a guard of the time that a token takes."""
    layer = random_layer(torch.float32, **DEFAULT, causal=True)
    _, cache = layer.prefill(torch.randn(2, 3 * LENGTH + 1, HIDDEN))
    token, layout = torch.randn(2, 1, HIDDEN), cache.layout(1)
    other = copy.deepcopy(cache)
    layer.step(token, other, layout=layout)

    class Counter(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if not func.is_view:
                counted.append(str(func))
            return func(*args, **(kwargs or {}))

    counted: list[str] = []
    with Counter():
        layer.step(token, cache, layout=layout)
    assert len(counted) <= 24, counted


CUTS = ((1,), (LENGTH,), (2 * LENGTH + 1, 2 * LENGTH + 3), (0, 4, 5, 5, 3 * LENGTH))


@pytest.mark.parametrize(("options", "cuts"), in_turn(*CUTS))
def test_parts_make_the_whole(options: dict[str, Any], cuts: tuple[int, ...]) -> None:
    """Contract 4 part by part: a text in parts, each at once, ragged and with holes, gives what it gives whole.

    Its cache, too, goes on as that of single steps does, and a gradient flows through it.
    """
    layer = random_layer(**options)
    hidden, mask = batch_of(documents(DOCUMENT_LENGTHS), WIDTH)
    hidden.requires_grad_()
    expected = layer(hidden, mask)
    first, cache = layer.prefill(hidden[:, :1], mask[:, :1])
    parts, start = [first], 1
    for end in (*(cut + 1 for cut in cuts), WIDTH - 2):
        part, cache = layer.extend(hidden[:, start:end], mask[:, start:end], past=cache)
        parts.append(part)
        start = end
    parts += [layer.step(hidden[:, t : t + 1], cache, mask[:, t : t + 1]) for t in range(start, WIDTH)]
    actual = torch.cat(parts, dim=1)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-11)
    assert cache.seen == WIDTH
    wanted, got = (torch.autograd.grad(out.square().sum(), hidden)[0] for out in (expected, actual))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-9)


def two_parts_make_the_whole(options: dict[str, Any], cuts: Sequence[int]) -> None:
    """Cut a text in two, and go on in steps; ragged and without padding."""
    layer = random_layer(**options)
    hidden, mask = batch_of(documents(DOCUMENT_LENGTHS), WIDTH)
    for x, held in ((hidden, mask), (torch.stack(documents([WIDTH] * 2)), torch.ones(2, WIDTH, dtype=torch.bool))):
        expected = layer(x, held)
        for cut in cuts:
            first, cache = layer.prefill(x[:, :cut], held[:, :cut])
            second, cache = layer.extend(x[:, cut:-2], held[:, cut:-2], past=cache)
            steps = [layer.step(x[:, t : t + 1], cache, held[:, t : t + 1]) for t in (WIDTH - 2, WIDTH - 1)]
            torch.testing.assert_close(torch.cat((first, second, *steps), 1), expected, rtol=0, atol=1e-11)


def with_thirds_of_the_cuts() -> list[Any]:
    """Return causal options and a third of the cuts; every two values of options meet with each third."""
    combinations = [{**options, "first": first} for options in causal_options() for first in range(3)]
    return [
        pytest.param(options, range(first, WIDTH - 2, 3), id=f"{name_of(options)}-{first}")
        for first, options in ((chosen.pop("first"), chosen) for chosen in covering(combinations, 3))
    ]


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.parametrize(("options", "cuts"), with_thirds_of_the_cuts())
@torch.no_grad()
def test_parts_of_any_cut_make_the_whole_with_every_option(options: dict[str, Any], cuts: range) -> None:
    """Contract 4 part by part: a third of the cuts with each combination, so every cut with every two values."""
    two_parts_make_the_whole(options, cuts)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "cuts"), in_turn(range(WIDTH - 2), among=causal_options()))
@torch.no_grad()
def test_parts_of_every_cut_make_the_whole_with_every_option(options: dict[str, Any], cuts: range) -> None:
    """The same with every cut."""
    two_parts_make_the_whole(options, cuts)


@pytest.mark.parametrize("reach", ["all", "pyramid"])
@pytest.mark.parametrize("causal", [False, True])
def test_nothing_is_gathered_at_once_that_need_not_be(
    monkeypatch: pytest.MonkeyPatch, reach: str, causal: bool
) -> None:
    """The keys are gathered in parts, forward and backward; the parts give what autograd makes of the whole."""
    layer = random_layer(**DEFAULT | {"state_reach": reach, "causal": causal, "state_null": True})
    hidden, mask = batch_of(documents(DOCUMENT_LENGTHS), WIDTH)
    hidden.requires_grad_()
    inputs = (hidden, *layer.parameters())
    weight = torch.linspace(-1, 1, hidden.numel(), dtype=hidden.dtype).view_as(hidden)
    with sdpa_kernel(SDPBackend.MATH):  # which leaves everything to autograd
        whole = layer(hidden, mask)
        expected = torch.autograd.grad((whole * weight).sum(), inputs)
    monkeypatch.setattr("simmim.ops.attention.GATHER_LIMIT", 2 * HIDDEN * 3 * LENGTH)
    parts = layer(hidden, mask)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad((parts * weight).sum(), inputs), expected, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(layer(hidden, mask), whole, rtol=0, atol=1e-12)


def test_training_under_autocast_is_that_of_the_plain_kernel() -> None:
    """bfloat16 by autocast: same type, and the same numbers as where autograd keeps everything, to rounding."""
    layer = random_layer(torch.float32, **DEFAULT)
    hidden = torch.randn(2, 5 * LENGTH + 1, HIDDEN)
    with torch.autocast("cpu", torch.bfloat16):
        ours = layer(hidden)
        with sdpa_kernel(SDPBackend.MATH):
            plain = layer(hidden)
    assert ours.dtype == plain.dtype
    ours.float().mean().backward()
    torch.testing.assert_close(ours, plain, rtol=2e-2, atol=2e-2)


def test_training_keeps_no_gathered_keys() -> None:
    """What autograd keeps of a layer is that of its tokens, and not their neighbours' keys again."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    layer = random_layer(**DEFAULT)
    hidden = torch.randn(1, 32 * LENGTH, HIDDEN, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(hidden)
    weights = sum(parameter.nbytes for parameter in layer.parameters())
    # Input, query, key, value and output, with two factors of the rotation each for queries and keys, and small things.
    assert sum(kept.values()) - weights < 12 * hidden.nbytes
