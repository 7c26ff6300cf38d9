"""Grids of parton densities: interpolation against closed forms, a slow reference and an independent program; what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from tests.pdfs.example_grids import PARTONS, REGIONS, alpha_s, densities, member, x_nodes
from unscatter.errors import PdfGridError
from unscatter.pdfs.cubic import cubic_weights
from unscatter.pdfs.grid import AlphaS, PdfGrid
from unscatter.pdfs.pdf_set import PdfInfo, PdfSet


def hermite(nodes: Sequence[float], values: Sequence[float], point: float) -> float:
    """The interpolant within one region, one point at a time: arXiv:1412.7420."""
    cell = max(k for k in range(len(nodes) - 1) if nodes[k] <= point)
    slopes = [(values[k + 1] - values[k]) / (nodes[k + 1] - nodes[k]) for k in range(len(nodes) - 1)]
    left, right = (sum(near) / len(near) for near in (slopes[max(cell - 1, 0) : cell + 1], slopes[cell : cell + 2]))
    width = nodes[cell + 1] - nodes[cell]
    u = (point - nodes[cell]) / width
    ends = (1 + 2 * u) * (1 - u) ** 2 * values[cell] + u**2 * (3 - 2 * u) * values[cell + 1]
    return ends + width * (u * (1 - u) ** 2 * left - u**2 * (1 - u) * right)


def reference(grid: PdfGrid, parton: int, x: float, Q: float) -> float:
    """Cubic in ln x at every node in Q, then cubic in ln Q2, in the region that holds Q."""
    region = sum(nodes[-1] <= Q for nodes in REGIONS)
    first = sum(map(len, REGIONS[:region]))
    last = first + len(REGIONS[region])
    log_x, log_Q2 = grid.x_nodes.log().tolist(), [2 * math.log(node) for node in REGIONS[region]]
    at_nodes = [hermite(log_x, grid.values[parton, :, k].tolist(), math.log(x)) for k in range(first, last)]
    return hermite(log_Q2, at_nodes, 2 * math.log(Q))


@hypothesis.given(log_x=st.floats(math.log(1e-5), -1e-9), log_Q=st.floats(math.log(1.51), math.log(999.9)), parton=st.integers(0, 4))
def test_interpolation_is_that_of_the_slow_reference(log_x: float, log_Q: float, parton: int) -> None:
    grid, x, Q = member(), math.exp(log_x), math.exp(log_Q)
    assert float(grid.xf(PARTONS[parton], x, Q)) == pytest.approx(reference(grid, parton, x, Q), rel=1e-11, abs=1e-15)


def test_nodes_are_reproduced() -> None:
    grid = member()
    # A threshold belongs to the region above it, the second of its two nodes.
    upper = torch.cat([grid.Q_nodes_GeV.diff() > 0, torch.tensor([True])])
    values = grid.xf_all(grid.x_nodes[:, None], grid.Q_nodes_GeV[upper])
    torch.testing.assert_close(values, grid.values[:, :, upper], rtol=1e-13, atol=0)


def test_regions_do_not_see_one_another() -> None:
    """A step of 10 % stays at the threshold, and just below it the lower region counts."""
    grid, x = member(), torch.tensor([1e-4, 0.1, 0.5], dtype=torch.float64)
    below, above = grid.xf(21, x, 4.92 * (1 - 1e-12)), grid.xf(21, x, 4.92)
    torch.testing.assert_close(above / below, torch.full_like(x, 1.2 / 1.1), rtol=1e-9, atol=0)


def test_two_nodes_in_Q_are_joined_linearly_in_both_directions() -> None:
    grid = member()
    middle_x, middle_Q = (grid.x_nodes[3] * grid.x_nodes[4]).sqrt(), math.sqrt(1.3 * 1.51)
    corners = grid.values[2, 3:5, 0:2]
    assert float(grid.xf(21, middle_x, middle_Q)) == pytest.approx(float(corners.mean()), rel=1e-12)


@pytest.mark.parametrize("power", [0, 1, 2])
def test_polynomials_are_exact_to_second_order(power: int) -> None:
    """On equidistant nodes the mean of two slopes is the derivative of a parabola; elsewhere straight lines are exact."""
    log_nodes = torch.arange(6, dtype=torch.float64) if power == 2 else torch.tensor([0.0, 0.5, 2.0, 3.0, 7.0, 8.0], dtype=torch.float64)
    log_points = torch.linspace(float(log_nodes[1]), float(log_nodes[-2]), 41, dtype=torch.float64)
    columns, weights = cubic_weights(log_nodes.exp(), log_points.exp())
    torch.testing.assert_close((weights * (log_nodes**power)[columns]).sum(-1), log_points**power, rtol=1e-13, atol=1e-13)


def test_interpolation_converges_to_the_closed_form() -> None:
    """Twice the nodes, an eighth of the error."""
    x, Q = torch.logspace(-3, -0.5, 101, dtype=torch.float64), torch.tensor(30.0, dtype=torch.float64)
    truth = densities(x, Q[None])[2, :, 0]

    def error(num_nodes: int) -> float:
        nodes = torch.logspace(-4, -0.1, num_nodes, dtype=torch.float64)
        scales = torch.logspace(math.log10(2), 3, num_nodes, dtype=torch.float64)
        return float((PdfGrid(nodes, scales, PARTONS, densities(nodes, scales)).xf(21, x, Q) / truth - 1).abs().max())

    assert error(80) < error(40) / 6
    assert error(160) < 1e-5


def test_coordinates_broadcast() -> None:
    grid, x, Q = member(), torch.tensor([[0.1], [0.2]]), torch.tensor([2.0, 3.0, 50.0])
    assert grid.xf_all(x, Q).shape == (5, 2, 3)
    assert float(grid.xf(2, x, Q)[1, 2]) == pytest.approx(float(grid.xf(2, 0.2, 50.0)), rel=1e-6)
    assert torch.equal(grid.xf(0, x, Q), grid.xf(21, x, Q))


def test_points_outside_are_counted_and_shown() -> None:
    with pytest.raises(
        PdfGridError, match=r"2 of 3 points lie outside the grid: 'x' reaches from 1e-07 to 1e-06 there, and the grid from 1e-05 to 1"
    ):
        member().xf(21, torch.tensor([1e-7, 1e-6, 0.1]), 10.0)
    with pytest.raises(PdfGridError, match=r"1 of 1 points .* 'Q' reaches from 2000 to 2000 there, and the grid from 1.3 to 1000 GeV"):
        member().xf(21, 0.1, 2000.0)
    with pytest.raises(PdfGridError, match=r"1 of 2 points"):
        member().xf(21, torch.tensor([math.nan, 0.1]), 10.0)


def test_single_precision_at_the_edge_is_no_error() -> None:
    assert torch.equal(member().xf(21, torch.tensor(1e-5), 10.0), member().xf(21, 1e-5, 10.0))


def test_a_parton_that_is_not_there_is_named() -> None:
    with pytest.raises(PdfGridError, match=r"no parton 6\. It has -2, -1, 21, 1, 2"):
        member().xf(6, 0.1, 10.0)


@pytest.mark.parametrize(
    ("x", "Q", "message"),
    [
        ([0.1, 0.2, 0.3], [1.0, 2.0], "at least 4 nodes in x, got 3"),
        ([0.1, 0.3, 0.2, 0.4], [1.0, 2.0], "nodes in x must increase, but number 3 is 0.2 and the one before is 0.3"),
        ([0.1, 0.2, 0.2, 0.4], [1.0, 2.0], "nodes in x must increase"),
        ([0.0, 0.2, 0.3, 0.4], [1.0, 2.0], r"must lie in \(0, 1\]"),
        ([0.1, 0.2, 0.3, 1.4], [1.0, 2.0], r"must lie in \(0, 1\]"),
        ([0.1, 0.2, math.nan, 0.4], [1.0, 2.0], "1 of 4 are not"),
        ([0.1, 0.2, 0.3, 0.4], [2.0], "at least 2 nodes in Q, got 1"),
        ([0.1, 0.2, 0.3, 0.4], [0.0, 2.0], "nodes in Q must be positive"),
        ([0.1, 0.2, 0.3, 0.4], [3.0, 2.0], "nodes in Q must increase"),
        ([0.1, 0.2, 0.3, 0.4], [2.0, 2.0, 3.0], "a threshold in Q stands twice.* 2 GeV"),
        ([0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 2.0, 2.0, 3.0], "a threshold in Q stands twice"),
    ],
)
def test_impossible_nodes_are_refused(x: list[float], Q: list[float], message: str) -> None:
    with pytest.raises(PdfGridError, match=message):
        PdfGrid(torch.tensor(x), torch.tensor(Q), (21,), torch.zeros(1, len(x), len(Q)))


def test_impossible_densities_are_refused() -> None:
    x, Q = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1.0, 2.0])
    with pytest.raises(PdfGridError, match=r"\(1, 4, 2\), got \(1, 2, 4\)"):
        PdfGrid(x, Q, (21,), torch.zeros(1, 2, 4))
    with pytest.raises(PdfGridError, match="1 of 8 densities are not finite"):
        PdfGrid(x, Q, (21,), torch.tensor([math.inf, *[0.0] * 7]).reshape(1, 4, 2))
    with pytest.raises(PdfGridError, match="each parton must stand once"):
        PdfGrid(x, Q, (21, 21), torch.zeros(2, 4, 2))


def test_coupling_is_cubic_between_nodes_and_jumps_at_thresholds() -> None:
    coupling = alpha_s()
    nodes = [math.log(Q) for Q in REGIONS[2]]
    assert float(coupling(20.0)) == float(coupling.values[6])
    assert float(coupling(12.0)) == pytest.approx(hermite(nodes, coupling.values[4:].tolist(), math.log(12.0)), rel=1e-13)
    assert float(coupling(4.92)) == float(coupling.values[4]) > float(coupling(4.92 * (1 - 1e-9))) + 0.01
    with pytest.raises(PdfGridError, match="'Q' reaches from 1 to 1 there, and the grid from 1.51 to 1000 GeV"):
        coupling(1.0)


@pytest.mark.parametrize(
    ("values", "message"), [([0.3, -0.1], "-0.1 to 0.3"), ([0.3, math.nan], "between 0 and 10"), ([0.3], "2 scales, but 1 values")]
)
def test_impossible_couplings_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(PdfGridError, match=message):
        AlphaS(torch.tensor([1.0, 2.0]), torch.tensor(values))


def test_central_member_is_the_mean_of_the_replicas() -> None:
    pdf_set = PdfSet.from_replicas(PdfInfo(description="three"), [member(stretch) for stretch in (0.5, 1.0, 3.0)])
    torch.testing.assert_close(pdf_set.central.values, 1.5 * member().values, rtol=1e-14, atol=0)
    assert len(pdf_set.variations) == 3


def test_sets_that_do_not_fit_together_are_refused() -> None:
    other = PdfGrid(x_nodes()[1:], member().Q_nodes_GeV, PARTONS, member().values[:, 1:])
    less = PdfGrid(x_nodes(), member().Q_nodes_GeV, PARTONS[:-1], member().values[:-1])
    with pytest.raises(PdfGridError, match="replica 2 has other nodes"):
        PdfSet.from_replicas(PdfInfo(description=""), [member(), other])
    with pytest.raises(PdfGridError, match="at least one replica"):
        PdfSet.from_replicas(PdfInfo(description=""), [])
    with pytest.raises(PdfGridError, match="at least one member"):
        PdfSet(PdfInfo(description=""), ())
    with pytest.raises(PdfGridError, match="member 1 has the partons"):
        PdfSet(PdfInfo(description=""), (member(), less))
