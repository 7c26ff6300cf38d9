"""Figures of measured against synthetic events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from unscatter.report.record import Spectrum
from unscatter.report.style import BLACK, BLUE, GREY, ReportFigure, axis_label, new_figure, plain_ticks, set_margins, shortened, slug

#: Beyond this the vertical axis is logarithmic.
_LARGE_RATIO = 300.0

#: Both vertical labels stand at this fraction of the width, left of the axes.
_LABEL_POSITION = -0.19

#: The pull panel never shows more than this, so that one wild bin does not flatten the others.
_LARGEST_PULL_SHOWN = 6.0

_SCALING = {
    None: "",
    True: " Synthetic events are scaled to the expected rate.",
    False: " Synthetic events are scaled to the measured total.",
}


def spectrum_figures(spectra: Sequence[Spectrum]) -> list[ReportFigure]:
    """One figure per channel and column."""
    figures, taken = [], set()
    for spectrum in spectra:
        stem = _unused(f"events-{slug(spectrum.channel)}-{slug(spectrum.column)}", taken)
        figures.append(_spectrum_figure(spectrum, stem))
    return figures


def is_logarithmic(edges: np.ndarray) -> bool:
    """Whether bins grow geometrically, so that the axis should be logarithmic.

    Example:
        >>> is_logarithmic(np.geomspace(1, 100, 11)), is_logarithmic(np.linspace(1, 100, 11))
        (True, False)
    """
    if len(edges) < 3 or edges[0] <= 0:
        return False
    ratios, widths = np.diff(np.log(edges)), np.diff(edges)
    return float(np.ptp(ratios) / ratios.mean()) < float(np.ptp(widths) / widths.mean())


def _spectrum_figure(spectrum: Spectrum, stem: str) -> ReportFigure:
    figure = new_figure(3.9)
    set_margins(figure, left=0.85, bottom=0.5, top=0.55)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.6, 1], "hspace": 0.09})
    _draw_events(upper, spectrum)
    _draw_pulls(lower, spectrum)
    if is_logarithmic(spectrum.edges):
        lower.set_xscale("log")
    lower.set_xlim(spectrum.edges[0], spectrum.edges[-1])
    lower.set_xlabel(axis_label(spectrum.column), parse_math=False)
    upper.set_title(f"channel: {shortened(spectrum.channel, 36)}", loc="left", pad=20, parse_math=False)
    caption = (
        f"Above: events in each bin with their errors.{_SCALING[spectrum.by_rate]} Below: (measured - synthetic) / error; "
        f"triangles mark pulls beyond the axis. {chi_squared_text(spectrum)}"
    )
    return ReportFigure(stem, f"{spectrum.column} in channel {spectrum.channel}", caption, figure)


def chi_squared_text(spectrum: Spectrum) -> str:
    """Agreement in one line."""
    if not spectrum.counted.any():
        return "No bin holds enough events for a test."
    return f"χ² = {spectrum.chi_squared:.1f} for {spectrum.degrees_of_freedom} degrees of freedom."


def _draw_events(ax: Axes, spectrum: Spectrum) -> None:
    widths, label = _bin_widths(spectrum)
    synthetic, error = spectrum.synthetic / widths, spectrum.synthetic_error / widths
    band = np.nan_to_num(error)
    ax.stairs(synthetic + band, spectrum.edges, baseline=synthetic - band, fill=True, color=BLUE, alpha=0.25, linewidth=0)
    ax.stairs(synthetic, spectrum.edges, color=BLUE, linewidth=1.5, label="synthetic")
    ax.errorbar(
        _centres(spectrum), spectrum.measured / widths, yerr=spectrum.measured_error / widths,
        fmt="o", markersize=3, color=BLACK, elinewidth=1, label="measured",
    )  # fmt: skip
    _scale_counts(ax, np.concatenate([synthetic, spectrum.measured / widths]))
    ax.set_ylabel(label)
    ax.yaxis.set_label_coords(_LABEL_POSITION, 0.5)
    # Above the axes the legend never covers a bin.
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, borderaxespad=0.1, columnspacing=1, handletextpad=0.4)


def _scale_counts(ax: Axes, heights: np.ndarray) -> None:
    positive = heights[np.isfinite(heights) & (heights > 0)]
    if len(positive) and positive.max() > _LARGE_RATIO * positive.min():
        ax.set_yscale("log")
        ax.set_ylim(positive.min() / 2, positive.max() * 2)
    else:
        plain_ticks(ax, num_ticks=5)
        ax.set_ylim(bottom=min(0.0, float(np.nanmin(heights, initial=0.0))))


def _draw_pulls(ax: Axes, spectrum: Spectrum) -> None:
    limit = min(max(3.5, 1.15 * float(np.nanmax(np.abs(spectrum.pull), initial=0.0))), _LARGEST_PULL_SHOWN)
    ax.axhspan(-1, 1, color=GREY, alpha=0.25, linewidth=0)
    ax.axhline(0, color=BLACK, linewidth=0.8)
    ax.stairs(np.nan_to_num(spectrum.pull), spectrum.edges, fill=True, color=BLUE, alpha=0.85)
    beyond = np.abs(np.nan_to_num(spectrum.pull)) > limit
    for sign, marker in ((1, "^"), (-1, "v")):
        chosen = beyond & (np.sign(np.nan_to_num(spectrum.pull)) == sign)
        heights = np.full(int(chosen.sum()), 0.86 * sign * limit)
        ax.plot(_centres(spectrum)[chosen], heights, marker, color="white", markeredgecolor=BLACK, markersize=6)
    ax.set_ylim(-limit, limit)
    ax.set_yticks([-3, 0, 3])
    ax.set_ylabel("pull")
    ax.yaxis.set_label_coords(_LABEL_POSITION, 0.5)


def _bin_widths(spectrum: Spectrum) -> tuple[np.ndarray, str]:
    """What to divide by, and the label: counts as they are in bins of one width, else per width, or the steps would mirror the binning."""
    widths = spectrum.high - spectrum.low
    if np.ptp(widths) <= 1e-3 * widths.mean():
        return np.ones_like(widths), "events per bin"
    return widths, "events / width"


def _centres(spectrum: Spectrum) -> np.ndarray:
    if is_logarithmic(spectrum.edges):
        return np.sqrt(spectrum.low * spectrum.high)
    return (spectrum.low + spectrum.high) / 2


def _unused(stem: str, taken: set[str]) -> str:
    """The stem, numbered when names that differ only in their special characters collide."""
    number, candidate = 2, stem
    while candidate.lower() in taken:
        number, candidate = number + 1, f"{stem}-{number}"
    taken.add(candidate.lower())
    return candidate
