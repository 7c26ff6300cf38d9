"""Grids, densities, events and random streams: laws and refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unscatter.arrays import Density, Events, Grid, RandomStream
from unscatter.arrays.interpolation import interpolate
from unscatter.errors import ColumnError, GridError, ShapeError


def arbitrary_axis(seed: int, n: int) -> torch.Tensor:
    return torch.cumsum(0.01 + torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), 0)


@given(st.integers(0, 100), st.integers(2, 9), st.integers(2, 9))
def test_integral_is_exact_for_multilinear_functions(seed: int, nx: int, ny: int) -> None:
    grid = Grid((arbitrary_axis(seed, nx), arbitrary_axis(seed + 1, ny)), ("x", "y"))
    x, y = grid.mesh()
    (a, b), (c, d) = ((axis[0], axis[-1]) for axis in grid.axes)
    exact = ((b**2 - a**2) / 2 + (b - a)) * ((d**2 - c**2) / 2 + 2 * (d - c))
    torch.testing.assert_close(grid.integrate((x + 1) * (y + 2)), exact)


@given(st.integers(0, 100))
def test_interpolation_is_exact_for_multilinear_functions(seed: int) -> None:
    grid = Grid((arbitrary_axis(seed, 5), arbitrary_axis(seed + 1, 7)), ("x", "y"))
    x, y = grid.mesh()
    shares = torch.rand(2, 50, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    low, high = torch.tensor(grid.low, dtype=torch.float64), torch.tensor(grid.high, dtype=torch.float64)
    points = low + shares * (high - low)
    values = torch.stack([(x + 1) * (y + 2), x * y])
    px, py = points.unbind(-1)
    expected = torch.stack([(px[0] + 1) * (py[0] + 2), px[1] * py[1]])
    torch.testing.assert_close(interpolate(values, grid, points), expected)


def test_interpolation_outside_is_held_at_the_edge() -> None:
    grid = Grid.from_axes({"x": [0.0, 1.0]})
    values = interpolate(torch.tensor([2.0, 4.0]), grid, torch.tensor([[-1.0], [3.0]]))
    assert values.tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"x": [0.0]}, "at least two nodes"),
        ({"x": [0.0, 2.0, 1.0]}, r"node 2 is 1 after 2.*\n.*unique"),
        ({"x": [0.0, 0.0]}, "increase strictly"),
        ({"x": [0.0, float("nan")]}, "not finite"),
        ({}, "one name per axis"),
    ],
)
def test_bad_axes_are_refused(axes: dict[str, list[float]], message: str) -> None:
    with pytest.raises(GridError, match=message):
        Grid.from_axes(axes)


def test_repeated_axis_names_are_refused() -> None:
    with pytest.raises(GridError, match="different names"):
        Grid((torch.arange(2.0), torch.arange(2.0)), ("x", "x"))


def test_density_must_end_in_channels_and_nodes() -> None:
    grid = Grid.from_axes({"x": [0.0, 1.0, 2.0]})
    with pytest.raises(ShapeError, match=r"\[channel, \*nodes\] = \[2, 3\], got the shape \(5, 1, 3\)"):
        Density(torch.ones(5, 1, 3), grid, ("a", "b"))
    with pytest.raises(ShapeError, match=r"'expected_counts' must have the shape \(5, 1\)"):
        Density(torch.ones(5, 1, 3), grid, ("a",), torch.ones(5))


def test_events_columns_are_chosen_replaced_and_added_by_name() -> None:
    events = Events(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), ("x", "y"), torch.tensor([1.0, 2.0]))
    changed = events.with_columns({"x": torch.tensor([5.0, 6.0]), "r": torch.tensor([7.0, 8.0])})
    assert changed.columns == ("x", "y", "r")
    assert changed.values.tolist() == [[5.0, 2.0, 7.0], [6.0, 4.0, 8.0]]
    assert changed.select(("r", "x")).values.tolist() == [[7.0, 5.0], [8.0, 6.0]]
    assert changed.reweighted(torch.tensor(0.5)).weights_or_ones().tolist() == [0.5, 1.0]


def test_missing_column_names_the_columns_there_are() -> None:
    with pytest.raises(ColumnError, match=r"no column 'z'; the events have \['x'\]"):
        Events(torch.ones(3, 1), ("x",)).column("z")


@pytest.mark.parametrize(("shape", "weights"), [((3,), None), ((3, 3), None), ((3, 2), (2,))])
def test_events_of_wrong_shape_are_refused(shape: tuple[int, ...], weights: tuple[int, ...] | None) -> None:
    with pytest.raises(ShapeError):
        Events(torch.ones(shape), ("x", "y"), None if weights is None else torch.ones(weights))


def test_random_streams_are_reproducible_and_independent() -> None:
    stream = RandomStream(3)
    draws = {key: torch.rand(1000, generator=stream.generator(*key), dtype=torch.float64) for key in [("a", 1), ("a", 2), ("b", 1)]}
    assert torch.equal(draws["a", 1], torch.rand(1000, generator=RandomStream(3).child("a").generator(1), dtype=torch.float64))
    assert not torch.equal(draws["a", 1], torch.rand(1000, generator=RandomStream(4).generator("a", 1), dtype=torch.float64))
    correlations = np.corrcoef(np.stack([d.numpy() for d in draws.values()]))
    assert np.abs(correlations - np.eye(3)).max() < 0.15


def test_string_and_integer_keys_do_not_collide() -> None:
    assert RandomStream(0).integer("1") != RandomStream(0).integer(1)
    assert RandomStream(0).integer("a", "b") != RandomStream(0).integer("a/b")


def test_grid_remembers_where_it_was_moved() -> None:
    grid = Grid.from_axes({"x": [0.0, 1.0, 4.0]})
    moved = grid.to("cpu", torch.float32)
    assert moved.axes[0].dtype == torch.float32
    assert grid.to("cpu", torch.float32) is moved
    assert grid.to("cpu", torch.float64) is grid
