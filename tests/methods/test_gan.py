"""The adversarial method: purity, replicas, averages, rates, bad events, and that it fits."""

from dataclasses import replace

import pytest
import torch

from unscatter.arrays import Events, Grid, RandomStream
from unscatter.errors import CheckpointError, SettingsError
from unscatter.events import InMemoryEvents, StackedEvents
from unscatter.methods import Estimate, Gan, GanSettings, Method
from unscatter.methods.gan import DiscriminatorSettings, GeneratorSettings
from unscatter.methods.gan.features import Features
from unscatter.methods.gan.state import GanState
from unscatter.pipeline import ParameterSpace, Pipeline, Problem
from unscatter.problems import proxy1d
from unscatter.theories import FunctionTheory

SMALL = DiscriminatorSettings(hidden=(16, 16), learning_rate=3e-3)
TINY = GanSettings(num_events=64, discriminator=SMALL)


def decay_problem(luminosity: tuple[float, ...] | None = None) -> Problem:
    """Exponential decay with amplitude and rate, seen between 0 and 8."""
    grid = Grid.from_axes({"t": torch.linspace(0, 8, 81, dtype=torch.float64)})
    theory = FunctionTheory(lambda p, t: p[0] * torch.exp(-p[1] * t), grid, (2,), luminosity=luminosity)
    space = ParameterSpace.from_ranges({"amplitude": (0.0, 4.0), "rate": (0.1, 3.0)})
    return Problem("decay", space, Pipeline(theory), truth=(1.0, 1.0))


def run(
    problem: Problem, source: InMemoryEvents | StackedEvents, settings: GanSettings, num_steps: int, seed: int = 3
) -> tuple[Gan, GanState]:
    gan = Gan(settings)
    state = gan.init(problem, source, RandomStream(seed), num_steps=num_steps)
    for _ in range(num_steps):
        state, _ = gan.step(state, source)
    return gan, state


def source_of(problem: Problem, num_events: int = 2000, replicas: int = 1) -> InMemoryEvents:
    events = problem.simulate(num_events=num_events, seed=1)
    return InMemoryEvents({c: Events(e.values.float(), e.columns) for c, e in events.items()}, replicas=replicas)


def same(a: GanState, b: GanState) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values(), strict=True))


def test_gan_is_a_method() -> None:
    assert isinstance(Gan(), Method)


def test_step_is_pure() -> None:
    problem = decay_problem()
    source = source_of(problem)
    gan, state = run(problem, source, TINY, 3)
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    first, _ = gan.step(state, source)
    again, _ = gan.step(state, source)
    assert same(first, again)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.tensors().items())
    assert not torch.equal(first.generator.weights, state.generator.weights)


@pytest.mark.parametrize("kind", ["direct", "network"])
def test_restored_state_goes_on_bit_for_bit(kind: str) -> None:
    problem = decay_problem(luminosity=(2000.0,))
    source = source_of(problem)
    settings = GanSettings(num_events=64, discriminator=SMALL, generator=GeneratorSettings(kind=kind, batch=8, hidden=(8,)))  # pyright: ignore[reportArgumentType]
    gan, state = run(problem, source, settings, 5)
    fresh = gan.init(problem, source, RandomStream(3), num_steps=5)
    restored = gan.restore(fresh, {name: tensor.clone() for name, tensor in gan.tensors(state).items()})
    for _ in range(3):
        state, _ = gan.step(state, source)
        restored, _ = gan.step(restored, source)
    assert same(state, restored)
    assert restored.step == 8


def test_checkpoint_of_other_networks_is_refused() -> None:
    problem = decay_problem()
    source = source_of(problem)
    gan, state = run(problem, source, TINY, 1)
    other = Gan(GanSettings(num_events=64, discriminator=DiscriminatorSettings(hidden=(8,))))
    fresh = other.init(problem, source, RandomStream(3), num_steps=5)
    with pytest.raises(CheckpointError, match=r"'discriminator.weights' of the checkpoint has the shape"):
        other.restore(fresh, gan.tensors(state))
    incomplete = dict(gan.tensors(state))
    del incomplete["ema"]
    with pytest.raises(CheckpointError, match="no tensor 'ema'"):
        gan.restore(gan.init(problem, source, RandomStream(3), num_steps=5), incomplete)


def test_replicas_do_not_touch_one_another() -> None:
    """Changing the data of one replica changes that replica alone."""
    problem = decay_problem()
    sets = [problem.simulate(num_events=500, seed=s)["events"] for s in (1, 2, 3)]

    def final(chosen: list[Events]) -> torch.Tensor:
        source = StackedEvents({"events": [Events(e.values.float(), e.columns) for e in chosen]})
        # Features are fitted on all replicas together, so keep them fixed here.
        gan = Gan(TINY)
        state = gan.init(problem, source, RandomStream(3), num_steps=5)
        state = replace(state, static=replace(state.static, features=features))
        for _ in range(5):
            state, _ = gan.step(state, source)
        return gan.current(state)

    features = Features.fit(Events(sets[0].values.float()[None, None], ("t",)), True)
    first, second = final([sets[0], sets[1]]), final([sets[0], sets[2]])
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])


def test_tail_is_the_mean_of_the_weights_in_the_second_half() -> None:
    problem = decay_problem()
    source = source_of(problem)
    gan = Gan(TINY)
    state = gan.init(problem, source, RandomStream(3), num_steps=8)
    seen = []
    for _ in range(8):
        state, _ = gan.step(state, source)
        seen.append(state.generator.weights.double())
    expected = torch.stack(seen[4:]).mean(0)
    torch.testing.assert_close(state.tail.sum(0) / state.tail_counts.sum(), expected)
    assert state.tail_counts.tolist() == [2, 2]
    torch.testing.assert_close(state.tail[0] / 2, torch.stack(seen[4:6]).mean(0))


def test_tail_starts_anew_in_the_next_round() -> None:
    problem = decay_problem()
    source = source_of(problem)
    gan = Gan(TINY)
    state = gan.init(problem, source, RandomStream(3), num_steps=4)
    seen = []
    for _ in range(8):
        state, _ = gan.step(state, source)
        seen.append(state.generator.weights.double())
    torch.testing.assert_close(state.tail.sum(0), torch.stack(seen[6:]).sum(0))


def test_fit_recovers_shape_and_rate() -> None:
    problem = decay_problem(luminosity=(5000.0,))
    source = source_of(problem, num_events=5000)
    gan, state = run(problem, source, GanSettings(num_events=512, discriminator=SMALL), 300)
    estimate = gan.result(state)
    assert isinstance(estimate, Estimate)
    amplitude, rate = estimate.parameters[0].tolist()
    # About five standard deviations of 5000 events: 1.4 % of the rate, and the amplitude follows it.
    assert rate == pytest.approx(1.0, abs=0.08)
    assert amplitude == pytest.approx(1.0, abs=0.1)
    assert state.skipped.sum() == 0


def test_without_rates_the_amplitude_stays_where_it_starts() -> None:
    problem = decay_problem(luminosity=(5000.0,))
    source = source_of(problem)
    gan, state = run(problem, source, TINY.model_copy(update={"rates": "off"}), 20)
    assert float(gan.current(state)[0, 0]) == pytest.approx(2.0, abs=1e-3)


def test_rates_without_luminosity_are_refused() -> None:
    problem = decay_problem()
    with pytest.raises(SettingsError, match=r"rates are 'on'.*\n.*luminosity"):
        Gan(TINY.model_copy(update={"rates": "on"})).init(problem, source_of(problem), RandomStream(0), num_steps=1)


def test_events_of_other_channels_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"channels \['proton', 'neutron'\].*\['events'\]"):
        Gan(TINY).init(proxy1d(nodes=17), source_of(decay_problem()), RandomStream(0), num_steps=1)


def test_replica_with_a_poisoned_state_is_skipped_and_counted_while_the_other_goes_on() -> None:
    problem = decay_problem()
    source = source_of(problem, replicas=2)
    gan, state = run(problem, source, TINY, 2)
    poisoned = state.discriminator.weights.clone()
    poisoned[0] = float("nan")
    state = replace(state, discriminator=state.discriminator._replace(weights=poisoned))
    after, _ = gan.step(state, source)
    assert after.skipped.tolist() == [[1, 0], [1, 0]]
    assert torch.equal(after.generator.weights[0], state.generator.weights[0])
    assert not torch.equal(after.generator.weights[1], state.generator.weights[1])
    assert gan.skipped_share(after) == pytest.approx(1 / 3)


@pytest.mark.parametrize("loss", ["relativistic", "nonsaturating", "least-squares", "wasserstein-gp"])
def test_every_loss_moves_towards_the_truth(loss: str) -> None:
    problem = decay_problem()
    source = source_of(problem, num_events=4000)
    settings = GanSettings(loss=loss, num_events=256, discriminator=SMALL)  # pyright: ignore[reportArgumentType]
    gan, state = run(problem, source, settings, 120)
    start = float(problem.space.to_parameters(torch.zeros(2))[1])
    assert abs(float(gan.result(state).parameters[0, 1]) - 1.0) < 0.6 * abs(start - 1.0)


def test_features_are_white_on_the_events_they_were_fitted_on() -> None:
    values = torch.rand(1, 2, 5000, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.5, 2.0])
    features = Features.fit(Events(values, ("x", "y")), True)
    white = features(Events(values, ("x", "y")))[0].double()
    assert features.num_features == 4
    torch.testing.assert_close(white.mean(1), torch.zeros(2, 4, dtype=torch.float64), atol=1e-3, rtol=0)
    first = white[0] - white[0].mean(0)
    # x and ln x are nearly the same here, so the whitening is held back along their difference.
    assert bool(((first.T @ first / 5000).diagonal() < 1.05).all())


def test_logarithm_of_a_column_with_negative_values_is_refused() -> None:
    events = Events(torch.tensor([[[[-1.0], [2.0]]]]), ("x",))
    assert Features.fit(events, True).num_features == 1
    with pytest.raises(SettingsError, match="smallest measured value is -1"):
        Features.fit(events, ("x",))


def test_batch_larger_than_the_events_of_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="every parameter set needs at least one event"):
        GanSettings(num_events=16, generator=GeneratorSettings(kind="network", batch=32))
