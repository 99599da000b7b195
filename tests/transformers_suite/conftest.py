"""Marks what is known to fail of transformers' common tests; what no longer fails must leave the table."""

from __future__ import annotations

import os
import re

os.environ["OMP_NUM_THREADS"] = "1"  # tiny models are slower with more, and several processes share the cores
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

from transformers_suite.known_failures import KNOWN_FAILURES

MARKERS = (
    *("accelerate_tests", "all_kernels_test", "flash_attn_test", "flash_attn_2_test", "flash_attn_3_test"),
    *("flash_attn_4_test", "generate", "is_fsdp_test", "is_pipeline_test", "is_tensor_parallel_test"),
    *("is_training_test", "order", "torch_compile_test"),
)


torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Know the markers of transformers' tests."""
    for name in MARKERS:
        config.addinivalue_line("markers", f"{name}: of transformers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect every failure of the table, and no other."""
    used = set()
    for item in items:
        test = item.nodeid.split("::", 1)[1].replace("::", ".")
        for pattern, reason in KNOWN_FAILURES.items():
            if re.fullmatch(pattern, test):
                used.add(pattern)
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    wrong = set(KNOWN_FAILURES) - used
    assert not wrong, f"no such test: {sorted(wrong)}"
