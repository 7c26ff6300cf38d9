from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unscatter.arrays import Grid
from unscatter.detectors import Detector, Smearing
from unscatter.diagnostics import cramer_rao, describe_direction
from unscatter.diagnostics.identifiability import sparse_basis
from unscatter.errors import ParameterError, SettingsError
from unscatter.pipeline import ParameterSpace, Pipeline, Problem, fisher_information
from unscatter.problems import proxy1d, proxy2d
from unscatter.theories import FunctionTheory

GRID = Grid.from_axes({"x": torch.linspace(-8, 8, 201)})


def gaussian(norm: str = "p[1]", names: tuple[str, ...] = ("mean", "norm"), luminosity: tuple[float, ...] | None = None) -> Problem:
    """Gaussian of unit width; ``norm`` says how the other parameters enter."""

    def density(p: Tensor, x: Tensor) -> Tensor:
        factor = {"p[1]": p[1], "p[1] p[2]": p[1] * p[-1], "p[1] - p[2]": torch.exp(p[1] - p[-1]), "p[1] + p[2]": torch.exp(p[1] + p[-1])}
        return factor[norm] * torch.exp(-((x - p[0]) ** 2) / 2)

    theory = FunctionTheory(density, GRID, (len(names),), luminosity=luminosity)
    return Problem("gaussian", ParameterSpace.from_ranges(dict.fromkeys(names, (-2.0, 4.0))), Pipeline(theory))


def texts(problem: Problem, point: list[float], counts: float = 1000.0) -> list[str]:
    return [direction.text for direction in cramer_rao(problem, point, counts).null_directions]


@pytest.mark.parametrize(
    ("num_pairs", "expected"),
    [(1e5, (0.51, 0.035, 0.016, 0.109, 0.101)), (1e6, (0.160, 0.011, 0.0050, 0.035, 0.032)), (1e7, (0.051, 0.0035, 0.0016, 0.011, 0.010))],
)
def test_bound_of_proxy1d_shapes_with_one_norm_fixed(num_pairs: float, expected: tuple[float, ...]) -> None:
    # Computed from the exact densities, independently of this package.
    bound = cramer_rao(proxy1d(), None, num_pairs, rates=False, fixed=("p3",))
    assert bound.relative[[0, 1, 2, 4, 5]].tolist() == pytest.approx(expected, rel=0.04)
    assert float(bound.sigma[3]) == 0
    assert bound.null_directions == ()
    assert bound.weak_directions == ()


def test_bound_of_proxy1d_with_both_counts() -> None:
    bound = cramer_rao(proxy1d(), None, {"proton": 100_000, "neutron": 100_000})
    assert bound.relative.tolist() == pytest.approx((0.037, 0.035, 0.013, 0.085, 0.073, 0.026), rel=0.03)
    assert bound.null_directions == ()


def test_eigenvalues_of_one_proxy1d_event_pair() -> None:
    problem = proxy1d()
    information = fisher_information(problem, problem.parameters_or_truth(None)).shape.sum(0)
    eigenvalues = torch.linalg.eigvalsh(information).tolist()
    assert eigenvalues[1:] == pytest.approx((2.6e-5, 4.5e-4, 9.8e-3, 8.0e-2, 0.29), rel=0.015)
    assert abs(eigenvalues[0]) < 1e-15


@pytest.mark.parametrize(
    ("num_events", "expected"), [(1e5, (0.013, 0.0070, 0.018, 0.0072, 0.193)), (1e6, (0.0041, 0.0022, 0.0058, 0.0023, 0.061))]
)
def test_bound_of_proxy2d(num_events: float, expected: tuple[float, ...]) -> None:
    # The figures are those of the whole unit square; its edges, which the problem leaves out, hold three per cent of p2's information.
    bound = cramer_rao(proxy2d(), None, num_events)
    assert bound.relative.tolist() == pytest.approx(expected, rel=0.05)


def test_scaling_both_partons_is_the_null_direction_of_shapes_and_weak_ones_are_not_null() -> None:
    bound = cramer_rao(proxy1d(), None, 1e5, rates=False)
    assert [direction.text for direction in bound.null_directions] == ["p0 and p3 only as a ratio"]
    direction = bound.null_directions[0].vector
    assert direction.tolist() == pytest.approx([2 / math.sqrt(5), 0, 0, 1 / math.sqrt(5), 0, 0], abs=1e-6)
    assert bound.determined.tolist() == [False, True, True, False, True, True]
    assert bound.weak_directions == ()


def test_errors_of_determined_parameters_do_not_depend_on_which_norm_is_fixed() -> None:
    free, fixed = (cramer_rao(proxy1d(), None, 1e5, rates=False, fixed=names) for names in ((), ("p0",)))
    assert torch.allclose(free.sigma[free.determined], fixed.sigma[free.determined], rtol=1e-6)


def test_null_and_determined_directions_survive_smearing() -> None:
    smeared = proxy1d(detector=Detector((Smearing("x", absolute=0.05),)))
    bound, ideal = (cramer_rao(p, None, 1e5, rates=False, fixed=("p1", "p2"), num_events=50_000) for p in (smeared, proxy1d()))
    assert [direction.text for direction in bound.null_directions] == ["p0 and p3 only as a ratio"]
    assert bool((bound.sigma[4:] > ideal.sigma[4:]).all())


def test_a_parameter_whose_error_exceeds_its_range_is_weak() -> None:
    bound = cramer_rao(proxy1d(), None, 1e3, rates=False, fixed=("p3",))
    assert [direction.text for direction in bound.weak_directions] == ["p0 is weakly determined: its error 11.1 exceeds its range of 3"]


def test_nearly_null_directions_are_weak_not_null() -> None:
    theory = FunctionTheory(lambda p, x: torch.exp(-((x - p[0] - p[1] * (1 + 3e-4 * x)) ** 2) / 2), GRID, (2,))
    problem = Problem("near", ParameterSpace.from_ranges({"a": (-1e4, 1e4), "b": (-1e4, 1e4)}), Pipeline(theory))
    bound = cramer_rao(problem, [0.1, 0.2], 1e5)
    assert bound.null_directions == ()
    assert [direction.text.split(" along ")[0] for direction in bound.weak_directions] == ["nearly no information"]
    assert bool(bound.determined.all())


def test_directions_are_named_by_what_stays_known() -> None:
    three = ("mean", "a", "b")
    assert texts(gaussian(), [0.1, 1.0]) == ["norm is not determined"]
    assert texts(gaussian("p[1] p[2]", three, (1.0,)), [0.1, 1.5, 0.7]) == ["a and b only as a product"]
    assert texts(gaussian("p[1] - p[2]", three, (1.0,)), [0.1, 1.5, 0.7]) == ["a and b only as a difference"]
    assert texts(gaussian("p[1] + p[2]", three, (1.0,)), [0.1, 1.5, 0.7]) == ["a and b only as a sum"]


def test_several_undetermined_parameters_are_named_one_by_one() -> None:
    assert sorted(texts(gaussian("p[1] p[2]", ("mean", "a", "b")), [0.1, 1.5, 0.7])) == ["a is not determined", "b is not determined"]


def test_independent_null_directions_are_told_apart() -> None:
    theory = FunctionTheory(lambda p, x: p[2] * p[3] * torch.exp(-((x - p[0] * p[1]) ** 2) / 2), GRID, (4,), luminosity=(1.0,))
    problem = Problem("products", ParameterSpace.from_ranges(dict.fromkeys("abcd", (0.1, 3.0))), Pipeline(theory))
    assert sorted(texts(problem, [1.5, 0.7, 0.4, 2.0])) == ["a and b only as a product", "c and d only as a product"]


def test_null_directions_that_mix_are_reported_in_pairs() -> None:
    theory = FunctionTheory(lambda p, x: p[1] * p[2] * p[3] * torch.exp(-((x - p[0]) ** 2) / 2), GRID, (4,), luminosity=(1.0,))
    problem = Problem("product", ParameterSpace.from_ranges(dict.fromkeys("mabc", (0.1, 3.0))), Pipeline(theory))
    found = texts(problem, [1.5, 0.7, 0.4, 2.0])
    assert len(found) == 2
    assert all(text[1:6] == " and " and text.endswith("only as a product") for text in found)


def test_rates_determine_the_norm() -> None:
    bound = cramer_rao(gaussian(luminosity=(100.0,)), [0.1, 1.0], 400.0)
    assert bound.sigma.tolist() == pytest.approx([0.05, 0.05], rel=1e-3)
    assert math.isinf(float(cramer_rao(gaussian(luminosity=(100.0,)), [0.1, 1.0], 400.0, rates=False).sigma[1]))


def test_descriptions_of_three_parameters_and_of_zero() -> None:
    names = ("a", "b", "c")
    point = torch.tensor([1.0, 2.0, 4.0])
    assert describe_direction(names, point, point) == "a, b and c only as ratios"
    assert describe_direction(names, point, torch.ones(3)) == "a, b and c only as differences"
    assert describe_direction(names, point, torch.tensor([0.6, -0.8, 0.0])) == "moving along 0.6 a - 0.8 b changes nothing"
    assert describe_direction(names, torch.zeros(3), torch.tensor([0.0, 1.0, 1.0])) == "b and c only as a difference"


def test_a_tiny_parameter_is_not_overlooked_beside_a_large_one() -> None:
    assert describe_direction(("tiny", "large"), torch.tensor([1e-8, 1e3]), torch.tensor([1e-8, 1e3])) == "tiny and large only as a ratio"


def test_sparse_basis_spans_the_same_space() -> None:
    rows = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    reduced = sparse_basis(rows)
    assert torch.linalg.matrix_rank(torch.cat([rows, reduced])) == 3
    assert int((reduced == 0).sum()) == 6


def test_covariance_is_symmetric_and_of_the_determined_subspace() -> None:
    bound = cramer_rao(proxy1d(), None, 1e5, rates=False)
    projected = bound.information @ bound.covariance @ bound.information
    assert torch.allclose(projected, bound.information, rtol=1e-4, atol=1e-6 * float(bound.information.max()))
    assert torch.equal(bound.covariance, bound.covariance.T)


def test_lines_name_every_parameter_and_direction() -> None:
    lines = cramer_rao(proxy1d(), None, 1e5, rates=False, fixed=("p4",)).lines()
    assert lines[0].endswith("not determined")
    assert lines[4].endswith("fixed")
    assert "+- 0.0173" in cramer_rao(proxy1d(), None, 1e5, rates=False).lines()[1]
    assert lines[-1] == "p0 and p3 only as a ratio"


def test_bad_arguments_are_errors_that_name_the_allowed_ones() -> None:
    with pytest.raises(ParameterError, match=r"'fixed' names \['q'\].*p4"):
        cramer_rao(proxy2d(nodes=9), None, 1.0, fixed=("q",))
    with pytest.raises(SettingsError, match=r"channels \['proton', 'neutron'\], got \['proton'\]"):
        cramer_rao(proxy1d(nodes=9), None, {"proton": 1.0})
    with pytest.raises(SettingsError, match="one number per channel"):
        cramer_rao(proxy1d(nodes=9), None, torch.ones(3))
    with pytest.raises(SettingsError, match="not negative"):
        cramer_rao(proxy1d(nodes=9), None, -1.0)
    with pytest.raises(SettingsError, match="gives no expected counts"):
        cramer_rao(proxy2d(nodes=9), None, 1.0, rates=True)
