"""Marks what is known to fail of transformers' common tests; what no longer fails must leave the table."""

from __future__ import annotations

import re

import pytest

from transformers_suite.known_failures import KNOWN_FAILURES

MARKERS = "accelerate_tests torch_compile_test flash_attn_test flash_attn_2_test flash_attn_3_test".split()
MARKERS += "flash_attn_4_test order is_pipeline_test all_kernels_test generate is_training_test is_fsdp_test is_tensor_parallel_test".split()


def pytest_configure(config: pytest.Config) -> None:
    """Know the markers of transformers' tests."""
    for name in MARKERS:
        config.addinivalue_line("markers", f"{name}: of transformers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect every failure of the table, and no other."""
    used = set()
    for item in items:
        if "transformers_suite" not in item.nodeid:
            continue
        test = item.nodeid.split("::", 1)[1].replace("::", ".")
        for pattern, reason in KNOWN_FAILURES.items():
            if re.fullmatch(pattern, test):
                used.add(pattern)
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    if len(items) > 500:  # all of them
        assert used == set(KNOWN_FAILURES), f"no such test: {sorted(set(KNOWN_FAILURES) - used)}"
