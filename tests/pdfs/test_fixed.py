"""Densities of a grid at one scale."""

from __future__ import annotations

import math

import pytest
import torch

from unscatter.errors import PdfGridError
from unscatter.pdfs import FIT_FLAVOURS, FixedDensities, PdfGrid

PARTONS = (-4, -3, -2, -1, 21, 1, 2, 3, 4)
SIZES = {parton: 1.0 + 0.1 * i for i, parton in enumerate(PARTONS)}
X = torch.cat([torch.logspace(-3, -1, 31, dtype=torch.float64)[:-1], torch.linspace(0.1, 1, 46, dtype=torch.float64)])
Q = torch.tensor([1.5, 2.0, 4.0], dtype=torch.float64)


def grid(partons: tuple[int, ...] = PARTONS, x: torch.Tensor = X) -> PdfGrid:
    shape = (x**0.5 * (1 - x) ** 2)[:, None] * torch.log(Q)
    return PdfGrid(x, Q, partons, torch.stack([SIZES[parton] * shape for parton in partons]))


def expected(x: torch.Tensor, sizes: list[float]) -> torch.Tensor:
    return torch.tensor(sizes, dtype=torch.float64)[:, None] * x**0.5 * (1 - x) ** 2 * math.log(2)


def test_densities_are_those_of_the_grid_in_the_order_of_the_fit() -> None:
    order = {"g": (21,), "d": (1,), "u": (2,), "s": (3,), "dbar": (-1,), "ubar": (-2,), "sbar": (-3,), "c+": (4, -4)}
    values = FixedDensities(grid(), 2.0)(torch.empty(0, dtype=torch.float64), X)
    torch.testing.assert_close(values, expected(X, [sum(SIZES[p] for p in order[name]) for name in FIT_FLAVOURS]), rtol=1e-9, atol=0)


def test_every_set_of_no_parameters_has_the_same_densities() -> None:
    densities = FixedDensities(grid(), 2.0)
    values = densities(torch.empty(3, 2, 0), torch.tensor([0.1, 0.3]))
    assert (tuple(values.shape), values.dtype) == ((3, 2, 8, 2), torch.float32)
    assert torch.equal(values[0, 0], values[2, 1])
    assert (len(densities.ranges), densities.fractions, densities.start) == (0, (), ())


def test_a_set_without_charm_has_none() -> None:
    values = FixedDensities(grid(PARTONS[1:-1]), 2.0)(torch.empty(0), torch.tensor([0.1]))
    assert float(values[FIT_FLAVOURS.index("c+")]) == 0


def test_a_grid_that_ends_early_is_continued_towards_one() -> None:
    short = grid(x=X[X < 0.95])
    x = torch.tensor([0.5, 0.97, 1.0], dtype=torch.float64)
    values = FixedDensities(short, 2.0)(torch.empty(0, dtype=torch.float64), x)
    torch.testing.assert_close(values[0], expected(x, [SIZES[21]])[0], rtol=0.05, atol=1e-12)


@pytest.mark.parametrize(
    ("changed", "Q_GeV", "message"),
    [
        (grid((21, 1, 2)), 2.0, r"has no partons \[3, -1, -2, -3\]"),
        (grid(), 1.2, "reaches from Q = 1.5 to 4 GeV, but its densities are needed at 1.2 GeV"),
        (grid(), 9.0, "needed at 9 GeV"),
        (grid(x=X[X < 0.8]), 2.0, "ends at x = 0.78"),
    ],
)
def test_grids_that_cannot_serve_are_refused(changed: PdfGrid, Q_GeV: float, message: str) -> None:
    with pytest.raises(PdfGridError, match=message):
        FixedDensities(changed, Q_GeV)


def test_points_below_the_grid_are_refused() -> None:
    with pytest.raises(PdfGridError, match=r"needed from x = 1e-05 on, but the grid begins at 0\.001"):
        FixedDensities(grid(), 2.0)(torch.empty(0), torch.tensor([1e-5, 0.1], dtype=torch.float64))
