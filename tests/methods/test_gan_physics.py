"""Fits with everything that can differ from the plain case: channels, rates, detectors, weights, noise, sampling points."""

import pytest
import torch

from unscatter.arrays import Events, Grid, RandomStream
from unscatter.detectors import Background, Cuts, Detector, Efficiency, Smearing
from unscatter.events import InMemoryEvents
from unscatter.methods import Gan, GanSettings
from unscatter.methods.gan import DiscriminatorSettings, GeneratorSettings
from unscatter.pipeline import ParameterSpace, Pipeline, Problem
from unscatter.samplers import Rosenblatt
from unscatter.theories import FunctionTheory

SMALL = DiscriminatorSettings(hidden=(16, 16), learning_rate=3e-3)
GRID = Grid.from_axes({"t": torch.linspace(0, 8, 81, dtype=torch.float64)})


def fit(problem: Problem, source: InMemoryEvents, settings: GanSettings, num_steps: int = 250) -> list[float]:
    gan = Gan(settings)
    state = gan.init(problem, source, RandomStream(3), num_steps=num_steps)
    for _ in range(num_steps):
        state, _ = gan.step(state, source)
    return gan.result(state).parameters[0].tolist()


def single(e: Events) -> Events:
    return Events(e.values.float(), e.columns, None if e.weights is None else e.weights.float())


def test_channels_of_different_counts_and_held_out_events_give_the_right_amplitudes() -> None:
    """Two amplitudes known only from counts, one rate common to both shapes; 30 % of the events are held out."""

    def rates(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.stack([p[0] * torch.exp(-p[2] * t), p[1] * torch.exp(-p[2] * t)])

    theory = FunctionTheory(rates, GRID, (3,), ("near", "far"), luminosity=(6000.0, 6000.0))
    space = ParameterSpace.from_ranges({"near": (0.0, 3.0), "far": (0.0, 3.0), "rate": (0.2, 3.0)})
    problem = Problem("two", space, Pipeline(theory), truth=(1.0, 0.2, 1.0), start=(1.5, 0.7, 1.5))
    events = {channel: single(e) for channel, e in problem.simulate(seed=5).items()}
    training, _ = InMemoryEvents(events).split((0.7, 0.3), 1)
    near, far, rate = fit(problem, training, GanSettings(num_events=512, generator=GeneratorSettings(approach=0.05), discriminator=SMALL))
    # Standard deviations: 1.5 % from 4200 counts, 3.4 % from 840, and 1.4 % for the rate, which moves both.
    assert near == pytest.approx(1.0, rel=0.1)
    assert far == pytest.approx(0.2, rel=0.18)
    assert rate == pytest.approx(1.0, rel=0.07)


def test_background_is_fitted_behind_smearing_efficiency_and_cuts() -> None:
    flat = Events(torch.linspace(0.5, 7.0, 2001)[:, None], ("t",))
    detector = Detector(
        (
            Smearing("t", absolute=0.2),
            Efficiency(lambda event: 0.5 + 0.05 * event["t"].clamp(0, 8)),
            Background("fraction", events=flat),
            Cuts({"t": (0.5, 7.0)}),
        )
    )
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), GRID, (1,))
    space = ParameterSpace.from_ranges({"rate": (0.2, 3.0)}, nuisances={"fraction": (0.0, 0.8)})
    problem = Problem("blurred", space, Pipeline(theory, detector), truth=(1.0, 0.2), start=(1.6, 0.4))
    source = InMemoryEvents({"events": single(problem.simulate(num_events=8000, seed=2)["events"])})
    rate, fraction = fit(problem, source, GanSettings(num_events=512, discriminator=SMALL), 350)
    # Standard deviations are about 0.024 and 0.011.
    assert rate == pytest.approx(1.0, abs=0.13)
    assert fraction == pytest.approx(0.2, abs=0.06)


def decay() -> Problem:
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), GRID, (1,))
    return Problem("decay", ParameterSpace.from_ranges({"rate": (0.1, 3.0)}), Pipeline(theory), truth=(1.0,))


def test_measured_weights_count() -> None:
    """Events of rate 0.5 with weights that turn them into rate 1."""
    values = decay().simulate([0.5], num_events=6000, seed=1)["events"].values.float()
    source = InMemoryEvents({"events": Events(values, ("t",), torch.exp(-0.5 * values[:, 0]))})
    assert fit(decay(), source, GanSettings(num_events=512, discriminator=SMALL))[0] == pytest.approx(1.0, abs=0.12)


def test_noise_fed_generator_finds_the_rate() -> None:
    source = InMemoryEvents({"events": single(decay().simulate(num_events=5000, seed=1)["events"])})
    generator = GeneratorSettings(kind="network", batch=16, hidden=(16,), learning_rate=3e-3)
    settings = GanSettings(num_events=512, discriminator=SMALL, generator=generator)
    assert fit(decay(), source, settings, 400)[0] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("points", ["stratified", "sobol"])
def test_sorted_and_quasi_random_points_fit_as_well(points: str) -> None:
    problem = decay()
    source = InMemoryEvents({"events": single(problem.simulate(num_events=5000, seed=1)["events"])})
    pipeline = problem.pipeline.with_sampler(Rosenblatt(points=points))  # pyright: ignore[reportArgumentType]
    problem = Problem("decay", problem.space, pipeline)
    assert fit(problem, source, GanSettings(num_events=512, discriminator=SMALL))[0] == pytest.approx(1.0, abs=0.1)


def test_shapes_alone_find_a_ratio_that_is_undetermined_at_the_start() -> None:
    """Where both components have the same shape, their ratio cannot be seen: a fit that starts there must not stay there."""

    def two(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return p[0] * torch.exp(-p[1] * t) + (1 - p[0]) * torch.exp(-0.5 * t) * 0.5

    theory = FunctionTheory(two, GRID, (2,))
    space = ParameterSpace.from_ranges({"share": (0.0, 1.0), "rate": (0.1, 4.0)})
    problem = Problem("two", space, Pipeline(theory), truth=(0.6, 2.0), start=(0.3, 0.5))
    source = InMemoryEvents({"events": single(problem.simulate(num_events=8000, seed=1)["events"])})
    share, rate = fit(problem, source, GanSettings(num_events=512, discriminator=SMALL), 400)
    assert share != pytest.approx(0.3, abs=0.05)
    assert rate > 1.0
