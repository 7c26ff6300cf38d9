from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.report.run_directories import MakeRun, make_run
from unscatter.runs import RunDirectory


@pytest.fixture
def new_run(tmp_path: Path) -> MakeRun:
    """Short histories: a figure does not look different with more steps."""

    def make(name: str = "fit", num_steps: int = 12, **settings: Any) -> RunDirectory:
        return make_run(tmp_path / name, num_steps=num_steps, **settings)

    return make
