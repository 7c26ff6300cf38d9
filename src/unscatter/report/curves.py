"""Figures and tables of the curves of a problem: bands, the truth, and where the prior rather than the events sets the width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from unscatter.report.record import RunRecord, column_of
from unscatter.report.rounding import plain_number, with_error
from unscatter.report.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    ReportFigure,
    new_figure,
    panel_title,
    plain_ticks,
    set_margins,
    shortened,
    slug,
)

#: More curves than this in one figure make it longer than a page.
_CURVES_PER_FIGURE = 4

#: Points of the abscissa in the table.
_TABLE_POINTS = 5

#: On the linear axis the curve is scaled to what lies above this share of its end, or a rise at the lower end would flatten the rest.
_UPPER_PART = 0.1

#: The panel of ratios shows at least and at most this much on either side of one.
_RATIO_REACH = (0.03, 1.0)

#: Marks numbers that the events do not set.
DAGGER = "†"

_BY_EVENTS: dict[str, Any] = {"facecolor": BLUE, "alpha": 0.35, "linewidth": 0}
_NOT_BY_EVENTS: dict[str, Any] = {"facecolor": "#f6d9c6", "edgecolor": ORANGE, "hatch": "/////", "linewidth": 0}
_VALUE: dict[str, Any] = {"color": BLUE, "linewidth": 1.3}
_TRUTH: dict[str, Any] = {"color": BLACK, "linestyle": "--", "linewidth": 1.1}


@dataclass(frozen=True, eq=False)
class Curve:
    """One curve with its band; all arrays ``[points]``, NaN where there is no number.

    Args:
        name: of the curve.
        abscissa: increasing.
        value: the fit.
        error: one standard deviation.
        truth: what the pseudo-data were made with.
        drivers: what sets the band at each point: ``events``, ``prior``, ``nothing``, ``theory``, or None where it was not judged.
    """

    name: str
    abscissa: np.ndarray
    value: np.ndarray
    error: np.ndarray
    truth: np.ndarray
    drivers: tuple[str | None, ...]

    @property
    def is_weak(self) -> np.ndarray:
        """Where the events do not set the band, ``[points]``."""
        return np.array([driver in ("prior", "nothing") for driver in self.drivers])

    @property
    def reference(self) -> np.ndarray:
        """What ratios are taken to: the truth, or the curve itself."""
        return self.truth if np.isfinite(self.truth).any() else self.value


@dataclass(frozen=True, eq=False)
class Family:
    """Curves over one abscissa.

    Args:
        name: of the family.
        label: what the curves are.
        abscissa_label: what is on the horizontal axis.
        logarithmic: whether the abscissa suits a logarithmic axis.
        sentences: where the events set the bands.
        curves: all curves.
    """

    name: str
    label: str
    abscissa_label: str
    logarithmic: bool
    sentences: tuple[str, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class CurveTable:
    """Values of a family at a few points.

    Args:
        title: name of the family.
        abscissa: heading of each column.
        rows: name of the curve and its values with errors.
    """

    title: str
    abscissa: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def has_daggers(self) -> bool:
        """Whether the footnote is needed."""
        return any(DAGGER in cell for _, cells in self.rows for cell in cells)


def families_of(record: RunRecord) -> list[Family]:
    """The families in the table of curves; none where the problem has no curves or the run is older than they are."""
    described = {str(facts.get("name")): facts for facts in (record.summary or {}).get("curves") or ()}
    return [
        _family(name, described.get(name) or {}, list(rows))
        for name, rows in groupby(record.curves, key=lambda row: str(row.get("family")))
    ]


def curve_figures(families: Sequence[Family]) -> list[ReportFigure]:
    """Every curve with its band and the ratio to the truth, a few curves per figure."""
    return [
        _figure(family, group, part if len(groups) > 1 else 0)
        for family in families
        for groups in [_evenly(family.curves)]
        for part, group in enumerate(groups, start=1)
    ]


def curve_tables(families: Sequence[Family]) -> list[CurveTable]:
    """Values with errors at a few points of the abscissa, with a dagger where the events do not set the error."""
    return [_table(family) for family in families]


def combinations_sentences(summary: Mapping[str, Any]) -> list[str]:
    """How many combinations of the parameters the events determine, and which they know best."""
    known = summary.get("combinations") or {}
    if not known:
        return []
    first = f"Of {known.get('of')} independent combinations of the parameters the events determine {known.get('determined')}."
    return [first, *(f"{text[:1].upper()}{text[1:]}." for text in map(str, known.get("best") or ()))]


def _family(name: str, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Family:
    return Family(
        name=name,
        label=str(facts.get("label") or ""),
        abscissa_label=str(facts.get("abscissa_label") or ""),
        logarithmic=bool(facts.get("logarithmic")),
        sentences=tuple(map(str, facts.get("sentences") or ())),
        curves=tuple(_curve(curve, list(points)) for curve, points in groupby(rows, key=lambda row: str(row.get("curve")))),
    )


def _curve(name: str, rows: Sequence[Mapping[str, Any]]) -> Curve:
    arrays = {column: column_of(rows, column) for column in ("abscissa", "value", "error", "truth")}
    return Curve(name, **arrays, drivers=tuple(row.get("driven_by") for row in rows))


def _evenly(curves: Sequence[Curve]) -> list[Sequence[Curve]]:
    """As few groups as possible, of about the same size."""
    num_groups = -(-len(curves) // _CURVES_PER_FIGURE)
    size = -(-len(curves) // num_groups)
    return [curves[i : i + size] for i in range(0, len(curves), size)]


def _figure(family: Family, curves: Sequence[Curve], part: int) -> ReportFigure:
    head, row = 0.72, 2.05
    figure = new_figure(head + row * len(curves) + 0.3)
    set_margins(figure, left=0.72, bottom=0.5, top=head, right=0.12)
    columns = 2 if family.logarithmic else 1
    grid: Any = figure.add_gridspec(len(curves), columns, hspace=0.34, wspace=0.42)
    for i, curve in enumerate(curves):
        for j in range(columns):
            upper, lower = grid[i, j].subgridspec(2, 1, height_ratios=(2.1, 1), hspace=0.06).subplots(sharex=True)
            _draw_panels(upper, lower, curve, family, is_log=family.logarithmic and j == 0)
            if j == 0:
                panel_title(upper, curve.name)
                lower.set_ylabel("ratio")
            if i == len(curves) - 1:
                lower.set_xlabel(shortened(family.abscissa_label), parse_math=False)
    figure.legend(handles=_legend(curves), loc="upper center", ncols=2, columnspacing=1.2, handletextpad=0.5)
    stem, title = f"curves-{slug(family.name)}", family.name[:1].upper() + family.name[1:]
    return ReportFigure(f"{stem}-{part}" if part else stem, f"{title}, part {part}" if part else title, _caption(family, curves), figure)


def _draw_panels(upper: Axes, lower: Axes, curve: Curve, family: Family, *, is_log: bool) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(curve.reference == 0, np.nan, curve.reference)
        _draw_band(lower, curve, curve.value / scale, curve.error / np.abs(scale))
    _draw_band(upper, curve, curve.value, curve.error)
    if np.isfinite(curve.truth).any():
        upper.plot(curve.abscissa, curve.truth, **_TRUTH)
    lower.axhline(1, **(_TRUTH if np.isfinite(curve.truth).any() else {"color": GREY, "linewidth": 0.8}))
    upper.set_ylim(*_limits(curve, whole=is_log or not family.logarithmic))
    reach = _ratio_reach(curve)
    lower.set_ylim(1 - reach, 1 + reach)
    plain_ticks(upper, num_ticks=4 if is_log else 3)
    step = _tick_step(reach)
    lower.set_yticks([1 - step, 1, 1 + step], [f"{tick:.{2 if step < 0.1 else 1}f}" for tick in (1 - step, 1, 1 + step)])
    if is_log:
        lower.set_xscale("log")
        lower.xaxis.set_major_locator(LogLocator(numticks=5))
        lower.xaxis.set_minor_formatter(NullFormatter())
    else:
        plain_ticks(lower, "x", 4)
    ends = (float(curve.abscissa[0]), float(curve.abscissa[-1]))
    lower.set_xlim(0.0 if family.logarithmic and not is_log else ends[0], ends[1])
    upper.tick_params(labelbottom=False)


def _draw_band(ax: Axes, curve: Curve, value: np.ndarray, error: np.ndarray) -> None:
    weak = curve.is_weak
    # A stretch reaches to its neighbours on either side, so that no gap is left where the driver changes.
    wide = weak | np.append(weak[1:], False) | np.append(False, weak[:-1])
    for where, style in ((wide, _NOT_BY_EVENTS), (~weak, _BY_EVENTS)):
        if where.any():
            ax.fill_between(curve.abscissa, value - error, value + error, where=where.tolist(), **style)
    ax.plot(curve.abscissa, value, **_VALUE)


def _limits(curve: Curve, *, whole: bool) -> tuple[float, float]:
    """What the band and the truth need, with a margin; on the linear axis only their upper part."""
    shown = np.full(curve.abscissa.shape, True) if whole else curve.abscissa >= _UPPER_PART * curve.abscissa[-1]
    error = np.nan_to_num(curve.error)
    ends = np.concatenate([(curve.value - error)[shown], (curve.value + error)[shown], curve.truth[shown], [0.0]])
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    margin = 0.06 * (high - low) or 1.0
    return (low - margin if low < 0 else -0.25 * margin), high + margin


def _ratio_reach(curve: Curve) -> float:
    """Enough for most of the band; where the reference vanishes a ratio says nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.abs(curve.value / curve.reference - 1) + np.nan_to_num(curve.error / np.abs(curve.reference))
    ends = ends[np.isfinite(ends)]
    return float(np.clip(1.3 * np.quantile(ends, 0.7), *_RATIO_REACH)) if len(ends) else _RATIO_REACH[1]


def _tick_step(reach: float) -> float:
    """The largest round number well inside of the panel, so that labels keep away from its neighbours."""
    return max(step for step in (0.02, 0.05, 0.1, 0.2, 0.5) if step <= 0.8 * reach)


def _legend(curves: Sequence[Curve]) -> list[Patch | Line2D | tuple[Any, ...]]:
    drivers = {driver for curve in curves for driver in curve.drivers}
    handles: list[Any] = [Line2D([], [], **_VALUE, label="fit")]
    if any(np.isfinite(curve.truth).any() for curve in curves):
        handles.append(Line2D([], [], **_TRUTH, label="truth"))
    if drivers - {"prior", "nothing"}:
        handles.append(Patch(**_BY_EVENTS, label="± 1 error" if drivers == {None} else "± 1 error, by the events"))
    if drivers & {"prior", "nothing"}:
        handles.append(Patch(**_NOT_BY_EVENTS, label="by the prior" if "prior" in drivers else "not fixed by the events"))
    return handles


def _caption(family: Family, curves: Sequence[Curve]) -> str:
    known = any(np.isfinite(curve.truth).any() for curve in curves)
    what = f"{family.label} against {family.abscissa_label}".strip() if family.label else "Curves"
    text = f"{what} with one-sigma bands; below, the ratio to {'the truth' if known else 'the fit itself'}."
    if family.logarithmic:
        text += " Left: logarithmic axis; right: linear axis, scaled to its upper nine tenths."
    if any(curve.is_weak.any() for curve in curves):
        text += (
            " Hatched: the events have not halved the error that the prior alone leaves."
            if any("prior" in curve.drivers for curve in curves)
            else " Hatched: the events do not fix the curve."
        )
    return text


def _table(family: Family) -> CurveTable:
    abscissa = family.curves[0].abscissa
    # The ends are left out: they are where the curve was cut off, not where people look.
    chosen = np.unique(np.linspace(0, len(abscissa) - 1, _TABLE_POINTS + 2).round().astype(int)[1:-1]).tolist()
    name = family.abscissa_label.partition(" [")[0] or "t"
    rows = tuple((curve.name, tuple(_cell(curve, index) for index in chosen)) for curve in family.curves)
    return CurveTable(family.name, tuple(f"{name} = {plain_number(float(abscissa[index]), 3)}" for index in chosen), rows)


def _cell(curve: Curve, index: int) -> str:
    value, error = float(curve.value[index]), float(curve.error[index])
    if not np.isfinite(value):
        return ""
    text = with_error(value, error if np.isfinite(error) else None)
    return f"{text} {DAGGER}" if curve.is_weak[index] else text
