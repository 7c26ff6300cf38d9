"""What a fit returns: tables as plain rows, so that Python, files and reports show the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from unscatter.methods import Estimate
from unscatter.pipeline import Problem

#: One row of a table, ``{column: value}``.
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Fit:
    """Result of a fit.

    Args:
        problem: what was fitted.
        estimate: parameters of all replicas.
        num_steps: steps done.
        stop_reason: ``converged``, ``out of rounds`` or ``interrupted``.
        parameters: one row per parameter: value, error, Cramer-Rao bound, truth and pull where known.
        replicas: one row per replica and parameter.
        comparison: one row per channel, column and bin: measured and synthetic events and their pull.
        slices: the same for bins of the first observable in slices of the second.
        curves: one row per curve of the problem and point: value, error, error of the prior alone, share of the information that the
            events give, what sets the error, and truth where known.
        measurements: one row per point of the published measurements that the problem names, with the prediction and its pull.
        summary: everything else, see ``result/summary.json`` of a run.
    """

    problem: Problem
    estimate: Estimate
    num_steps: int
    stop_reason: str
    parameters: list[Row]
    replicas: list[Row] = field(default_factory=list)
    comparison: list[Row] = field(default_factory=list)
    slices: list[Row] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)
    measurements: list[Row] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def converged(self) -> bool:
        """Whether the stopping rule was satisfied."""
        return self.stop_reason == "converged"

    def value(self, name: str) -> float:
        """Fitted value of a parameter; KeyError when there is none of that name."""
        return self._row(name)["value"]

    def error(self, name: str) -> float | None:
        """Error of a parameter: spread of the replicas, or the Cramer-Rao bound for a single fit; None where undetermined."""
        row = self._row(name)
        return row["error"] if row["error"] is not None else row["bound"]

    def _row(self, name: str) -> Row:
        rows = {row["name"]: row for row in self.parameters}
        if name not in rows:
            raise KeyError(f"there is no parameter '{name}'; the fit has {list(rows)}")
        return rows[name]
