"""Parameters of the replicas of a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from unscatter.errors import RunError
from unscatter.runs import RunDirectory


def replica_parameters(run: RunDirectory, names: Sequence[str]) -> Tensor:
    """Fitted parameters, ``[replica, size]``, float64, in the order of ``names``.

    Args:
        run: a finished run.
        names: of the parameters of the problem that it fitted.

    Raises:
        RunError: there is no result, or its parameters are others.
    """
    rows: list[dict[str, Any]] = run.read_result("replicas")
    replicas = [{row["name"]: row["value"] for row in group} for _, group in groupby(rows, key=lambda row: row["replica"])]
    for own in replicas:
        if set(own) != set(names):
            raise RunError(f"the run '{run.path}' has fitted {sorted(own)}, but the parameters of the problem are {sorted(names)}.")
    return torch.tensor([[own[name] for name in names] for own in replicas], dtype=torch.float64)
