"""The proxy problems: pseudo-data, luminosity, statistical limits."""

import pytest
import torch

from unscatter.errors import ParameterError, SettingsError
from unscatter.physics.proxies import PROXY1D_TRUTH
from unscatter.problems import proxy1d, proxy2d


def test_luminosity_gives_the_wanted_counts_at_the_truth() -> None:
    counts = proxy1d(num_events=5000).density(torch.tensor(PROXY1D_TRUTH, dtype=torch.float64)).expected_counts
    assert counts is not None
    assert counts.tolist() == pytest.approx([5000, 5000])


def test_luminosity_can_be_given_per_channel() -> None:
    problem = proxy1d(luminosity={"neutron": 10.0, "proton": 20.0})
    assert problem.pipeline.theory.luminosity == (20.0, 10.0)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(SettingsError, match=r"channels \['proton', 'neutron'\], got \['proton'\]"):
        proxy1d(luminosity={"proton": 1.0})


def test_pseudo_data_have_poisson_counts_without_a_number_and_exact_ones_with() -> None:
    problem = proxy1d(num_events=10_000, nodes=33)
    counts = {s: [e.num_events for e in problem.simulate(seed=s).values()] for s in range(3)}
    assert len({c for pair in counts.values() for c in pair}) > 3
    assert all(abs(c - 10_000) < 500 for pair in counts.values() for c in pair)
    exact = problem.simulate(num_events={"proton": 10, "neutron": 20}, seed=1)
    assert [e.num_events for e in exact.values()] == [10, 20]


def test_pseudo_data_depend_on_the_seed_alone() -> None:
    first, again, other = (proxy2d(nodes=33).simulate(num_events=100, seed=s)["events"].values for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_moments_of_pseudo_data_are_those_of_the_density() -> None:
    """Moments at box coordinates (0.67, 0.20, 0.23, 0.67, 0.50), computed from beta functions."""
    values = proxy2d().simulate([0.505, 3.0, 0.299, 4.005, 0.75], num_events=400_000, seed=5)["events"].values
    assert values.mean(0).tolist() == pytest.approx([0.27797, 0.21065], abs=0.0012)
    assert float(torch.cov(values.T)[0, 1]) == pytest.approx(0.00047, abs=0.00025)


def test_parameters_outside_the_box_are_refused_by_name() -> None:
    with pytest.raises(ParameterError, match=r"parameter 'p0' is 9.*\(-0.5, 1\).*\n.*\['p0', 'p1'"):
        proxy2d(nodes=9).simulate([9.0, 3.0, 0.3, 4.0, 0.75], num_events=10)


def test_parameters_can_be_named() -> None:
    values = {"p4": 0.75, "p0": 0.5, "p1": 3.0, "p2": 0.3, "p3": 4.0}
    problem = proxy2d(nodes=33)
    assert torch.equal(problem.simulate(values, num_events=50)["events"].values, problem.simulate(num_events=50)["events"].values)
    with pytest.raises(ParameterError, match=r"unknown \['q'\], missing \['p0'"):
        problem.simulate({"q": 1.0}, num_events=10)


def test_number_of_events_is_needed_without_a_luminosity() -> None:
    with pytest.raises(SettingsError, match=r"no luminosity.*simulate\(num_events=100_000\)"):
        proxy2d(nodes=9).simulate()
