"""Tables of a closure test, from the run directories of its fits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unscatter.diagnostics.closure import ClosureSample
from unscatter.pipeline import Problem
from unscatter.report.replicas import replica_parameters
from unscatter.runs import RunDirectory

#: Group of the parameters themselves; the other groups are families of curves.
PARAMETERS = "parameters"

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class ClosureTables:
    """What a closure test says.

    Args:
        groups: one row per parameter and per curve, and one per group with ``name`` None: bias and variance (mean over the points of a
            curve; none over parameters, whose units differ), ratio, distance and coverage with their errors.
        quantities: one row per parameter and per point of every curve: truth, bias, variance.
        fits: one row per fit: its directory, how it ended, and its own distance and coverage.
    """

    groups: list[Row]
    quantities: list[Row]
    fits: list[Row]


@dataclass(frozen=True)
class _Block:
    """Quantities that belong together: one parameter, or one curve."""

    group: str
    name: str
    abscissa: tuple[float | None, ...]
    first: int

    @property
    def quantities(self) -> slice:
        return slice(self.first, self.first + len(self.abscissa))


def closure_tables(runs: Sequence[RunDirectory], problem: Problem) -> ClosureTables:
    """Compare finished fits with the truth of the problem.

    Args:
        runs: of fits to pseudo-data that were made with that truth.
        problem: what they fitted; parameters are compared where it has a truth, and all its curves.

    Raises:
        RunError: a run has no result, or one of another problem.
    """
    truth, blocks = _truth(problem), list(_blocks(problem))
    central, sigma = (torch.stack(values) for values in zip(*(_values(run, problem) for run in runs), strict=True))
    curve = torch.cat([torch.full((len(block.abscissa),), number) for number, block in enumerate(blocks)])
    sample = ClosureSample(central, sigma, truth, curve)
    groups = list(dict.fromkeys(block.group for block in blocks))
    rows = [row for group in groups for row in _group_rows(sample, group, [block for block in blocks if block.group == group])]
    return ClosureTables(rows, list(_quantity_rows(sample, blocks)), [_fit_row(run, sample, i) for i, run in enumerate(runs)])


def _blocks(problem: Problem) -> Iterator[_Block]:
    first = 0
    if problem.truth is not None:
        for name in problem.space.names:
            yield _Block(PARAMETERS, name, (None,), first)
            first += 1
    for family in problem.curves:
        abscissa = tuple(family.abscissa.tolist())
        for name in family.curves:
            yield _Block(family.name, name, abscissa, first)
            first += len(abscissa)


def _truth(problem: Problem) -> Tensor:
    own = [] if problem.truth is None else [torch.tensor(problem.truth, dtype=torch.float64)]
    curves = [problem.true_curves(family) for family in problem.curves]
    assert all(curve is not None for curve in curves), "a closure test has a truth"
    return torch.cat(own + [curve.flatten() for curve in curves if curve is not None])


def _values(run: RunDirectory, problem: Problem) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the replicas of one fit, ``[quantity]`` each; those of a single fit are its own and the bound."""
    replicas = replica_parameters(run, problem.space.names)
    with torch.no_grad():
        curves = [family.function(replicas).double().flatten(1) for family in problem.curves]
    values = torch.cat([*([] if problem.truth is None else [replicas]), *curves], 1)
    return values.mean(0), values.std(0) if len(values) > 1 else _bounds(run, problem)


def _bounds(run: RunDirectory, problem: Problem) -> Tensor:
    """Errors of a single fit, NaN where it quotes none, ``[quantity]``."""
    errors: list[float | None] = []
    if problem.truth is not None:
        by_name = {row["name"]: row["bound"] for row in run.read_result("parameters")}
        errors += [by_name[name] for name in problem.space.names]
    num_points = sum(len(family.curves) * len(family.abscissa) for family in problem.curves)
    has_curves = (run.result / "curves.json").is_file()
    errors += [row["error"] for row in run.read_result("curves")] if has_curves else [None] * num_points
    return torch.tensor([float("nan") if error is None else error for error in errors], dtype=torch.float64)


def _group_rows(sample: ClosureSample, group: str, blocks: Sequence[_Block]) -> Iterator[Row]:
    for block in blocks:
        own = sample.of(block.quantities)
        yield _row(own, group, block.name, with_unit=True)
    everything = slice(blocks[0].first, blocks[-1].quantities.stop)
    yield _row(sample.of(everything), group, None, with_unit=group != PARAMETERS)


def _row(sample: ClosureSample, group: str, name: str | None, *, with_unit: bool) -> Row:
    numbers = {"ratio": sample.ratio, "distance": sample.distance, "coverage": sample.coverage}
    means = (sample.bias.mean(), sample.variance.mean())
    row: Row = {"group": group, "name": name}
    row |= {key: _number(mean) if with_unit else None for key, mean in zip(("bias", "variance"), means, strict=True)}
    for key, measured in numbers.items():
        row |= {key: measured.value, f"{key}_error": measured.error}
    return row


def _quantity_rows(sample: ClosureSample, blocks: Sequence[_Block]) -> Iterator[Row]:
    bias, variance = sample.bias.tolist(), sample.variance.tolist()
    for block in blocks:
        for i, abscissa in enumerate(block.abscissa, start=block.first):
            own = sample.of(slice(i, i + 1))
            yield {
                "group": block.group,
                "name": block.name,
                "abscissa": abscissa,
                "truth": float(sample.truth[i]),
                "bias": bias[i],
                "variance": _number(variance[i]),
                "ratio": own.ratio.value,
                "distance": own.distance.value,
                "coverage": own.coverage.value,
            }


def _fit_row(run: RunDirectory, sample: ClosureSample, index: int) -> Row:
    summary = run.read_result("summary")
    one = slice(index, index + 1)
    own = ClosureSample(sample.central[one], sample.sigma[one], sample.truth, sample.curve)
    facts = {name: summary.get(name) for name in ("stop_reason", "steps", "seconds", "num_replicas")}
    return {"run": run.path.name, **facts, "distance": own.distance.value, "coverage": own.coverage.value}


def _number(value: Tensor | float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
