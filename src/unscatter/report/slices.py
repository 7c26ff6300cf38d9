"""Figures of data over theory: measured over synthetic events in two observables at once, and the pulls of all bins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from unscatter.report.record import column_of
from unscatter.report.rounding import plain_number
from unscatter.report.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    ReportFigure,
    axis_label,
    new_figure,
    panel_title,
    plain_ticks,
    set_margins,
    shortened,
    slug,
    stacked_axes,
)

#: The axis is logarithmic when its positive edges span more than this factor.
_WIDE = 30.0

#: The axis of ratios shows at least and at most this much on either side of one.
_RATIO_REACH = (0.05, 1.0)


@dataclass(frozen=True, eq=False)
class Slice:
    """Bins of one observable in a slice of another; all arrays ``[bins]``, NaN where there is no number.

    Args:
        low: lower edge of the slice.
        high: upper edge of the slice.
        edges: of the bins, one more than bins.
        ratio: measured over synthetic events.
        error: of the ratio from the measured events.
        synthetic_error: of the ratio from the synthetic events.
        pull: difference over both errors.
        counted: whether a bin holds enough events for its pull.
    """

    low: float
    high: float
    edges: np.ndarray
    ratio: np.ndarray
    error: np.ndarray
    synthetic_error: np.ndarray
    pull: np.ndarray
    counted: np.ndarray


@dataclass(frozen=True, eq=False)
class SlicedChannel:
    """All slices of a channel.

    Args:
        channel: measured data set.
        column: observable that is binned.
        sliced: observable that is cut into slices.
        slices: in rising order.
    """

    channel: str
    column: str
    sliced: str
    slices: tuple[Slice, ...]

    @property
    def pulls(self) -> np.ndarray:
        """Pulls of the bins that count."""
        return np.concatenate([part.pull[part.counted] for part in self.slices])


def sliced_channels(rows: Sequence[Mapping[str, Any]]) -> list[SlicedChannel]:
    """Read the table of slices."""
    return [
        SlicedChannel(str(channel), str(column), str(sliced), tuple(_slices(list(group))))
        for (channel, column, sliced), group in groupby(rows, key=lambda row: (row.get("channel"), row.get("column"), row.get("sliced")))
    ]


def slice_figures(channels: Sequence[SlicedChannel]) -> list[ReportFigure]:
    """Data over theory of each channel, and one figure with all pulls."""
    counted = [channel for channel in channels if len(channel.pulls) > 1]
    return [_ratio_figure(channel) for channel in channels] + ([_pull_figure(counted)] if counted else [])


def _slices(rows: Sequence[Mapping[str, Any]]) -> list[Slice]:
    return [_slice(low, high, list(group)) for (low, high), group in groupby(rows, key=lambda row: (row["slice_low"], row["slice_high"]))]


def _slice(low: float, high: float, rows: Sequence[Mapping[str, Any]]) -> Slice:
    synthetic = column_of(rows, "synthetic")
    scale = np.where(synthetic > 0, synthetic, np.nan)
    pull = column_of(rows, "pull")
    return Slice(
        low=low,
        high=high,
        edges=np.append(column_of(rows, "low"), column_of(rows[-1:], "high")),
        ratio=column_of(rows, "measured") / scale,
        error=column_of(rows, "measured_error") / scale,
        synthetic_error=column_of(rows, "synthetic_error") / scale,
        pull=pull,
        counted=np.array([bool(row.get("counted", True)) for row in rows]) & np.isfinite(pull),
    )


def _ratio_figure(channel: SlicedChannel) -> ReportFigure:
    figure = new_figure(0.85 + 1.12 * len(channel.slices))
    panels = stacked_axes(figure, len(channel.slices), top=0.35)
    reach = _reach(channel.slices)
    ends = np.concatenate([part.edges for part in channel.slices])
    is_log = bool(ends.min() > 0 and ends.max() > _WIDE * ends.min())
    for ax, part in zip(panels, channel.slices, strict=True):
        _draw_slice(ax, part, reach, is_log=is_log)
        panel_title(ax, f"{plain_number(part.low, 3)} < {axis_label(channel.sliced)} < {plain_number(part.high, 3)}")
    if is_log:
        panels[-1].set_xscale("log")
    panels[-1].set_xlim(ends.min(), ends.max())
    panels[-1].set_xlabel(axis_label(channel.column), parse_math=False)
    figure.supylabel("measured / synthetic", x=0.015, fontsize=10)
    caption = (
        f"Measured over synthetic events against {channel.column} in slices of {channel.sliced}, channel '{channel.channel}'. Points: "
        "statistical errors of the measured events; band: of the synthetic ones; triangles: bins beyond the axis. Slices and their bins "
        f"hold about equally many events each. {_pull_text(channel.pulls)}"
    )
    return ReportFigure(
        f"data-over-theory-{slug(channel.channel)}", f"Data over theory, channel {shortened(channel.channel, 30)}", caption, figure
    )


def _draw_slice(ax: Axes, part: Slice, reach: float, *, is_log: bool) -> None:
    centres = np.sqrt(part.edges[1:] * part.edges[:-1]) if is_log else (part.edges[1:] + part.edges[:-1]) / 2
    band = np.nan_to_num(part.synthetic_error)
    ax.stairs(1 + band, part.edges, baseline=1 - band, fill=True, color=BLUE, alpha=0.25, linewidth=0)
    ax.axhline(1, color=BLUE, linewidth=1)
    bars: Any = np.stack([centres - part.edges[:-1], part.edges[1:] - centres])
    ax.errorbar(centres, part.ratio, xerr=bars, yerr=part.error, fmt="o", markersize=2.5, color=BLACK, elinewidth=1)
    for beyond, height, marker in ((part.ratio > 1 + reach, 1 + 0.85 * reach, "^"), (part.ratio < 1 - reach, 1 - 0.85 * reach, "v")):
        ax.plot(centres[beyond], np.full(int(beyond.sum()), height), marker, color="white", markeredgecolor=BLACK, markersize=6)
    ax.set_ylim(1 - reach, 1 + reach)
    plain_ticks(ax, num_ticks=4)


def _reach(slices: Sequence[Slice]) -> float:
    """Enough for all but the wildest points, so that these do not flatten the others."""
    distance = np.concatenate([np.abs(part.ratio - 1) + part.error for part in slices])
    distance = distance[np.isfinite(distance)]
    return float(np.clip(1.15 * np.quantile(distance, 0.95), *_RATIO_REACH)) if len(distance) else _RATIO_REACH[1]


def _pull_figure(channels: Sequence[SlicedChannel]) -> ReportFigure:
    figure = new_figure(0.75 + 1.75 * len(channels))
    set_margins(figure, left=0.7, bottom=0.5, top=0.3)
    axes = figure.subplots(len(channels), 1, sharex=True, squeeze=False, gridspec_kw={"hspace": 0.35})[:, 0]
    limit = max(4.0, *(math.ceil(float(np.abs(channel.pulls).max())) for channel in channels))
    # Half a sigma a bin, or wider where wild pulls stretch the axis.
    edges = np.linspace(-limit, limit, min(2 * int(2 * limit), 40) + 1)
    for ax, channel in zip(axes, channels, strict=True):
        _draw_pulls(ax, channel.pulls, edges)
        panel_title(ax, f"channel: {channel.channel}")
    axes[-1].set_xlabel("pull")
    texts = " ".join(f"Channel '{channel.channel}': {_pull_text(channel.pulls)}" for channel in channels)
    caption = f"Pulls of the bins of data over theory; curve: what chance alone would give. {texts}"
    return ReportFigure("data-over-theory-pulls", "Pulls of data over theory", caption, figure)


def _draw_pulls(ax: Axes, pulls: np.ndarray, edges: np.ndarray) -> None:
    counts, _ = np.histogram(pulls, edges)
    ax.stairs(counts, edges, fill=True, color=BLUE, alpha=0.35)
    ax.stairs(counts, edges, color=BLUE, linewidth=1.3)
    points = np.linspace(edges[0], edges[-1], 301)
    ax.plot(points, len(pulls) * (edges[1] - edges[0]) * np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi), color=ORANGE, linestyle="--")
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_ylabel("bins")
    plain_ticks(ax, num_ticks=4)


def _pull_text(pulls: np.ndarray) -> str:
    if len(pulls) < 2:
        return "Too few events for pulls."
    return f"Mean pull {pulls.mean():+.2f}, root mean square {np.sqrt(np.mean(pulls**2)):.2f} over {len(pulls)} bins (0 and 1 by chance)."
