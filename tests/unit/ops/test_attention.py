"""The attention that is called is torch's, and cuDNN's is out of the choice while a GPU attends."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from simmim.ops import attention


def test_on_a_cpu_it_is_torchs_attention() -> None:
    q, k, v = torch.randn(3, 2, 2, 5, 4).unbind(0)
    mask = torch.rand(2, 1, 5, 5) < 0.7
    mask[..., 0] = True
    for given in ({"attn_mask": mask}, {"is_causal": True}, {}):
        assert attention.scaled_dot_product_attention(q, k, v, **given).equal(
            F.scaled_dot_product_attention(q, k, v, **given)
        )


def test_cudnn_is_out_of_the_choice_while_a_gpu_attends(monkeypatch: pytest.MonkeyPatch) -> None:
    switch = torch.backends.cuda.cudnn_sdp_enabled
    found: list[bool] = []

    def attend(q: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        found.append(switch())
        return q

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    with FakeTensorMode():
        q = torch.empty(2, 2, 5, 4, device="cuda")
        attention.scaled_dot_product_attention(q, q, q)
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):  # somebody wants this one
            attention.scaled_dot_product_attention(q, q, q)
    assert found == [False, True]
    assert switch()


def test_cudnn_comes_back_when_attention_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(F, "scaled_dot_product_attention", fail)
    with FakeTensorMode():
        q = torch.empty(2, 2, 5, 4, device="cuda")
        with pytest.raises(torch.OutOfMemoryError):
            attention.scaled_dot_product_attention(q, q, q)
    assert torch.backends.cuda.cudnn_sdp_enabled()
