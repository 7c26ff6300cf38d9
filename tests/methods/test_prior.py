"""The prior in the latent space: its loss, the centres and the starts of an ensemble, and the pilot."""

from dataclasses import replace

import pytest
import torch

from unscatter.arrays import Grid, RandomStream
from unscatter.errors import SettingsError
from unscatter.events import InMemoryEvents
from unscatter.methods import Gan, GanSettings
from unscatter.methods.gan import DiscriminatorSettings
from unscatter.methods.gan.build import replica_starts
from unscatter.methods.gan.steps import prior_loss
from unscatter.pipeline import ParameterSpace, Pipeline, Problem
from unscatter.solve import SolveSettings, solve
from unscatter.solve.pilot import needs_pilot, piloted
from unscatter.theories import FunctionTheory

WIDTH = 1.5


def half_seen():
    """A decay whose second parameter does hardly anything to the events."""
    theory = FunctionTheory(
        lambda p, t: torch.exp(-p[0] * t) * (1 + 1e-6 * p[1] * t), Grid.from_axes({"time_s": torch.linspace(0, 8, 33)}), (2,)
    )
    space = ParameterSpace.from_ranges({"rate": (0.1, 2.0), "unseen": (-1.0, 1.0)})
    return Problem("decay", space, Pipeline(theory), truth=(0.6, 0.0), start=(1.0, 0.2), prior_width=WIDTH)


PROBLEM = half_seen()
SMALL = Gan(GanSettings(num_events=512, discriminator=DiscriminatorSettings(hidden=(16, 16), penalty_events=128)))
EVENTS = PROBLEM.simulate(num_events=20_000, seed=2)


def source(replicas):
    samples = {name: sample.to(dtype=torch.float32) for name, sample in EVENTS.items()}
    return InMemoryEvents(samples, replicas=replicas, bootstrap=replicas > 1)


def starts(problem=PROBLEM, replicas=150):
    return replica_starts(problem, source(replicas), GanSettings(), RandomStream(5), use_rates=False)


def test_a_single_fit_starts_at_the_start_and_is_drawn_to_the_centre_of_the_prior():
    problem = replace(PROBLEM, prior_centre=(0.5, -0.3))
    found = starts(problem, replicas=1)
    assert torch.allclose(found.latent[0].double(), problem.start_latent)
    assert found.prior_centres is not None
    assert torch.allclose(
        found.prior_centres[0].double(), problem.space.to_latent(torch.tensor([0.5, -0.3], dtype=torch.float64)), atol=1e-6
    )


def test_prior_centres_of_an_ensemble_are_draws_of_the_prior():
    centres = starts().prior_centres
    assert centres is not None
    assert torch.allclose(centres.std(0), torch.tensor([WIDTH, WIDTH]), rtol=0.15)
    assert torch.allclose(centres.mean(0).double(), PROBLEM.prior_latent, atol=0.3)


def test_a_few_replicas_are_drawn_to_the_prior_as_a_whole():
    four = source(4)
    centres = [replica_starts(PROBLEM, four, GanSettings(), RandomStream(seed), False).prior_centres for seed in range(60)]
    shifts = torch.stack([c for c in centres if c is not None]).double() - PROBLEM.prior_latent
    torch.testing.assert_close(shifts.mean(1), torch.zeros(60, 2, dtype=torch.float64), atol=1e-5, rtol=0)
    # Each of them is still a draw of the prior.
    assert torch.allclose(shifts.square().mean((0, 1)).sqrt(), torch.tensor([WIDTH, WIDTH], dtype=torch.float64), rtol=0.1)


def test_an_ensemble_starts_apart_only_where_the_events_say_nothing():
    found = starts()
    assert found.prior_centres is not None
    shift = found.prior_centres.double() - PROBLEM.prior_latent
    moved = found.latent.double() - PROBLEM.start_latent
    assert torch.allclose(moved[:, 1], shift[:, 1], rtol=1e-3)
    assert float(moved[:, 0].abs().max()) < 0.01 * float(shift[:, 0].abs().max())


def test_an_ensemble_starts_along_the_curved_valley_of_what_the_events_determine():
    """Decays at the rate p q fix the product alone; a straight step along the valley's tangent would leave it."""
    grid = Grid.from_axes({"t": torch.linspace(0, 10, 101, dtype=torch.float64)})
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * p[1] * t), grid, (2,))
    space = ParameterSpace.from_ranges({"p": (0.2, 2.0), "q": (0.2, 2.0)})
    problem = Problem("valley", space, Pipeline(theory), truth=(0.8, 0.8), start=(0.8, 0.8), prior_width=1.7)
    events = {name: sample.to(dtype=torch.float32) for name, sample in problem.simulate(num_events=50_000, seed=3).items()}
    found = replica_starts(problem, InMemoryEvents(events, replicas=12, bootstrap=True), GanSettings(), RandomStream(5), use_rates=False)
    parameters = space.to_parameters(found.latent.double())
    assert float(parameters[:, 0].std()) > 0.1
    torch.testing.assert_close(parameters.prod(1), torch.full((12,), 0.64, dtype=torch.float64), rtol=0.01, atol=0)
    assert found.prior_centres is not None
    along = torch.tensor([1.0, -1.0], dtype=torch.float64) / 2
    straight = problem.start_latent + (found.prior_centres.double() - problem.prior_latent) @ torch.outer(2 * along, along)
    assert float((space.to_parameters(straight).prod(1) / 0.64 - 1).abs().max()) > 0.05


def test_without_a_prior_all_replicas_start_together():
    found = starts(replace(PROBLEM, prior_width=None), replicas=3)
    assert found.prior_centres is None
    assert torch.equal(found.latent[0], found.latent[2])


def test_prior_loss_is_the_gaussian_per_measured_event():
    state = Gan().init(PROBLEM, source(3), RandomStream(1), num_steps=5)
    centres = state.static.prior_centres
    assert centres is not None
    latent = centres.unsqueeze(1).repeat(1, 4, 1)
    latent[:, :, 0] += torch.tensor([3.0, 1.0, -1.0, 3.0])  # mean 1.5: one standard deviation
    loss = prior_loss(state.static, latent)
    assert torch.allclose(loss, 0.5 / state.static.observed_counts[:, 0])
    assert torch.equal(prior_loss(replace(state.static, prior_centres=None), latent), torch.zeros(3))


def test_spread_of_replicas_is_the_prior_where_the_events_say_nothing_and_the_bootstrap_where_they_do():
    settings = SolveSettings(steps=60, replicas=24, pilot_steps=100, max_rounds=1, diagnose=False)
    method = SMALL
    fit = solve(PROBLEM, EVENTS, method=method, settings=settings)
    latent = PROBLEM.space.to_latent(fit.estimate.parameters.double())
    assert float(latent[:, 1].std()) == pytest.approx(WIDTH, rel=0.4)
    # Small steps on few events leave some noise of training; the range of 1.9 is ten latent units.
    assert float(fit.estimate.parameters[:, 0].std()) < 0.1  # the prior has 0.28
    assert float(fit.estimate.parameters[:, 0].mean()) == pytest.approx(0.6, abs=0.05)


def test_centres_come_back_from_a_checkpoint():
    method = Gan()
    state = method.init(PROBLEM, source(3), RandomStream(1), num_steps=5)
    other = method.init(PROBLEM, source(3), RandomStream(2), num_steps=5)
    own, others = state.static.prior_centres, other.static.prior_centres
    restored = method.restore(other, method.tensors(state)).static.prior_centres
    assert own is not None
    assert others is not None
    assert restored is not None
    assert not torch.equal(own, others)
    assert torch.equal(restored, own)


def test_pilot_moves_the_start_and_leaves_the_prior():
    told = []
    random, device = RandomStream(3), torch.device("cpu")
    moved = piloted(PROBLEM, source(4), SMALL, num_steps=201, rng=random, device=device, report=lambda *steps: told.append(steps))
    assert moved.start is not None
    assert moved.start[0] == pytest.approx(0.6, abs=0.1)
    assert torch.allclose(moved.prior_latent, PROBLEM.prior_latent, atol=1e-6)
    assert told[-1] == (202, 202)


def test_only_ensembles_with_a_prior_need_a_pilot():
    assert needs_pilot(PROBLEM, source(2), 100)
    assert not needs_pilot(PROBLEM, source(1), 100)
    assert not needs_pilot(PROBLEM, source(2), 0)
    assert not needs_pilot(replace(PROBLEM, prior_width=None), source(2), 100)


def test_resume_equals_the_uninterrupted_run_after_a_pilot():
    kept = {}

    class Keeper:
        def started(self, first_step, last_step):
            pass

        def progressed(self, record):
            pass

        def checkpoint(self, step, tensors, scalars):
            kept[step] = {name: tensor.clone() for name, tensor in tensors.items()}

        def stop_requested(self):
            return False

    settings = SolveSettings(steps=12, replicas=3, pilot_steps=10, max_rounds=1, diagnose=False, checkpoint_every=6)
    whole = solve(PROBLEM, EVENTS, settings=settings, observer=Keeper())
    resumed = solve(PROBLEM, EVENTS, settings=settings, resume_from=kept[6])
    assert torch.equal(whole.estimate.parameters, resumed.estimate.parameters)


def test_only_replicas_of_a_pilot_start_from_a_fit():
    told = []

    class Telling(Gan):
        def init(self, *arguments, fitted_start=False, **named):
            told.append(fitted_start)
            return super().init(*arguments, fitted_start=fitted_start, **named)

    settings = SolveSettings(steps=2, replicas=3, pilot_steps=4, max_rounds=1, diagnose=False)
    solve(PROBLEM, EVENTS, method=Telling(SMALL.settings), settings=settings)
    assert told == [False, False, True]
    told.clear()
    solve(PROBLEM, EVENTS, method=Telling(SMALL.settings), settings=settings.model_copy(update={"pilot_steps": 0}))
    assert told == [False]


def test_a_stop_during_the_pilot_leaves_no_half_made_fit():
    class Impatient:
        def started(self, first_step, last_step):
            raise AssertionError("the fit began")

        def progressed(self, record):
            pass

        def checkpoint(self, step, tensors, scalars):
            raise AssertionError("a checkpoint was written")

        def stop_requested(self):
            return True

    with pytest.raises(KeyboardInterrupt):
        solve(PROBLEM, EVENTS, settings=SolveSettings(steps=12, replicas=3, pilot_steps=10), observer=Impatient())


def test_a_prior_without_width_is_refused():
    with pytest.raises(SettingsError, match="'prior_width' of problem 'decay' must be positive, got 0"):
        replace(PROBLEM, prior_width=0.0)
