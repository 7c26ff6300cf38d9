"""Curves and measurements that would fail at the end of a fit are refused at its start."""

from dataclasses import replace

import pytest
import torch

from unscatter.errors import ShapeError, TheoryError
from unscatter.pipeline import CurveFamily, Measurement
from unscatter.pipeline.outlook import check_outlook
from unscatter.problems import proxy2d
from unscatter.solve import solve

PROBLEM = proxy2d(nodes=17)
T = torch.linspace(0, 1, 4)


def family(function):
    return CurveFamily("lines", ("a", "b"), T, function)


def test_curves_and_measurements_that_work_are_let_through():
    good = family(lambda p: torch.stack([p[..., :1] * T, p[..., 1:2] * T], -2))
    measured = Measurement("m", torch.ones(3), torch.eye(3), lambda p: p[..., :3])
    check_outlook(replace(PROBLEM, curves=(good,), measurements=(measured,)))


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (replace(PROBLEM, curves=(family(lambda p: p[..., :1] * T),)), r"curves 'lines' must give the shape \[2, 2, 4\].*got \[2, 4\]"),
        (replace(PROBLEM, curves=(family(lambda p: torch.full((2, 2, 4), torch.nan)),)), "curves 'lines' is not finite at the start"),
        (
            replace(PROBLEM, measurements=(Measurement("m", torch.ones(3), torch.eye(3), lambda p: p[..., :2]),)),
            r"measurement 'm' must give the shape \[2, 3\]",
        ),
    ],
)
def test_others_are_refused_before_the_first_step(problem, words):
    with pytest.raises(TheoryError, match=words):
        solve(problem, PROBLEM.simulate(num_events=2000, seed=1))


def test_an_abscissa_must_increase_and_curves_have_names():
    with pytest.raises(ShapeError, match="must increase"):
        CurveFamily("lines", ("a",), torch.zeros(3), lambda p: p)
    with pytest.raises(ShapeError, match="different names"):
        CurveFamily("lines", ("a", "a"), T, lambda p: p)
