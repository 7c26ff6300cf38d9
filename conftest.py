"""Set-up shared by the tests in `tests/` and by the doctests in `src/`."""

from __future__ import annotations

import os
from typing import Any

# Before matplotlib and torch are imported, here or in a worker process.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch

# One thread per test process: the processes of `pytest -n` share the cores, and sums keep their order.
torch.set_num_threads(1)

# No deadlines and no saved examples: a test passes or fails for its subject, never for the load of the machine.
hypothesis.settings.register_profile(
    "unscatter", deadline=None, max_examples=50, derandomize=True, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unscatter")


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, Any]) -> None:
    """Docstring examples may use `torch` without importing it."""
    doctest_namespace["torch"] = torch


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    """The global random stream starts anew in every test, so that no result depends on the order of the tests."""
    torch.manual_seed(0)
