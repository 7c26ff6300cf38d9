"""Pseudo-data without fluctuations: counts and averages are the expected ones."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unscatter.arrays import Events, Grid
from unscatter.detectors import Cuts, Detector, Efficiency, Smearing
from unscatter.errors import ParameterError, SettingsError
from unscatter.pipeline import ParameterSpace, Pipeline, Problem, asimov_events
from unscatter.problems import proxy1d, proxy2d
from unscatter.theories import FunctionTheory

NUM_EVENTS = 20_000


def mean(events: Events, column: str) -> float:
    weights = events.weights_or_ones()
    return float((weights * events.column(column)).sum() / weights.sum())


def expected_mean(problem: Problem, channel: int) -> float:
    """Of the first column, by Simpson's rule, exact for a multilinear density."""
    density = problem.density(problem.parameters_or_truth(None))
    x, rho = problem.grid.axes[0], density.values[channel]
    middle, rho_middle = (x[1:] + x[:-1]) / 2, (rho[1:] + rho[:-1]) / 2
    moment = (x.diff() / 6 * (x[:-1] * rho[:-1] + 4 * middle * rho_middle + x[1:] * rho[1:])).sum()
    return float(moment / torch.trapezoid(rho, x))


def test_weights_add_up_to_the_expected_numbers_and_averages_to_expectations() -> None:
    problem = proxy1d(num_events=NUM_EVENTS)
    for index, (_, events) in enumerate(asimov_events(problem, seed=3).items()):
        assert events.weights is not None
        assert float(events.weights.sum()) == pytest.approx(NUM_EVENTS, rel=1e-9)
        # Independent events would be off by 0.15 / sqrt(20,000) = 1e-3.
        assert mean(events, "x") == pytest.approx(expected_mean(problem, index), abs=5e-5)


def test_the_seed_changes_events_but_not_expectations() -> None:
    first, second = (asimov_events(proxy2d(nodes=17), num_events=NUM_EVENTS, seed=seed)["events"] for seed in (1, 2))
    assert not torch.equal(first.values, second.values)
    assert mean(first, "y") == pytest.approx(mean(second, "y"), abs=1e-4)
    again = asimov_events(proxy2d(nodes=17), num_events=NUM_EVENTS, seed=1)["events"]
    assert torch.equal(first.values, again.values)


def line(stages: tuple = (), luminosity: float | None = 1000.0) -> Problem:
    """Density 2x on [0, 1], one event per unit of luminosity."""
    grid = Grid.from_axes({"x": torch.linspace(0, 1, 11)})
    theory = FunctionTheory(lambda p, x: 2 * p[0] * x, grid, (1,), luminosity=None if luminosity is None else (luminosity,))
    return Problem("line", ParameterSpace.from_ranges({"norm": (0.5, 2.0)}), Pipeline(theory, Detector(stages)), truth=(1.0,))


def test_a_detector_leaves_as_many_effective_events_as_expected_ones() -> None:
    stages = (Efficiency(lambda events: events["x"]), Smearing("x", absolute=0.01), Cuts({"x": (0.2, None)}))
    events = asimov_events(line(stages, 30_000.0))["events"]
    weights = events.weights_or_ones()
    # The integral of 2 x^2 from 0.2, but for the smearing at both ends.
    assert float(weights.sum()) == pytest.approx(30_000 * 2 / 3 * (1 - 0.2**3), rel=1e-3)
    assert float(weights.sum() ** 2 / weights.square().sum()) == pytest.approx(float(weights.sum()), rel=0.01)
    assert float(events.column("x").min()) >= 0.2
    assert bool((weights > 0).all())


def test_the_order_of_events_means_nothing() -> None:
    events = asimov_events(proxy2d(nodes=17), num_events=NUM_EVENTS)["events"]
    half = NUM_EVENTS // 2
    parts = [Events(events.values[part], events.columns) for part in (slice(half), slice(half, None))]
    means = [float(part.column("x").mean()) for part in parts]
    assert means[0] == pytest.approx(means[1], abs=0.02)
    assert means[0] != pytest.approx(means[1], abs=1e-6)


def test_numbers_of_events_are_needed_without_a_luminosity() -> None:
    with pytest.raises(SettingsError, match="has no luminosity, so the number of events must be given"):
        asimov_events(line(luminosity=None))
    with pytest.raises(SettingsError, match="must name the channels"):
        asimov_events(line(), num_events={"proton": 5})
    assert float(asimov_events(line(), num_events={"events": 5})["events"].weights_or_ones().sum()) == pytest.approx(5)


def test_an_unknown_truth_and_a_blind_detector_are_refused() -> None:
    with pytest.raises(ParameterError, match="no known truth"):
        asimov_events(dataclasses.replace(line(), truth=None))
    with pytest.raises(SettingsError, match="recorded none of 65,536 events"):
        asimov_events(line((Cuts({"x": (2.0, None)}),)))


def test_a_truth_outside_of_the_space_is_what_both_kinds_of_pseudo_data_are_made_with() -> None:
    other = dataclasses.replace(line(), truth=(1.7,))
    problem = dataclasses.replace(line(), truth=None, truth_problem=other)
    assert float(asimov_events(problem)["events"].weights_or_ones().sum()) == pytest.approx(1700)
    assert torch.equal(problem.simulate(seed=4)["events"].values, other.simulate(seed=4)["events"].values)


def test_a_truth_problem_has_a_truth_and_fits_the_problem() -> None:
    for wrong in (dataclasses.replace(line(), truth=None), line()):
        with pytest.raises(SettingsError, match="either a truth of its own or a 'truth_problem' that has one"):
            dataclasses.replace(line(), truth=None if wrong.truth is None else (1.0,), truth_problem=wrong)
    with pytest.raises(SettingsError, match="has channels and measured columns"):
        dataclasses.replace(line(), truth=None, truth_problem=proxy2d(nodes=17))
