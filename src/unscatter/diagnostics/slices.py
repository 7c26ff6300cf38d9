"""Measured against synthetic events in two observables at once: bins of one in slices of the other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from unscatter.arrays import Events
from unscatter.diagnostics.comparison import bin_pair, check_pair, quantile_edges, scale_of
from unscatter.errors import ShapeError

#: At most so many slices and bins in each, and the number of measured events in a bin below which there are fewer of both.
_SLICES, _BINS, _EVENTS_PER_BIN = 6, 12, 50


@dataclass(frozen=True)
class SlicedBin:
    """One bin of one column within a slice of another.

    Args:
        channel: measured data set.
        column: observable that is binned.
        sliced: observable that is cut into slices.
        slice_low: lower edge of the slice.
        slice_high: upper edge.
        low: lower edge of the bin, in the unit of the column.
        high: upper edge.
        measured: sum of weights of measured events.
        measured_error: its standard deviation.
        synthetic: sum of weights of synthetic events, scaled to the measurement as a whole, not slice by slice.
        synthetic_error: its standard deviation.
        pull: measured minus synthetic over both errors; zero where both are empty.
        counted: whether the bin holds enough events for the pull to be about Gaussian.
    """

    channel: str
    column: str
    sliced: str
    slice_low: float
    slice_high: float
    low: float
    high: float
    measured: float
    measured_error: float
    synthetic: float
    synthetic_error: float
    pull: float
    counted: bool


def compare_slices(measured: Events, synthetic: Events, *, channel: str = "events", expected: float | int | None = None) -> list[SlicedBin]:
    """Compare the first column in bins, slice by slice of the second.

    Slices, and bins within a slice, hold equally many synthetic events each, so that statistical errors are about the same everywhere.

    Args:
        measured: ``[n, columns]`` with at least two columns, weights allowed.
        synthetic: ``[m, columns]`` with the same columns, weights allowed.
        channel: name of the channel, for the rows.
        expected: expected number of recorded events, where rates are compared too; without it synthetic events are scaled to the
            measured total.

    Raises:
        ShapeError: fewer than two columns, or the columns differ, or the events have leading axes.
        EventsError: there are no events on one side.

    Example:
        >>> first, second = (Events(torch.rand(1000, 2, generator=torch.Generator().manual_seed(seed)), ("x", "Q2")) for seed in (1, 2))
        >>> rows = compare_slices(first, second)
        >>> len(rows), sum(row.measured for row in rows)
        (18, 1000.0)
    """
    if len(measured.columns) < 2:
        raise ShapeError(f"slices need two columns, got {list(measured.columns)}.")
    check_pair(measured, synthetic)
    pairs = [_columns(events, measured.columns[:2]) for events in (measured, synthetic)]
    weights = (measured.weights_or_ones(), synthetic.weights_or_ones())
    num_slices, num_bins = _numbers(measured.num_events)
    edges = quantile_edges(pairs[1][1], pairs[0][1], num_slices)
    scale = scale_of(measured, synthetic, expected)
    rows = []
    for number, (low, high) in enumerate(pairwise(edges.tolist())):
        # The last slice keeps its upper edge, which is an event.
        inside = [(second >= low) & (second < high if number < len(edges) - 2 else second <= high) for _, second in pairs]
        values = (pairs[0][0][inside[0]], pairs[1][0][inside[1]])
        if not all(len(value) for value in values):
            continue
        kept = (weights[0].cpu()[inside[0]], weights[1].cpu()[inside[1]])
        binned = bin_pair(quantile_edges(values[1], values[0], num_bins), values, kept, scale)
        rows += [SlicedBin(channel, *measured.columns[:2], low, high, *row) for row in binned]
    return rows


def _columns(events: Events, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    first, second = (events.column(name).detach().double().cpu() for name in names)
    return first, second


def _numbers(num_events: int) -> tuple[int, int]:
    """Slices, and bins in each, with enough events in every bin; twice as many bins as slices until either reaches its limit.

    Example:
        >>> _numbers(200_000), _numbers(1000), _numbers(10)
        ((6, 12), (3, 6), (1, 1))
    """
    cells = max(1, num_events // _EVENTS_PER_BIN)
    num_slices = min(_SLICES, max(1, round((cells / 2) ** 0.5)))
    return num_slices, min(_BINS, max(1, cells // num_slices))
