"""What a step touches lies on the device of the fit, moved there once; a step gives the same on a GPU as on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from unscatter.arrays import Density, Events, Grid, RandomStream
from unscatter.detectors import Background, Detector, Efficiency
from unscatter.events import InMemoryEvents, MovableSource, StackedEvents
from unscatter.methods import Gan, GanSettings
from unscatter.methods.gan import DiscriminatorSettings
from unscatter.methods.gan.state import GanState
from unscatter.pipeline import ParameterSpace, Pipeline, Problem
from unscatter.samplers import Rosenblatt
from unscatter.solve import SolveSettings, solve
from unscatter.theories import FunctionTheory

GRID = Grid.from_axes({"t": torch.linspace(0, 8, 81, dtype=torch.float64)})
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))]
SETTINGS = GanSettings(num_events=256, discriminator=DiscriminatorSettings(hidden=(16,), penalty_events=2048))


@dataclass(frozen=True)
class SameNumbers(Rosenblatt):
    """The sampler with the same uniform numbers on all devices, whose own generators differ."""

    def uniforms(
        self,
        batch_shape: tuple[int, ...],
        num_events: int,
        num_dimensions: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        assert generator is not None
        own = torch.Generator().manual_seed(generator.initial_seed())
        return super().uniforms(batch_shape, num_events, num_dimensions, generator=own, dtype=dtype).to(device)


def problem_with(*stages: Efficiency | Background, sampler: Rosenblatt | None = None) -> Problem:
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), GRID, (1,), luminosity=(2000.0,))
    return Problem(
        "decay",
        ParameterSpace.from_ranges({"rate": (0.1, 3.0)}),
        Pipeline(theory, Detector(stages), sampler or Rosenblatt()),
        truth=(1.0,),
        start=(0.6,),
    )


def source_for(problem: Problem) -> InMemoryEvents:
    events = {channel: e.to(dtype=torch.float32) for channel, e in problem.simulate(seed=1).items()}
    return InMemoryEvents(events, replicas=2, bootstrap=True)


def one_step(device: str) -> tuple[GanState, Mapping[str, Tensor]]:
    """A step whose only random numbers are those of the sampler: the background has a single event and the penalty sees all."""
    pool = Events(torch.tensor([[2.0]]), ("t",), torch.ones(1))
    problem = problem_with(
        Efficiency.tabulated("t", [0.0, 8.0], [0.5, 1.0]), Background(0.1, events=pool, events_per_signal=0.5), sampler=SameNumbers()
    )
    gan, source = Gan(SETTINGS), source_for(problem)
    return gan.step(gan.init(problem, source, RandomStream(3), num_steps=10, device=device), source)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_step_on_a_gpu_equals_one_on_the_cpu() -> None:
    (here, metrics), (there, other_metrics) = one_step("cpu"), one_step("cuda")
    # Gradients rather than weights: Adam's first step is their sign, also where they are nothing but rounding.
    for name in ("generator.weights", "generator.adam.mean", "discriminator.adam.mean", "features.mean", "observed_counts"):
        mine, other = here.tensors()[name], there.tensors()[name]
        assert other.device.type == "cuda"
        torch.testing.assert_close(other.cpu(), mine, rtol=1e-3, atol=1e-5)
    for name, values in metrics.items():
        torch.testing.assert_close(other_metrics[name].cpu(), values, rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_fit_on_a_gpu_is_judged_resumed_and_concluded() -> None:
    problem = problem_with(Efficiency.tabulated("t", [0.0, 8.0], [0.5, 1.0]))
    fit = solve(
        problem,
        problem.simulate(seed=1),
        method=Gan(SETTINGS),
        settings=SolveSettings(steps=50, max_rounds=1, replicas=3, held_out=0.2, device="cuda"),
    )
    assert fit.estimate.samples.device.type == "cpu"
    assert fit.value("rate") == pytest.approx(1.0, abs=0.3)
    assert fit.comparison
    assert fit.summary["two_sample"] is not None
    state, _ = one_step("cuda")
    restored = Gan(SETTINGS).restore(state, {name: tensor.cpu() for name, tensor in state.tensors().items()})
    assert restored.generator.weights.device.type == "cuda"


@dataclass(frozen=True, eq=False)
class RecordingStage:
    """Counts where it was moved; only the moved one may be called."""

    moves: list[torch.device]
    moved: bool = False
    noise_columns: int = 0
    nuisances: tuple[str, ...] = ()

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        assert self.moved, "the step touches a stage that was not moved"
        return events

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> RecordingStage:
        assert device is not None
        assert dtype is None, "tables keep their precision"
        self.moves.append(torch.device(device))
        return RecordingStage(self.moves, moved=True)


@dataclass
class RecordingSource:
    """Passes everything on and counts where it was moved."""

    inner: InMemoryEvents
    moves: list[torch.device] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def move_to(self, device: torch.device | str) -> None:
        self.moves.append(torch.device(device))
        self.inner.move_to(device)


def test_detector_and_events_are_moved_once_before_the_first_step() -> None:
    moves: list[torch.device] = []
    ideal = problem_with()
    source = RecordingSource(source_for(ideal))
    # Without preconditioning nothing but steps calls the detector.
    gan = Gan(SETTINGS.model_copy(update={"generator": SETTINGS.generator.model_copy(update={"precondition": False})}))
    problem = Problem("decay", ideal.space, Pipeline(ideal.pipeline.theory, Detector((RecordingStage(moves),))))  # pyright: ignore[reportArgumentType]
    state = gan.init(problem, source, RandomStream(3), num_steps=10, device="cpu")  # pyright: ignore[reportArgumentType]
    assert moves == source.moves == [torch.device("cpu")]
    for _ in range(3):
        state, _ = gan.step(state, source)  # pyright: ignore[reportArgumentType]
    assert moves == source.moves == [torch.device("cpu")]


@pytest.mark.parametrize("device", DEVICES)
def test_tables_pools_and_events_are_where_the_state_is(device: str) -> None:
    density = Density(torch.ones(1, 81), GRID, ("flat",))
    pool = Events(torch.linspace(0.5, 7, 50, dtype=torch.float64)[:, None], ("t",), torch.ones(50))
    problem = problem_with(
        Efficiency.tabulated("t", [0.0, 8.0], [0.5, 1.0]), Background(0.1, events=pool), Background.from_density(0.1, density, Rosenblatt())
    )
    source = source_for(problem)
    gan = Gan(SETTINGS)
    state, metrics = gan.step(gan.init(problem, source, RandomStream(3), num_steps=10, device=device), source)
    efficiency, recorded, drawn = state.static.problem.pipeline.detector.stages
    held = [
        efficiency.function.values,  # pyright: ignore[reportAttributeAccessIssue]
        recorded.events.values,  # pyright: ignore[reportAttributeAccessIssue]
        recorded.source._cumulative,  # pyright: ignore[reportAttributeAccessIssue]
        drawn.source.density.values,  # pyright: ignore[reportAttributeAccessIssue]
        source._table.values,
        source._table.bootstrap,
        state.static.observed_counts,
        *metrics.values(),
    ]
    assert {tensor.device.type for tensor in held} == {device}


@pytest.mark.parametrize("kind", ["in memory", "stacked"])
def test_judged_events_are_on_the_cpu_wherever_batches_are(kind: str) -> None:
    events = Events(torch.rand(200, 1), ("t",))
    source = InMemoryEvents({"a": events}) if kind == "in memory" else StackedEvents({"a": [events, events]})
    assert isinstance(source, MovableSource)
    # A table without any numbers stands for that of a GPU: what would come from it can be seen, but not computed with.
    source.move_to("meta")
    assert source.batch(0, 10, RandomStream(0), device="meta").values.device.type == "meta"
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        source.of_channel("a", max_events=10)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        source.sample(10)
