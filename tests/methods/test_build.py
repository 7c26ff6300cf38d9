"""What a fit starts from: features, directions, starting point, and the constants that a checkpoint brings back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.methods.problems import small, source_of, two_channels
from unscatter.arrays import Events, RandomStream
from unscatter.errors import CheckpointError, SettingsError
from unscatter.events import InMemoryEvents
from unscatter.methods import Gan
from unscatter.methods.gan import GeneratorSettings
from unscatter.methods.gan.build import Starts, equal_directions, latent_curvature
from unscatter.methods.gan.features import Features
from unscatter.pipeline import fisher_information, jacobian

PROBLEM = two_channels()


@pytest.mark.parametrize("use_rates", [True, False])
def test_along_each_direction_a_step_of_events_tells_one_unit_or_less(use_rates: bool) -> None:
    counts, num_events = torch.tensor([900.0, 300.0], dtype=torch.float64), 500
    directions = equal_directions(num_events * latent_curvature(PROBLEM, PROBLEM.start_latent, counts, use_rates), 0.1)
    latent = PROBLEM.start_latent
    _, by_latent = jacobian(PROBLEM.space.to_parameters, latent)
    # Counts of 3 : 1 about a mean of one: 1.5 and 0.5 times the information of one event of each channel.
    information = fisher_information(PROBLEM, PROBLEM.space.to_parameters(latent)).total(torch.tensor([1.5, 0.5]), rates=use_rates)
    curvature = num_events * by_latent.T @ information @ by_latent
    eigenvalues = torch.linalg.eigvalsh(curvature)
    found = directions.T @ curvature @ directions
    torch.testing.assert_close(found, torch.diag(eigenvalues / (eigenvalues + 0.1)), rtol=1e-4, atol=1e-8)
    assert bool((eigenvalues > 0.1).sum() == (3 if use_rates else 1))
    assert float(directions.norm(dim=0).max()) <= 0.1**-0.5 * (1 + 1e-6)


@pytest.mark.parametrize(("prior_width", "expected"), [(2.0, 0.25), (None, 1.0)])
def test_with_the_prior_all_directions_of_a_fit_are_equally_steep(prior_width: float | None, expected: float) -> None:
    problem = replace(PROBLEM, prior_width=prior_width)
    source = source_of(problem)
    state = Gan(small(generator=GeneratorSettings(approach=0.1))).init(problem, source, RandomStream(3), num_steps=4)
    counts = source.counts.mean(0)
    # N F + 1 / sigma^2 is what all events and the prior tell; a step has its share of both.
    known = float(counts.mean()) * latent_curvature(problem, problem.start_latent, source.effective_counts, True)
    known = known + expected * torch.eye(len(known), dtype=torch.float64)
    (directions,) = dict(state.static.generator.module.named_buffers())["directions"].double()
    share = small().num_events / float(counts.mean())
    torch.testing.assert_close(share * directions.T @ known @ directions, torch.eye(len(known), dtype=torch.float64), rtol=1e-4, atol=1e-4)


def test_each_replica_has_directions_that_are_equally_steep_where_it_starts() -> None:
    problem, replicas = replace(PROBLEM, prior_width=2.0), 3
    source = source_of(problem, replicas=replicas)
    state = Gan(small(generator=GeneratorSettings(approach=0.1))).init(problem, source, RandomStream(3), num_steps=4)
    buffers = dict(state.static.generator.module.named_buffers())
    share = small().num_events / float(source.counts.mean())
    for start, directions in zip(buffers["start"].double(), buffers["directions"].double(), strict=True):
        known = float(source.counts.mean()) * latent_curvature(problem, start, source.effective_counts, True)
        known = known + torch.eye(len(known), dtype=torch.float64) / 4
        torch.testing.assert_close(
            share * directions.T @ known @ directions, torch.eye(len(known), dtype=torch.float64), rtol=1e-4, atol=1e-4
        )
    assert not torch.allclose(buffers["directions"][0], buffers["directions"][1], rtol=0.01)


def test_steps_of_few_of_very_many_events_stay_bounded() -> None:
    starts = Starts(torch.zeros(1, 3), None, None, counts=1e9, prior_information=1.0)
    assert starts.floor(1000) == 1e-2
    assert starts.floor(100_000_000) == pytest.approx(0.1)


def test_fit_starts_where_the_problem_says_or_in_the_middle() -> None:
    for start, expected in ((PROBLEM.start, (1.4, 0.5, 1.3)), (None, (1.5, 1.5, 1.6))):
        problem = replace(PROBLEM, start=start)
        gan = Gan(small())
        state = gan.init(problem, source_of(problem), RandomStream(3), num_steps=4)
        torch.testing.assert_close(gan.current(state), torch.tensor([expected]))


def test_constant_column_is_refused_with_its_channel_and_the_columns_to_keep() -> None:
    values = torch.rand(1, 2, 50, 2)
    values[:, 1, :, 1] = 3.0
    with pytest.raises(SettingsError, match=r"column 'y' of channel 1 has the same value.*\n.*observables=\('x',\)"):
        Features.fit(Events(values, ("x", "y")), True)


def test_logarithms_are_cut_off_at_half_the_smallest_measured_value() -> None:
    values = torch.linspace(0.4, 2.0, 50).reshape(1, 1, 50, 1)
    features = Features.fit(Events(values, ("x",)), True)
    low = features(Events(torch.tensor([[[[0.0], [-1.0], [0.1], [0.3]]]]), ("x",)))[0, 0]
    assert bool(low.isfinite().all())
    logarithm = torch.linalg.solve(features.whitening[0].T, low.T)[1] + features.mean[0, 1]
    torch.testing.assert_close(logarithm, torch.log(torch.tensor([0.2, 0.2, 0.2, 0.3])), rtol=1e-3, atol=1e-3)


def test_differences_of_nearly_equal_columns_are_not_blown_up_to_noise() -> None:
    x = torch.randn(1, 1, 4000, 1, generator=torch.Generator().manual_seed(0))
    nearly = x + 1e-5 * torch.randn(1, 1, 4000, 1, generator=torch.Generator().manual_seed(1))
    features = Features.fit(Events(torch.cat([x, nearly], -1), ("x", "y")), False)
    shift = torch.tensor([1.0, -1.0]) / 2**0.5
    # A hundredth of a standard deviation is one unit at most.
    assert float((shift @ features.whitening[0]).norm()) < 105


def test_checkpoint_brings_back_the_constants_that_give_its_weights_their_meaning() -> None:
    source, gan = source_of(PROBLEM), Gan(small())
    state = gan.init(PROBLEM, source, RandomStream(3), num_steps=4)
    tensors = gan.tensors(state) | {
        "features.mean": state.static.features.mean + 1,
        "generator.directions": 2 * gan.tensors(state)["generator.directions"],
    }
    restored = gan.restore(gan.init(PROBLEM, source, RandomStream(3), num_steps=4), tensors)
    for name in ("features.mean", "generator.directions"):
        assert torch.equal(gan.tensors(restored)[name], tensors[name])
    assert torch.equal(restored.static.features.mean, state.static.features.mean + 1)


def test_checkpoint_of_other_events_is_refused() -> None:
    gan, source = Gan(small()), source_of(PROBLEM)
    tensors = gan.tensors(gan.init(PROBLEM, source, RandomStream(3), num_steps=4))
    fewer = InMemoryEvents({c: Events(source.of_channel(c).values[:-1], source.columns) for c in source.channels})
    with pytest.raises(CheckpointError, match="resume with the events that the run was started with"):
        gan.restore(gan.init(PROBLEM, fewer, RandomStream(3), num_steps=4), tensors)


def test_network_generator_starts_about_the_start_of_the_problem() -> None:
    gan = Gan(small(generator=GeneratorSettings(kind="network", batch=8, hidden=(8,))))
    state = gan.init(PROBLEM, source_of(PROBLEM), RandomStream(3), num_steps=4)
    proposed = PROBLEM.space.to_latent(gan.result(state).samples[0].double())
    # Untrained, the last of its layers adds less than one to each latent number.
    assert bool(((proposed - PROBLEM.start_latent).abs() < 1).all())
