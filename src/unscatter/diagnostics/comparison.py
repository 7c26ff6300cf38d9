"""Measured against synthetic events, bin by bin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.errors import EventsError, SettingsError, ShapeError

#: Positive columns are binned in their logarithm when they span more than this factor and their median lies this low in their central 98 %:
#: lower than that of an exponential distribution of times, 0.15, which stays linear.
_WIDE = 30.0
_SKEWED = 0.1
#: Bins with fewer measured and synthetic events than this have no Gaussian errors and stay out of chi-square.
_FEW = 5


@dataclass(frozen=True)
class ComparedBin:
    """One bin of one column.

    Args:
        channel: measured data set.
        column: observable.
        bin: number of the bin, from zero.
        low: lower edge, in the unit of the column.
        high: upper edge.
        measured: sum of weights of measured events.
        measured_error: its standard deviation.
        synthetic: sum of weights of synthetic events, scaled to the measurement.
        synthetic_error: its standard deviation.
        pull: measured minus synthetic over both errors; zero where both are empty.
        counted: whether the bin holds enough events to count in :func:`chi_square`.
        by_rate: whether synthetic events were scaled by the expected rate instead of the measured total.
    """

    channel: str
    column: str
    bin: int
    low: float
    high: float
    measured: float
    measured_error: float
    synthetic: float
    synthetic_error: float
    pull: float
    counted: bool
    by_rate: bool


def compare_columns(
    measured: Events,
    synthetic: Events,
    *,
    channel: str = "events",
    num_bins: int = 40,
    bins: Literal["uniform", "equal-count"] = "uniform",
    expected: float | int | None = None,
) -> list[ComparedBin]:
    r"""Histogram every column of measured and synthetic events in the same bins.

    Args:
        measured: ``[n, columns]``, weights allowed.
        synthetic: ``[m, columns]`` with the same columns, weights allowed.
        channel: name of the channel, for the rows.
        num_bins: bins per column.
        bins: of equal width (in the logarithm of wide positive columns), or with equal numbers of synthetic events.
        expected: expected number of recorded events, where rates are compared too; without it synthetic events are scaled to the
            measured total.

    Raises:
        ShapeError: the columns differ, or the events have leading axes.
        EventsError: there are no events on one side.
        SettingsError: fewer than one bin.

    Example:
        >>> first, second = (Events(torch.rand(1000, 1, generator=torch.Generator().manual_seed(seed)), ("x",)) for seed in (1, 2))
        >>> rows = compare_columns(first, second, num_bins=10)
        >>> len(rows), round(sum(row.measured for row in rows))
        (10, 1000)
    """
    if num_bins < 1:
        raise SettingsError(f"'num_bins' must be at least one, got {num_bins}.")
    check_pair(measured, synthetic)
    synthetic = synthetic.select(measured.columns)
    scale = scale_of(measured, synthetic, expected)
    rows = []
    for column in measured.columns:
        pair = (measured.column(column).detach().double().cpu(), synthetic.column(column).detach().double().cpu())
        edges = _uniform_edges(torch.cat(pair), num_bins) if bins == "uniform" else quantile_edges(pair[1], pair[0], num_bins)
        binned = bin_pair(edges, pair, (measured.weights_or_ones(), synthetic.weights_or_ones()), scale)
        rows += [ComparedBin(channel, column, i, *row, by_rate=expected is not None) for i, row in enumerate(binned)]
    return rows


def chi_square(rows: Iterable[ComparedBin]) -> tuple[float, int]:
    r""":math:`\chi^2` and degrees of freedom of the rows of one column.

    One degree is lost where synthetic events were scaled to the measured total.
    """
    counted = [row for row in rows if row.counted]
    lost = 0 if all(row.by_rate for row in counted) else 1
    return sum(row.pull**2 for row in counted), max(0, len(counted) - lost)


def check_pair(measured: Events, synthetic: Events) -> None:
    """Refuse events that cannot be compared.

    Raises:
        ShapeError: the columns differ, or the events have leading axes.
        EventsError: no events, or values or weights that are not finite, or weights that are negative or all zero.
    """
    if set(measured.columns) != set(synthetic.columns):
        raise ShapeError(f"measured events have the columns {list(measured.columns)}, synthetic ones {list(synthetic.columns)}.")
    for label, events in (("measured", measured), ("synthetic", synthetic)):
        if events.values.ndim != 2:
            raise ShapeError(
                f"{label} events must have the shape [num_events, columns], got {tuple(events.values.shape)}.\nTake one channel at a time."
            )
        if events.num_events == 0:
            raise EventsError(f"there are no {label} events.")
        weights = events.weights_or_ones()
        bad = ~(torch.isfinite(events.values).all(-1) & torch.isfinite(weights) & (weights >= 0))
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            raise EventsError(
                f"{int(bad.sum())} of {len(bad)} {label} events are not finite or weighted negatively, the first in row {first}."
            )
        if not bool((weights > 0).any()):
            raise EventsError(f"the weights of the {label} events are all zero.")


def _uniform_edges(values: Tensor, num_bins: int) -> Tensor:
    low, high = values.min(), values.max()
    if high == low:
        return torch.stack([low - 0.5, high + 0.5])
    if _is_wide(values):
        edges = torch.exp(torch.linspace(0, 1, num_bins + 1, dtype=values.dtype) * torch.log(high / low)) * low
    else:
        edges = low + (high - low) * torch.linspace(0, 1, num_bins + 1, dtype=values.dtype)
    edges[0], edges[-1] = low, high
    return edges


def _is_wide(values: Tensor) -> bool:
    # All events count in the span, since bins span all of them; few have a say in the skewness, so that no outlier decides it.
    if not bool(values.min() > 0) or float(values.max() / values.min()) <= _WIDE:
        return False
    low, median, high = (_quantile(values, share) for share in (0.01, 0.5, 0.99))
    return float(median - low) < _SKEWED * float(high - low)


def quantile_edges(values: Tensor, others: Tensor, num_bins: int) -> Tensor:
    """Edges of bins that hold equally many of ``values`` and span ``others`` as well, ``[bins + 1]``."""
    ordered = values.sort().values
    inner = ordered[(torch.arange(1, num_bins) * len(ordered)) // num_bins]
    low, high = torch.minimum(ordered[0], others.min()), torch.maximum(ordered[-1], others.max())
    edges = torch.unique(torch.cat([low[None], inner, high[None]]))  # repeated values make fewer bins
    return edges if len(edges) > 1 else torch.stack([low - 0.5, high + 0.5])


def _quantile(values: Tensor, share: float) -> Tensor:
    return values.kthvalue(max(1, round(share * len(values)))).values  # torch.quantile refuses large tensors


def scale_of(measured: Events, synthetic: Events, expected: float | int | None) -> float:
    """What to multiply synthetic events by: up to the expected number, or to the measured total without one."""
    weights, model = (events.weights_or_ones().detach().double() for events in (measured, synthetic))
    return float((weights.sum() if expected is None else expected) / model.sum())


def bin_pair(
    edges: Tensor, values: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor], scale: float
) -> list[tuple[float, float, float, float, float, float, float, bool]]:
    """Measured and scaled synthetic numbers in common bins: the entries of a :class:`ComparedBin` from ``low`` to ``counted``."""
    (content, variance, entries), (model, model_variance, model_entries) = (
        _histogram(v, w.detach().double().cpu(), edges) for v, w in zip(values, weights, strict=True)
    )
    model, model_variance = model * scale, model_variance * scale**2
    total_error = (variance + model_variance).sqrt()
    pull = torch.where(total_error > 0, (content - model) / torch.where(total_error > 0, total_error, 1.0), 0.0)
    counted = entries + model_entries >= 2 * _FEW
    table = torch.stack([edges[:-1], edges[1:], content, variance.sqrt(), model, model_variance.sqrt(), pull], 1).tolist()
    return [(*row, bool(many)) for row, many in zip(table, counted, strict=True)]


def _histogram(values: Tensor, weights: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of weights, its variance and the number of entries of each bin."""
    index = (torch.searchsorted(edges, values.contiguous(), right=True) - 1).clamp(0, len(edges) - 2)
    zeros = torch.zeros(len(edges) - 1, dtype=torch.float64)
    return zeros.index_add(0, index, weights), zeros.index_add(0, index, weights.square()), torch.bincount(index, minlength=len(zeros))
