"""The loop: rounds, stopping, resuming, refusing."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from unscatter.arrays import Events, Grid
from unscatter.errors import DivergenceError, EventsError, SettingsError, TheoryError
from unscatter.methods import Gan, GanSettings
from unscatter.methods.gan import DiscriminatorSettings, GeneratorSettings
from unscatter.pipeline import ParameterSpace, Pipeline, Problem
from unscatter.problems import proxy2d
from unscatter.solve import SolveSettings, solve
from unscatter.solve.sources import check_per_channel
from unscatter.theories import FunctionTheory

GAN = Gan(GanSettings(num_events=512, discriminator=DiscriminatorSettings(hidden=(16, 16), learning_rate=3e-3)))


def decay_problem(luminosity: tuple[float, ...] | None = None) -> Problem:
    grid = Grid.from_axes({"t": torch.linspace(0, 8, 81, dtype=torch.float64)})
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), grid, (1,), luminosity=luminosity)
    return Problem("decay", ParameterSpace.from_ranges({"rate": (0.1, 3.0)}), Pipeline(theory), truth=(1.0,))


class Recording:
    """Keeps everything; asks to stop after a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.rounds: list[tuple[int, int]] = []
        self.records: list[dict[str, Any]] = []
        self.checkpoints: list[tuple[int, dict[str, Tensor]]] = []
        self.stop_at, self.steps = stop_at, 0

    def started(self, first_step: int, last_step: int) -> None:
        self.rounds.append((first_step, last_step))
        self.steps = first_step

    def progressed(self, record: Mapping[str, Any]) -> None:
        self.records.append(dict(record))

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        self.checkpoints.append((step, dict(tensors)))

    def stop_requested(self) -> bool:
        self.steps += 1
        return self.steps == self.stop_at


def test_fit_stops_when_converged_and_finds_the_rate() -> None:
    problem = decay_problem()
    events = problem.simulate(num_events=4000, seed=1)
    fit = solve(problem, events, method=GAN, settings=SolveSettings(steps=200, held_out=0.2))
    assert fit.converged
    assert fit.num_steps in (200, 400, 600)
    # Sigma of the rate is about 1.7 % for the 3200 events that are fitted.
    assert fit.value("rate") == pytest.approx(1.0, abs=0.08)
    assert fit.error("rate") == pytest.approx(0.018, rel=0.1)
    assert fit.summary["two_sample"]["events"]["passes"]


def test_fit_of_the_wrong_model_does_not_converge() -> None:
    """Events of another shape than any the theory can make: the fresh discriminator sees it."""
    problem = decay_problem()
    t = 8 * torch.rand(4000, 1, generator=torch.Generator().manual_seed(0)).square().mul(0.3).add(0.2)
    fit = solve(problem, {"events": Events(t, ("t",))}, method=GAN, settings=SolveSettings(steps=60, max_rounds=2, held_out=0.3))
    assert fit.stop_reason == "out of rounds"
    assert fit.num_steps == 120
    assert not fit.summary["two_sample"]["events"]["passes"]


def test_resumed_fit_equals_the_uninterrupted_one_bit_for_bit() -> None:
    problem = decay_problem(luminosity=(3000.0,))
    events = problem.simulate(seed=1)
    settings = SolveSettings(steps=20, max_rounds=2, diagnose=False, log_every=5, checkpoint_every=7)
    whole, cut = Recording(), Recording(stop_at=12)
    full = solve(problem, events, method=GAN, settings=settings, observer=whole)
    interrupted = solve(problem, events, method=GAN, settings=settings, observer=cut)
    assert interrupted.stop_reason == "interrupted"
    step, tensors = cut.checkpoints[-1]
    assert step == 12
    rest = Recording()
    resumed = solve(problem, events, method=GAN, settings=settings, observer=rest, resume_from=tensors)
    assert torch.equal(full.estimate.samples, resumed.estimate.samples)
    timeless = [{k: v for k, v in record.items() if k != "seconds"} for record in whole.records + rest.records]
    assert timeless[len(whole.records) :] == [r for r in timeless[: len(whole.records)] if r["step"] > 12]


def test_resume_at_the_end_of_a_round_judges_it_first() -> None:
    problem = decay_problem()
    events = problem.simulate(num_events=1000, seed=1)
    settings = SolveSettings(steps=10, diagnose=False)
    watched = Recording()
    full = solve(problem, events, method=GAN, settings=settings, observer=watched)
    resumed = solve(problem, events, method=GAN, settings=settings, observer=Recording(), resume_from=watched.checkpoints[-1][1])
    assert resumed.num_steps == full.num_steps == 10
    assert torch.equal(full.estimate.samples, resumed.estimate.samples)


def test_replicas_give_the_error_by_their_spread() -> None:
    problem = decay_problem()
    events = problem.simulate(num_events=2000, seed=1)
    fit = solve(problem, events, method=GAN, settings=SolveSettings(steps=300, replicas=12, max_rounds=1, held_out=0.2))
    assert fit.summary["error_source"] == "replica spread"
    assert len(fit.replicas) == 12
    # The bound for 1600 events; the spread of twelve replicas is known to 21 %.
    assert fit.error("rate") == pytest.approx(0.026, rel=0.7)


def test_same_seed_same_fit_other_seed_other_fit() -> None:
    problem = decay_problem()
    events = problem.simulate(num_events=1000, seed=1)
    fits = [solve(problem, events, method=GAN, settings=SolveSettings(steps=5, seed=s, diagnose=False)).value("rate") for s in (1, 1, 2)]
    assert fits[0] == fits[1] != fits[2]


def test_diverging_fit_is_given_up_with_counts_and_advice() -> None:
    grid = Grid.from_axes({"t": torch.linspace(0, 8, 81)})
    # The gradient of the square root of zero is infinite.
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t) + torch.sqrt((p[0] - p[0]) * t), grid, (1,))
    problem = Problem("broken", ParameterSpace.from_ranges({"rate": (0.1, 3.0)}), Pipeline(theory))
    events = {"events": Events(torch.rand(500, 1), ("t",))}
    method = Gan(GAN.settings.model_copy(update={"generator": GeneratorSettings(precondition=False)}))
    with pytest.raises(DivergenceError, match=r"100% of the first 100 steps.*\n.*learning_rate"):
        solve(problem, events, method=method, settings=SolveSettings(steps=120, diagnose=False))


def test_events_outside_the_grid_are_refused_with_their_number() -> None:
    problem = proxy2d(nodes=17)
    values = torch.rand(100, 2) * 0.9 + 0.05
    values[:3, 0] = 1.5
    with pytest.raises(EventsError, match="3 "):
        solve(problem, {"events": Events(values, ("x", "y"))}, settings=SolveSettings(steps=1))


def test_missing_channel_and_missing_column_are_refused() -> None:
    problem = proxy2d(nodes=17)
    with pytest.raises(SettingsError, match=r"channels \['events'\], got \['data'\]"):
        solve(problem, {"data": Events(torch.rand(10, 2), ("x", "y"))})
    with pytest.raises(KeyError, match="no column 'y'"):
        solve(problem, {"events": Events(torch.rand(10, 2), ("x", "z"))})


def test_cuda_without_a_gpu_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    problem = decay_problem()
    with pytest.raises(SettingsError, match="finds no GPU"):
        solve(problem, problem.simulate(num_events=100), method=GAN, settings=SolveSettings(steps=1, device="cuda"))


def test_parameter_that_nothing_depends_on_is_refused_before_the_first_step() -> None:
    grid = Grid.from_axes({"t": torch.linspace(0, 8, 81, dtype=torch.float64)})
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), grid, (2,))
    space = ParameterSpace.from_ranges({"rate": (0.1, 3.0), "idle": (0.0, 1.0)})
    problem, recording = Problem("decay", space, Pipeline(theory), truth=(1.0, 0.5)), Recording()
    with pytest.raises(TheoryError, match=r"no gradient reaches \['idle'\]"):
        solve(problem, problem.simulate(num_events=2000), method=GAN, settings=SolveSettings(steps=5), observer=recording)
    assert recording.rounds == []


@pytest.mark.parametrize(
    ("gan", "settings", "largest"),
    [
        (GanSettings(num_events=10**12), SolveSettings(), "a step with 1 replicas x 1 channels x 1000000000000 num_events"),
        (GanSettings(), SolveSettings(replicas=10**11), "a step with 100000000000 replicas"),
        (GanSettings(discriminator=DiscriminatorSettings(hidden=(10**8, 10**8))), SolveSettings(), "discriminators with hidden"),
        (
            GanSettings(generator=GeneratorSettings(kind="network", hidden=(10**8, 10**8))),
            SolveSettings(),
            r"generators with hidden \[100000000, 100000000\]",
        ),
    ],
)
def test_fit_that_cannot_fit_into_memory_is_refused_with_both_numbers(gan: GanSettings, settings: SolveSettings, largest: str) -> None:
    problem, recording = decay_problem(), Recording()
    with pytest.raises(SettingsError, match=rf"(?s)the fit needs at least [\d,]+ GB of memory, but .* GB are available.*{largest}"):
        solve(problem, problem.simulate(num_events=500), method=Gan(gan), settings=settings, observer=recording)
    assert recording.rounds == []


def test_split_of_too_few_events_names_the_channel_and_the_setting() -> None:
    problem = decay_problem()
    with pytest.raises(EventsError, match="(?s)held_out = 0.05: .*channel 'events'.* too few.*held_out=0"):
        solve(problem, problem.simulate(num_events=1), method=GAN, settings=SolveSettings(steps=5))


@pytest.mark.parametrize("given", ["events.parquet", Events(torch.rand(10, 1), ("t",))])
def test_events_without_their_channel_are_refused_with_the_line_to_write(given: Any) -> None:
    # Here and not by `solve`, whose annotations the tests check first.
    with pytest.raises(SettingsError, match=r"\['events'\]; got .* alone\.\nWrite: solve\(problem, \{'events': events\}\)"):
        check_per_channel(decay_problem(), given)
