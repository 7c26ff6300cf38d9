from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from unscatter.arrays import Density, Events, Grid
from unscatter.detectors import Background, Cuts, Detector, Efficiency
from unscatter.errors import TheoryError
from unscatter.pipeline import ParameterSpace, Pipeline, Problem
from unscatter.pipeline.check import check, check_gradients
from unscatter.problems import proxy1d, proxy2d
from unscatter.theories import FunctionTheory

GRID = Grid.from_axes({"time_s": torch.linspace(0, 10, 101)})


def problem(function: Callable[..., Tensor], detector: Detector | None = None, **settings: tuple[float, ...]) -> Problem:
    theory = FunctionTheory(function, GRID, (2,), **settings)  # type: ignore[arg-type]
    space = ParameterSpace.from_ranges({"rate": (0.1, 2.0), "floor": (0.1, 2.0)})
    return Problem("decay", space, Pipeline(theory, detector or Detector()))


def good(p: Tensor, t: Tensor) -> Tensor:
    return torch.exp(-p[0] * t) + 0.1 * p[1]


def test_ready_made_problems_are_found_good() -> None:
    for ready in (proxy1d(nodes=33), proxy2d(nodes=17)):
        report = ready.check(num_events=256)
        assert report.ok, report.problems
        assert report.require_ok() is report
        assert report.unreached == ()
        assert report.methods == ("gan",)
        assert report.has_information
        assert report.has_rates == (ready.name == "proxy1d")
        assert 0 < report.events_per_second < float("inf")
        assert 0 < report.events_per_second_with_gradient < float("inf")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda p, t: good(p.detach(), t), "without gradient"),
        (lambda p, t: torch.as_tensor(p.numpy()[0] * t.numpy()), r"torch\.exp\(x\) instead of np\.exp\(x\)"),
        (lambda p, t: torch.exp(-float(p[0]) * t) * p[1], r"p\[0\] instead of float\(p\[0\]\)"),
        (lambda p, t: good(p, t)[:5], r"\[channel, \*nodes\] = \(1, 101\), got \(5,\)"),
        (lambda p, t: good(p, t) - 0.5 * p[1], "negative at .* the lowest value is -"),
        (lambda p, t: good(p, t) * torch.nan, "not finite at 101 of 101 nodes"),
        (lambda p, t: good(p, t) * 0, "zero everywhere"),
        (lambda p, t: p[7] * t, "IndexError: index 7"),
    ],
)
def test_a_broken_theory_is_named_with_the_point_and_what_to_do(function: Callable[..., Tensor], words: str) -> None:
    report = problem(function).check(num_events=64)
    assert not report.ok
    assert report.methods == ()
    with pytest.raises(TheoryError, match=f"(?s)'decay' cannot be solved.*at the middle of the space.*{words}"):
        report.require_ok()


def test_points_that_are_wrong_are_counted() -> None:
    report = problem(lambda p, t: good(p, t) * torch.nan).check(num_events=64)
    assert "4 of 4 points" in report.problems[0]


def test_a_parameter_that_nothing_depends_on_is_named() -> None:
    report = problem(lambda p, t: torch.exp(-p[0] * t)).check(num_events=256)
    assert report.unreached == ("floor",)
    assert "no gradient reaches ['floor']" in report.problems[0]


def test_a_norm_is_reached_through_rates_only() -> None:
    def norm(p: Tensor, t: Tensor) -> Tensor:
        return p[1] * torch.exp(-p[0] * t)

    assert problem(norm).check(num_events=256).unreached == ("floor",)
    assert problem(norm, luminosity=(100.0,)).check(num_events=256).ok


def test_a_detector_that_records_nothing_or_gives_impossible_efficiencies_is_named() -> None:
    blind = problem(good, Detector((Cuts({"time_s": (20.0, None)}),))).check(num_events=64)
    assert "records no event in ['events']" in blind.problems[0]
    above_one = problem(good, Detector((Efficiency(lambda event: 1 + event["time_s"]),))).check(num_events=64)
    assert "outside [0, 1]" in above_one.problems[0]


def test_a_nuisance_of_the_detector_is_reached_through_weights() -> None:
    background = Background("share", events=Events(torch.tensor([[1.0], [9.0]]), ("time_s",)))
    space = ParameterSpace.from_ranges({"rate": (0.1, 2.0), "floor": (0.1, 2.0)}, nuisances={"share": (0.0, 0.5)})
    pipeline = Pipeline(FunctionTheory(good, GRID, (2,)), Detector((background,)))
    assert Problem("decay", space, pipeline).check(num_events=256).ok


@dataclass(frozen=True, eq=False)
class MixingTheory:
    """Normalises over the whole batch, a classical mistake."""

    grid: Grid = GRID
    parameter_shape: tuple[int, ...] = (1,)
    channels: tuple[str, ...] = ("events",)

    def __call__(self, physics_params: Tensor) -> Density:
        values = torch.exp(-physics_params.unsqueeze(-1) * self.grid.axes[0])
        return Density(values / values.max() * physics_params.mean(), self.grid, self.channels)


def test_a_theory_that_mixes_sets_of_parameters_is_found_out() -> None:
    report = check(Problem("mixed", ParameterSpace.from_ranges({"rate": (0.1, 2.0)}), Pipeline(MixingTheory())), num_events=64)
    assert "mixes the batch axis" in report.problems[0]


def test_functions_are_recommended_a_network_and_numbers_the_direct_generator() -> None:
    grid = Grid.from_axes({"x": torch.linspace(0.0, 1.0, 121)})
    names = [f"f{i}" for i in range(121)]
    space = ParameterSpace.from_ranges(dict.fromkeys(names, (0.1, 1.0)))
    many = Problem("curve", space, Pipeline(FunctionTheory(lambda p, x: p, grid, (121,))))
    assert many.check(num_events=2000).generator == "network"
    assert problem(good).check(num_events=64).generator == "direct"


def test_lines_say_everything_a_user_needs() -> None:
    text = "\n".join(problem(good).check(num_events=64).lines())
    for words in ("decay can be solved", "events per second", "shapes only", "recommended generator: direct", "methods that can run: gan"):
        assert words in text
    broken = problem(lambda p, t: good(p, t) * 0).check(num_events=64)
    assert "decay has 1 problem" in broken.lines()[0]
    assert "methods that can run: none" in broken.lines()


@pytest.mark.parametrize(("seen", "off"), [(0.001, True), (0.4, True), (0.6, False), (1.0, False), (1.8, False), (1000.0, True)])
def test_numbers_of_events_beyond_what_the_theory_explains_are_noted(seen: float, off: bool) -> None:
    report = problem(good, luminosity=(1000.0,)).check(num_events=64)
    low, high = min(report.expected_counts["events"]), max(report.expected_counts["events"])
    note = report.rate_note("events", seen * (low if seen < 1 else high))
    assert (note is not None) == off
    if note is not None:
        assert f"the theory expects {report.expected_counts['events'][0]:,.0f} at the start" in note


def test_without_rates_no_number_of_events_is_noted() -> None:
    report = problem(good).check(num_events=64)
    assert report.expected_counts == {}
    assert report.rate_note("events", 1.0) is None


def test_the_same_seed_gives_the_same_findings() -> None:
    first, second = (problem(lambda p, t: good(p, t) - 0.5 * p[1]).check(num_events=64, seed=3).problems for _ in range(2))
    assert first == second


def test_parameter_without_gradient_is_refused_at_the_price_of_one_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TheoryError, match=r"'decay' cannot be solved as it is: no gradient reaches \["):
        check_gradients(problem(lambda p, t: torch.exp(-p[0] * t)))
    check_gradients(replace(problem(lambda p, t: torch.exp(-p[0] * t)), prior_width=1.0))
    calls: list[Tensor] = []

    def counted(p: Tensor, t: Tensor) -> Tensor:
        calls.append(p)
        return good(p, t)

    check_gradients(problem(counted))
    assert len(calls) == 2, "once for the density and once for the events"


def test_gradient_that_vanishes_at_the_start_only_is_no_fault() -> None:
    grid = Grid.from_axes({"t": torch.linspace(0, 4, 41)})
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0].square() * t), grid, (1,))
    check_gradients(Problem("even", ParameterSpace.from_ranges({"root": (-2.0, 2.0)}), Pipeline(theory), start=(0.0,)))
