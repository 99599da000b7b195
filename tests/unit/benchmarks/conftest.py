"""What the tests of all benchmarks share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _threads():
    """Give torch back its threads, whatever a benchmark set."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
