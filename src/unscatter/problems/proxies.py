"""The two proxy problems, whose truths and statistical limits are known exactly."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from unscatter.arrays import Grid
from unscatter.detectors import Detector
from unscatter.errors import SettingsError
from unscatter.physics import proxies as formulas
from unscatter.pipeline import ParameterSpace, Pipeline, Problem
from unscatter.samplers import Rosenblatt, Sampler
from unscatter.theories import Proxy1D, Proxy2D

#: The axis ends a hair below one, where (1 - x)^b has no derivative by b; fewer than one event in 10^12 lies beyond.
_PROXY1D_HIGH = 1 - 1e-6
#: Nodes crowd towards small x as i^1.6: the interpolant then moves no fit to 10^5 events by more than 0.05 standard deviations.
_PROXY2D_GRADING = 1.6


def proxy1d(
    *,
    num_events: float = 100_000,
    luminosity: Mapping[str, float] | None = None,
    rates: bool = True,
    nodes: int = 129,
    detector: Detector | None = None,
    sampler: Sampler | None = None,
) -> Problem:
    """The toy of two parton densities, seen through proton and neutron: six parameters, one observable.

    Shapes alone fix five of the six parameters; the common normalisation needs the numbers of events.

    Args:
        num_events: expected events per channel at the truth, which sets the luminosity.
        luminosity: per channel, instead of ``num_events``.
        rates: whether the theory gives expected counts at all.
        nodes: nodes of the grid.
        detector: ideal unless given.
        sampler: exact unless given.

    Example:
        >>> proxy1d().channels
        ('proton', 'neutron')
    """
    grid = Grid((torch.linspace(0.1, _PROXY1D_HIGH, nodes, dtype=torch.float64),), ("x",))
    space = _box([f"p{i}" for i in range(6)], formulas.PROXY1D_LOW, formulas.PROXY1D_HIGH)
    values = _luminosity(luminosity, Proxy1D(grid, (1.0, 1.0)), num_events, formulas.PROXY1D_TRUTH) if rates else None
    return Problem(
        name="proxy1d",
        space=space,
        pipeline=Pipeline(Proxy1D(grid, values), detector or Detector(), sampler or Rosenblatt()),
        truth=formulas.PROXY1D_TRUTH,
        description="toy parton densities u and d from proton and neutron events: 6 parameters, 2 channels, rates",
    )


def proxy2d(
    *, luminosity: float | None = None, nodes: int = 129, detector: Detector | None = None, sampler: Sampler | None = None
) -> Problem:
    """The benchmark density of two correlated observables: five parameters, shapes only unless a luminosity is given.

    Args:
        luminosity: in the inverse unit of the density's integral; None where rates carry no information.
        nodes: nodes along each axis of the grid.
        detector: ideal unless given.
        sampler: exact unless given.

    Example:
        >>> proxy2d(nodes=17).grid.shape
        (17, 17)
    """
    axis = 0.001 + 0.998 * torch.linspace(0, 1, nodes, dtype=torch.float64) ** _PROXY2D_GRADING
    low, high = torch.tensor(formulas.PROXY2D_LOW), torch.tensor(formulas.PROXY2D_HIGH)
    start = low + (high - low) * torch.tensor(formulas.PROXY2D_START_FRACTION)
    theory = Proxy2D(Grid((axis, axis), ("x", "y")), None if luminosity is None else (luminosity,))
    return Problem(
        name="proxy2d",
        space=_box([f"p{i}" for i in range(5)], formulas.PROXY2D_LOW, formulas.PROXY2D_HIGH),
        pipeline=Pipeline(theory, detector or Detector(), sampler or Rosenblatt()),
        truth=formulas.PROXY2D_TRUTH,
        start=tuple(start.tolist()),
        description="benchmark density of two correlated observables: 5 parameters, 1 channel, shapes",
    )


def _box(names: list[str], low: tuple[float, ...], high: tuple[float, ...]) -> ParameterSpace:
    return ParameterSpace.from_ranges({name: (a, b) for name, a, b in zip(names, low, high, strict=True)})


def _luminosity(given: Mapping[str, float] | None, unit: Proxy1D, num_events: float, truth: tuple[float, ...]) -> tuple[float, ...]:
    if given is not None:
        if set(given) != set(unit.channels):
            raise SettingsError(f"'luminosity' must name the channels {list(unit.channels)}, got {sorted(given)}.")
        return tuple(float(given[channel]) for channel in unit.channels)
    if not num_events > 0:
        raise SettingsError(f"'num_events' must be positive, got {num_events:g}.")
    cross_sections = unit(torch.tensor(truth, dtype=torch.float64)).expected_counts
    assert cross_sections is not None
    return tuple((num_events / cross_sections).tolist())
