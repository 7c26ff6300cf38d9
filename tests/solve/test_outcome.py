"""Judging a fit: what converged means, what the test looks at, and where the numbers of the tables come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from unscatter.arrays import Events, Grid
from unscatter.diagnostics import Settled, TwoSampleResult, cramer_rao
from unscatter.errors import SettingsError, UnscatterError
from unscatter.events import InMemoryEvents, StackedEvents
from unscatter.methods import Estimate, Gan, GanSettings
from unscatter.methods.gan import DiscriminatorSettings, GeneratorSettings
from unscatter.pipeline import CurveFamily, ParameterSpace, Pipeline, Problem
from unscatter.solve import SolveSettings, outcome, solve
from unscatter.solve.outcome import Diagnosis, replica_spread
from unscatter.theories import FunctionTheory

GAN = Gan(GanSettings(num_events=64, discriminator=DiscriminatorSettings(hidden=(8,))))


def decay_problem(luminosity: float | None = None, channels: tuple[str, ...] = ("events",)) -> Problem:
    grid = Grid.from_axes({"t": torch.linspace(0, 8, 81, dtype=torch.float64)})
    theory = FunctionTheory(
        lambda p, t: torch.exp(-p[0] * t).expand(len(channels), -1), grid, (1,), channels,
        luminosity=None if luminosity is None else (luminosity,) * len(channels),
    )  # fmt: skip
    return Problem("decay", ParameterSpace.from_ranges({"rate": (0.1, 3.0)}), Pipeline(theory), truth=(1.0,))


def diagnosis(problem: Problem, events: Mapping[str, Events], settings: SolveSettings, rates: bool = False, rate: float = 1.0) -> Diagnosis:
    training, held_out = InMemoryEvents(events).split((0.8, 0.2), settings.seed)
    estimate = Estimate(("rate",), torch.full((1, 1, 1), rate), torch.empty(0, 1, 1))
    return Diagnosis(problem, estimate, training, held_out, settings, rates)


def with_verdicts(p_values: list[float], settled: bool | None) -> Diagnosis:
    """A diagnosis whose tests and halves of the tail came out as given."""
    problem = decay_problem(channels=tuple(f"c{i}" for i in range(len(p_values))))
    judged = diagnosis(problem, problem.simulate(num_events=300, seed=1), SolveSettings(test_level=0.01))
    tests = {f"c{i}": TwoSampleResult(0.5, 0.01, 0.5, 0.01, p, 0.01, 100, 100) for i, p in enumerate(p_values)}
    rest = None if settled is None else outcome.settled(torch.tensor([[[0.0]], [[0.1 if settled else 5.0]]]), torch.ones(1))
    assert rest is None or isinstance(rest, Settled)
    vars(judged).update(two_sample=tests, settled=rest)
    return judged


@pytest.mark.parametrize(
    ("p_values", "settled", "converged"),
    [
        ([0.5], True, True),
        ([0.009], True, False),
        ([0.011], True, True),
        ([0.5], False, False),
        ([0.5], None, False),
        ([0.5, 1e-6], True, False),  # one channel that does not fit is enough
        ([0.02, 0.02, 0.02], True, False),  # together they are 0.6 %, by Fisher's method
        ([0.009, 0.9, 0.9], True, True),  # one of three channels at that level is no surprise
    ],
)
def test_fit_has_converged_when_all_channels_together_pass_and_the_parameters_rest(
    p_values: list[float], settled: bool | None, converged: bool
) -> None:
    assert with_verdicts(p_values, settled).converged is converged


@pytest.mark.parametrize("seed", [0, 7])
def test_synthetic_events_of_the_diagnosis_are_independent_of_pseudo_data_of_the_same_seed(seed: int) -> None:
    problem = decay_problem()
    # As many as the diagnosis makes, at the same parameters: whatever could coincide does.
    data = problem.simulate([1.0], num_events=10_000, seed=seed)
    judged = diagnosis(problem, {"events": data["events"].select(("t",))}, SolveSettings(seed=seed))
    vars(judged)["training"] = InMemoryEvents({"events": Events(data["events"].values[:2000], ("t",))})
    synthetic = judged.synthetic["events"].values
    assert len(synthetic) == 10_000
    assert not bool(torch.isin(synthetic, data["events"].values).any())
    ordered = torch.stack([synthetic[:, 0].sort().values, data["events"].values[:, 0].sort().values])
    # Twice the same uniform numbers in another order would differ by rounding only.
    assert float((ordered[0] - ordered[1]).abs().max()) > 1e-3


def test_samples_of_the_diagnosis_differ_between_the_sets_of_a_noise_fed_generator() -> None:
    problem = decay_problem()
    judged = diagnosis(problem, problem.simulate(num_events=400, seed=1), SolveSettings())
    vars(judged)["estimate"] = Estimate(("rate",), torch.full((1, 1000, 1), 1.0), torch.empty(0, 1, 1))
    synthetic = judged.synthetic["events"].values
    assert len(synthetic.unique()) > 0.99 * len(synthetic)


def test_synthetic_events_mix_what_a_noise_fed_generator_proposes() -> None:
    problem = decay_problem()
    judged = diagnosis(problem, problem.simulate(num_events=400, seed=1), SolveSettings())
    vars(judged)["estimate"] = Estimate(
        ("rate",), torch.tensor([0.2, 2.8]).repeat_interleave(500).reshape(1, 1000, 1), torch.empty(0, 1, 1)
    )
    # Half of the events decay slowly: one in eight of these lives longer than 6, and next to none of the others or at the mean rate.
    late = float((judged.synthetic["events"].values > 6).double().mean())
    assert late == pytest.approx(0.5 * 0.124, abs=0.02)


def test_the_test_trains_on_seen_events_and_judges_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = decay_problem()
    judged = diagnosis(problem, problem.simulate(num_events=1000, seed=1), SolveSettings())
    given: dict[str, Tensor] = {}

    def recorded(measured: Events, synthetic: Events, *, training: Events, seed: int, level: float) -> TwoSampleResult:
        given.update(measured=measured.values, training=training.values)
        return TwoSampleResult(0.5, 0.01, 0.5, 0.01, 0.5, level, 1, 1)

    monkeypatch.setattr(outcome, "two_sample_test", recorded)
    _ = judged.two_sample
    assert judged.held_out is not None
    assert torch.equal(given["training"], judged.training.of_channel("events").values)
    assert torch.equal(given["measured"], judged.held_out.of_channel("events").values)
    assert not bool(torch.isin(given["training"], given["measured"]).any())


def test_expected_counts_and_bins_are_those_of_the_events_that_were_fitted() -> None:
    problem = decay_problem(luminosity=3000.0)
    judged = diagnosis(problem, problem.simulate(seed=1), SolveSettings(), rates=True)
    assert judged.expected_counts is not None
    # 3000 (1 - exp(-8)) / 1, of which four fifths are fitted.
    assert judged.expected_counts["events"] == pytest.approx(0.8 * 3000 * 0.99966, rel=2e-3)
    assert all(row["by_rate"] for row in judged.comparison)
    assert sum(row["synthetic"] for row in judged.comparison) == pytest.approx(judged.expected_counts["events"], rel=1e-6)
    shapes = diagnosis(problem, problem.simulate(seed=1), SolveSettings(), rates=False)
    assert shapes.expected_counts is None
    assert not any(row["by_rate"] for row in shapes.comparison)


def test_replicas_expect_together_what_they_expect_on_average() -> None:
    problem = decay_problem(luminosity=3000.0)
    judged = diagnosis(problem, problem.simulate(seed=1), SolveSettings(), rates=True)
    judged = replace(judged, estimate=Estimate(("rate",), torch.tensor([[[0.5]], [[2.0]]]), torch.empty(0, 2, 1)))
    assert judged.expected_counts is not None
    # (1 - exp(-8 r)) / r is 1.963 for r = 0.5, 0.5 for 2, and 0.8 at the mean, 1.25.
    assert judged.expected_counts["events"] == pytest.approx(0.8 * 3000 * (1.9634 + 0.5) / 2, rel=2e-3)
    late = float((judged.synthetic["events"].values > 4).double().mean())
    assert late == pytest.approx((0.1193 + 0.0003) / 2, abs=0.01)


def test_spread_of_the_replicas_is_their_standard_deviation() -> None:
    samples = torch.tensor([1.0, 2.0, 6.0]).reshape(3, 1, 1)
    spread = replica_spread(Estimate(("rate",), samples, torch.empty(0, 3, 1)))
    assert spread is not None
    # Deviations -2, -1 and 3 about 3, over two degrees of freedom.
    assert spread.tolist() == pytest.approx([7**0.5])
    assert replica_spread(Estimate(("rate",), samples[:1], torch.empty(0, 1, 1))) is None


@pytest.mark.parametrize("replicas", [1, 3])
def test_pull_is_value_minus_truth_over_the_error(replicas: int) -> None:
    problem = decay_problem()
    settings = SolveSettings(steps=4, max_rounds=1, replicas=replicas, held_out=0.2)
    row = solve(problem, problem.simulate(num_events=400, seed=1), method=GAN, settings=settings).parameters[0]
    assert (row["error"] is None) is (replicas == 1)
    assert row["pull"] == pytest.approx((row["value"] - 1.0) / (row["bound"] if row["error"] is None else row["error"]))


class Watching:
    """Notes when something happened."""

    def __init__(self) -> None:
        self.recorded: list[int] = []
        self.kept: list[int] = []
        self.seconds: list[float] = []

    def started(self, first_step: int, last_step: int) -> None:
        pass

    def progressed(self, record: Mapping[str, Any]) -> None:
        self.recorded.append(record["step"])
        self.seconds.append(record["seconds"])

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        self.kept.append(step)

    def stop_requested(self) -> bool:
        return False


def test_records_and_checkpoints_come_when_they_are_due_and_at_the_end() -> None:
    problem, watching = decay_problem(), Watching()
    settings = SolveSettings(steps=11, max_rounds=1, diagnose=False, log_every=4, checkpoint_every=3)
    solve(problem, problem.simulate(num_events=200, seed=1), method=GAN, settings=settings, observer=watching, seconds_before=1000.0)
    assert watching.recorded == [4, 8, 11]
    assert watching.kept == [3, 6, 9, 11]
    assert 1000 < watching.seconds[0] < watching.seconds[-1] < 1100


def test_step_that_raises_leaves_the_state_before_it() -> None:
    problem, watching = decay_problem(), Watching()

    class Failing(Gan):
        def step(self, state: Any, events: Any) -> Any:
            if state.step == 2:
                raise UnscatterError("no more")
            return super().step(state, events)

    with pytest.raises(UnscatterError, match="no more"):
        solve(
            problem, problem.simulate(num_events=200, seed=1), method=Failing(GAN.settings), observer=watching,
            settings=SolveSettings(steps=5, diagnose=False),
        )  # fmt: skip
    assert watching.kept == [2]


def test_too_few_held_out_events_are_noticed_before_the_first_step() -> None:
    problem, watching = decay_problem(), Watching()
    with pytest.raises(SettingsError, match=r"events of channel 'events' for the test at the end, which needs at least 40\.\n.*held_out="):
        solve(
            problem, problem.simulate(num_events=200, seed=1), method=GAN, observer=watching, settings=SolveSettings(steps=2, held_out=0.05)
        )
    assert not watching.recorded


def test_held_out_events_are_not_fitted() -> None:
    problem = decay_problem()
    settings = SolveSettings(steps=2, max_rounds=1, held_out=0.25)
    fit = solve(problem, problem.simulate(num_events=1000, seed=1), method=GAN, settings=settings)
    assert fit.summary["num_events"]["events"] + fit.summary["two_sample"]["events"]["num_measured"] == 1000


def test_source_with_other_replicas_than_the_settings_is_refused() -> None:
    problem = decay_problem()
    events = problem.simulate(num_events=100, seed=1)["events"].to(dtype=torch.float32)
    with pytest.raises(SettingsError, match="'replicas' is 3, but the source of events has 2"):
        solve(problem, StackedEvents({"events": [events, events]}), method=GAN, settings=SolveSettings(steps=1, replicas=3))


def test_a_hundred_steps_go_by_before_skipped_ones_end_a_fit() -> None:
    """A share of few steps means nothing; ninety-nine of them may all be skipped."""
    grid = Grid.from_axes({"t": torch.linspace(0, 8, 81)})
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t) + torch.sqrt((p[0] - p[0]) * t), grid, (1,))
    problem = Problem("broken", ParameterSpace.from_ranges({"rate": (0.1, 3.0)}), Pipeline(theory))
    method = Gan(GAN.settings.model_copy(update={"generator": GeneratorSettings(precondition=False)}))
    settings = SolveSettings(steps=99, max_rounds=1, diagnose=False, log_every=1)
    assert solve(problem, {"events": Events(torch.rand(500, 1), ("t",))}, method=method, settings=settings).summary["skipped_share"] == 1


def with_curves(num_observables: int = 1) -> Problem:
    """A decay whose mean life is drawn at two scales, measured with up to two observables."""
    axes = {"t": torch.linspace(0, 8, 41, dtype=torch.float64), "angle": torch.linspace(0, 1, 5, dtype=torch.float64)}
    grid = Grid.from_axes(dict(list(axes.items())[:num_observables]))
    theory = FunctionTheory(lambda p, t, *others: torch.exp(-p[0] * t) + sum(0 * other for other in others), grid, (1,))
    t = torch.tensor([1.0, 2.0], dtype=torch.float64)
    family = CurveFamily("rates", ("rate",), t, lambda p: (p[..., 0:1] * t).unsqueeze(-2), abscissa_label="t", label="rate")
    space = ParameterSpace.from_ranges({"rate": (0.1, 3.0)})
    return Problem("decay", space, Pipeline(theory), truth=(1.0,), prior_width=2.0, curves=(family,))


@pytest.mark.parametrize("replicas", [1, 3])
def test_fit_holds_its_curves_with_the_errors_of_its_parameters(replicas: int) -> None:
    problem = with_curves()
    settings = SolveSettings(steps=4, max_rounds=1, replicas=replicas, held_out=0.2)
    fit = solve(problem, problem.simulate(num_events=400, seed=1), method=GAN, settings=settings)
    first, second = fit.curves
    assert (first["value"], second["value"]) == pytest.approx((fit.value("rate"), 2 * fit.value("rate")))
    assert second["error"] == pytest.approx(2 * (fit.error("rate") or 0), rel=1e-5)
    assert (first["truth"], second["truth"], first["driven_by"]) == (1.0, 2.0, "events")
    (described,) = fit.summary["curves"]
    assert described["sentences"] == ["rate: events everywhere"]
    assert (described["name"], described["abscissa_label"], described["logarithmic"]) == ("rates", "t", False)
    assert (fit.summary["combinations"]["determined"], fit.summary["combinations"]["of"]) == (1, 1)


def test_fit_that_is_not_judged_has_curves_without_a_bound() -> None:
    problem = with_curves()
    events = problem.simulate(num_events=400, seed=1)
    fit = solve(problem, events, method=GAN, settings=SolveSettings(steps=4, replicas=3, diagnose=False))
    assert fit.curves[0]["error"] == pytest.approx(fit.parameters[0]["error"], rel=1e-5)
    assert (fit.curves[0]["bound"], fit.curves[0]["driven_by"], fit.summary["combinations"]) == (None, None, None)
    assert fit.summary["curves"][0]["sentences"] == []
    assert fit.slices == []


def test_information_is_computed_once_for_parameters_and_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(problem: Problem, *args: Any, **settings: Any) -> Any:
        calls.append(problem.name)
        return cramer_rao(problem, *args, **settings)

    monkeypatch.setattr(outcome, "cramer_rao", counted)
    problem = with_curves()
    settings = SolveSettings(steps=4, max_rounds=1, replicas=3, held_out=0.2)
    solve(problem, problem.simulate(num_events=400, seed=1), method=GAN, settings=settings)
    assert calls == ["decay"]


@pytest.mark.parametrize("num_observables", [1, 2])
def test_slices_need_two_observables(num_observables: int) -> None:
    problem = with_curves(num_observables)
    judged = diagnosis(problem, problem.simulate(num_events=800, seed=1), SolveSettings())
    assert {(row["column"], row["sliced"]) for row in judged.slices} == ({("t", "angle")} if num_observables == 2 else set())
    assert sum(row["measured"] for row in judged.slices) == (float(judged.training.counts.sum()) if num_observables == 2 else 0)


def test_replicas_that_had_no_time_to_part_are_measured_by_the_bound() -> None:
    problem = decay_problem()
    events = problem.simulate(num_events=400, seed=1)
    judged = diagnosis(problem, events, SolveSettings(settle_share=1.0))
    sigma = float(judged.bound.sigma[0])
    # Two replicas a thousandth of an error apart that moved by half an error, or by two, between the halves of the tail.
    for moved, passes in ((0.5, True), (2.0, False)):
        history = torch.tensor([[[1.0], [1.0 + 1e-3 * sigma]], [[1.0 + moved * sigma], [1.0 + (moved + 1e-3) * sigma]]])
        parameters = history[1].unsqueeze(1)
        rest = Diagnosis(problem, Estimate(("rate",), parameters, history), judged.training, None, judged.settings, False)
        vars(rest)["bound"] = judged.bound
        assert rest.settled is not None
        assert rest.settled.passes is passes
