"""Bands of curves: closed forms of linear problems, and what is said about where the events set them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unscatter.arrays import Grid
from unscatter.diagnostics import (
    CramerRao,
    CurvePoint,
    cramer_rao,
    curve_points,
    curve_sentences,
    determined_combinations,
    leading_directions,
)
from unscatter.diagnostics.curves import Driver
from unscatter.errors import ShapeError, TheoryError
from unscatter.pipeline import CurveFamily, ParameterSpace, Pipeline, Problem
from unscatter.theories import FunctionTheory

GRID = Grid.from_axes({"x": torch.linspace(-10, 10, 801, dtype=torch.float64)})
T = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
FREE, BOX = (-math.inf, math.inf), (0.0, 10.0)


def lines(p: Tensor) -> Tensor:
    """The mean times t, the parameter that no event sees times t, and their sum."""
    seen, unseen = p[..., 0:1] * T.to(p), p[..., 1:2] * T.to(p)
    return torch.stack([seen, unseen, seen + unseen], -2)


FAMILY = CurveFamily("lines", ("seen", "unseen", "both"), T, lines, abscissa_label="t [s]")


def gaussian(prior_width: float | None = 0.5, ranges: tuple[float, float] = FREE, family: CurveFamily = FAMILY) -> Problem:
    """Events from a Gaussian of unit width around ``mean``; ``other`` changes nothing."""
    theory = FunctionTheory(lambda p, x: torch.exp(-((x - p[0]) ** 2) / 2) + 0 * p[1], GRID, (2,))
    space = ParameterSpace.from_ranges({"mean": ranges, "other": ranges})
    return Problem("gaussian", space, Pipeline(theory), prior_width=prior_width, curves=(family,))


def points_of(problem: Problem, num_events: float, *sets: list[float]) -> dict[str, list[CurvePoint]]:
    """Points by curve; a replica per set of parameters."""
    samples = torch.tensor(sets, dtype=torch.float64).unsqueeze(1)
    found = curve_points(problem, samples, bound_of(problem, num_events, samples.mean((0, 1)).tolist()))
    return {curve: [point for point in found if point.curve == curve] for curve in problem.curves[0].curves}


def bound_of(problem: Problem, num_events: float, point: list[float] | None = None) -> CramerRao:
    return cramer_rao(problem, point or [1.0, 2.0], num_events)


@pytest.mark.parametrize(("ranges", "slope"), [(FREE, 1.0), (BOX, math.tanh(2.5))])
def test_band_of_a_linear_problem_is_the_closed_form(ranges: tuple[float, float], slope: float) -> None:
    # At the middle of a range ten wide a step of one in the latent space is sigmoid(5) - sigmoid(-5) = tanh(5/2) in the parameter.
    middle, n = 0.0 if ranges == FREE else 5.0, 40.0
    found = points_of(gaussian(ranges=ranges), n, [middle, middle])
    prior = 0.5 * slope
    seen = (n + prior**-2) ** -0.5
    for t, at in zip(T.tolist(), range(3), strict=True):
        closed = {"seen": (seen, prior), "unseen": (prior, prior), "both": (math.hypot(seen, prior), math.hypot(prior, prior))}
        for curve, (error, prior_error) in closed.items():
            point = found[curve][at]
            assert (point.abscissa, point.error, point.bound) == pytest.approx((t, error * t, error * t), rel=1e-4, abs=1e-12)
            assert point.prior_error == pytest.approx(prior_error * t, rel=1e-4, abs=1e-12)
            assert point.value == pytest.approx({"seen": 1, "unseen": 1, "both": 2}[curve] * middle * t, abs=1e-9)


def test_share_of_the_events_is_zero_where_they_see_nothing_and_one_where_they_see_all() -> None:
    found = points_of(gaussian(), 1e9, [1.0, 2.0])
    shares = {curve: points[1].data_share for curve, points in found.items()}
    assert shares == pytest.approx({"seen": 1.0, "unseen": 0.0, "both": 0.5}, abs=1e-6)
    assert {curve: points[1].driven_by for curve, points in found.items()} == {"seen": "events", "unseen": "prior", "both": "prior"}


@pytest.mark.parametrize(("information", "driver", "known"), [(2.97, "prior", 0), (3.03, "events", 1)])
def test_events_drive_a_band_from_where_they_halve_the_error_of_the_prior(information: float, driver: Driver, known: int) -> None:
    # In units of the prior's information the events have n sigma^2; three times as much as the prior halves the error.
    problem, num_events = gaussian(prior_width=0.5), information / 0.25
    assert points_of(problem, num_events, [1.0, 2.0])["seen"][1].driven_by == driver
    assert determined_combinations(problem, bound_of(problem, num_events)) == (known, 2)


def test_curve_that_does_not_depend_on_the_parameters_is_set_by_the_theory() -> None:
    for prior_width in (0.5, None):
        found = points_of(gaussian(prior_width), 100, [1.0, 2.0])
        assert [points[0].driven_by for points in found.values()] == ["theory"] * 3
        assert [points[0].error for points in found.values()] == [0.0] * 3


def test_without_a_prior_curves_are_known_only_along_directions_that_the_events_see() -> None:
    found = points_of(gaussian(prior_width=None), 400, [1.0, 2.0])
    seen, unseen, both = (found[curve][2] for curve in FAMILY.curves)
    assert (seen.error, seen.data_share, seen.driven_by) == (pytest.approx(2 / 20, rel=1e-4), 1.0, "events")
    for point in (unseen, both):
        assert (point.error, point.bound, point.data_share, point.driven_by) == (None, None, 0.0, "nothing")
    assert seen.prior_error is None
    assert determined_combinations(gaussian(prior_width=None), bound_of(gaussian(prior_width=None), 400)) == (1, 2)


def test_value_is_the_mean_of_the_curves_and_the_error_their_spread() -> None:
    def squares(p: Tensor) -> Tensor:
        return (p[..., 0:1].square() * T.to(p)).unsqueeze(-2)

    problem = gaussian(family=CurveFamily("squares", ("square",), T, squares))
    (points,) = points_of(problem, 100, [-1.0, 0.0], [1.0, 0.0], [3.0, 0.0]).values()
    # Squares 1, 1 and 9: mean 11/3 (the square of the mean is 1), deviations -8/3, -8/3 and 16/3 over two degrees of freedom.
    assert points[1].value == pytest.approx(11 / 3)
    assert points[1].error == pytest.approx((384 / 18) ** 0.5)
    # To first order at the mean, 1: slope 2 times the bound of the mean.
    assert points[1].bound == pytest.approx(2 * (100 + 4) ** -0.5, rel=1e-4)


def test_share_of_the_events_does_not_depend_on_the_replicas() -> None:
    one, many = points_of(gaussian(), 40, [1.0, 2.0]), points_of(gaussian(), 40, [0.0, 1.5], [2.0, 2.5])
    assert many["seen"][1].error == pytest.approx(2**0.5)
    assert many["seen"][1].data_share == pytest.approx(one["seen"][1].data_share, rel=1e-6)


def test_curve_of_a_replica_is_the_mean_over_its_samples() -> None:
    problem = gaussian()
    samples = torch.tensor([[[1.0, 0.0], [3.0, 0.0]]], dtype=torch.float64)
    seen = [point for point in curve_points(problem, samples, None) if point.curve == "seen"]
    assert [point.value for point in seen] == pytest.approx([0.0, 2.0, 4.0])
    assert {(point.error, point.bound, point.data_share, point.driven_by) for point in seen} == {(None, None, None, None)}


def test_truth_is_the_curve_of_the_true_parameters() -> None:
    problem = replace(gaussian(), truth=(3.0, 1.0))
    assert [point.truth for point in points_of(problem, 100, [1.0, 2.0])["both"]] == pytest.approx([0.0, 4.0, 8.0])
    assert points_of(gaussian(), 100, [1.0, 2.0])["both"][1].truth is None


def test_best_known_combination_is_told_by_the_curve_that_follows_it() -> None:
    (text,) = leading_directions(gaussian(), bound_of(gaussian(), 1e4))
    assert text.startswith("the combination seen most in seen near t = 1 s (lines)") or "seen near t = 2 s (lines)" in text
    # sqrt(1 / (1 + 1e4 / 4)) is two per cent.
    assert text.endswith("to 2 % of the prior's error")
    assert leading_directions(gaussian(), bound_of(gaussian(), 1.0)) == []
    assert leading_directions(gaussian(prior_width=None), bound_of(gaussian(prior_width=None), 1e4)) == []


@pytest.mark.parametrize(
    ("drivers", "text"),
    [
        ("eeeee", "events everywhere"),
        ("ppppp", "prior everywhere"),
        ("nnnnn", "undetermined everywhere"),
        ("ttttt", "fixed by the theory everywhere"),
        ("teeet", "events everywhere"),
        ("peeep", "events for 0.2 < t < 0.4 s"),
        ("eeepp", "events for t < 0.3 s"),
        ("teepp", "events for t < 0.3 s"),
        ("nneee", "events for t > 0.3 s"),
        ("eppee", "events at t = 0.1 s and for t > 0.4 s"),
        ("pepee", "events at t = 0.2 s and for t > 0.4 s"),
    ],
)
def test_sentence_names_the_ranges_where_events_set_the_band(drivers: str, text: str) -> None:
    words: dict[str, Driver] = {"e": "events", "p": "prior", "n": "nothing", "t": "theory"}
    points = [CurvePoint("lines", "seen", 0.1 * (i + 1), 1.0, None, None, None, None, words[d], None) for i, d in enumerate(drivers)]
    assert curve_sentences(FAMILY, points) == [f"seen: {text}"]


def test_curves_that_share_a_sentence_are_named_together_and_unjudged_ones_not_at_all() -> None:
    found = [point for points in points_of(gaussian(), 1e6, [1.0, 2.0]).values() for point in points]
    assert curve_sentences(FAMILY, found) == ["seen: events everywhere", "unseen, both: prior everywhere"]
    assert curve_sentences(FAMILY, [replace(point, driven_by=None) for point in found]) == []
    assert curve_sentences(replace(FAMILY, name="another"), found) == []


def test_function_of_the_wrong_shape_is_named_with_the_right_one() -> None:
    family = CurveFamily("wrong", ("one",), T, lambda p: p[..., 0:1] * T.to(p))
    with pytest.raises(ShapeError, match=r"curves 'wrong' returned the shape \(1, 3\).*it must be \(1, 1, 3\)"):
        curve_points(gaussian(family=family), torch.ones(1, 1, 2), None)


def test_function_that_lets_no_gradient_through_is_refused() -> None:
    family = CurveFamily("cut", ("one",), T, lambda p: (p.detach()[..., 0:1] * T.to(p)).unsqueeze(-2))
    problem = gaussian(family=family)
    with pytest.raises(TheoryError, match="no gradient"):
        curve_points(problem, torch.ones(1, 1, 2), bound_of(problem, 100.0))
