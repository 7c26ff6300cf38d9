"""How the figures look: one column wide, colour-blind safe, readable in a narrow window and in black and white."""

from __future__ import annotations

import base64
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, MaxNLocator

from unscatter.files import atomic_write
from unscatter.report.rounding import plain_number

#: Okabe and Ito, Color Universal Design (2008): distinguishable with every kind of colour vision.
BLACK, BLUE, SKY, ORANGE, GREEN, GREY = "#1a1a1a", "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#8a8a8a"

#: Colours and markers of several runs in one figure; the markers tell them apart without colour.
SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), ("#CC79A7", "D"), (BLACK, "v"), (SKY, "P"), ("#E69F00", "X"), (GREY, "*"))

#: Width of a figure in inches: one column of a journal page, and 400 px on a screen.
COLUMN_WIDTH = 4.2

FORMATS = ("pdf", "png", "svg")

#: A double has no more digits than this.
_MOST_DIGITS = 16

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.linewidth": 0.9,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "lines.linewidth": 1.5,
    "figure.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    # Without a fixed salt the same figure would be written with other identifiers every time.
    "svg.hashsalt": "unscatter",
}

_UNITS = {
    "eV", "keV", "MeV", "GeV", "TeV", "GeV2", "MeV2", "fm", "nm", "um", "mm", "cm", "m", "km", "fs", "ps", "ns", "us", "ms", "s",
    "rad", "mrad", "deg", "Hz", "kHz", "MHz", "K", "fb", "pb", "nb", "ub", "mb",
}  # fmt: skip
_PRETTY_UNITS = {"GeV2": "GeV²", "MeV2": "MeV²", "um": "µm", "us": "µs", "ub": "µb", "deg": "°"}


@dataclass(frozen=True, eq=False)
class ReportFigure:
    """A figure with what the reader needs to understand it.

    Args:
        stem: name of its files, without suffix.
        title: what it shows, in a few words.
        caption: what the lines, bands and points mean.
        figure: the drawing.
        wide: whether it needs more than one column.
    """

    stem: str
    title: str
    caption: str
    figure: Figure
    wide: bool = False


@contextmanager
def figure_style() -> Iterator[None]:
    """Build and save figures inside of this; afterwards matplotlib is as it was."""
    with mpl.rc_context(_RC), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; there is nothing that a user could do about the warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(height: float, width: float = COLUMN_WIDTH) -> Figure:
    """An empty figure, sizes in inches."""
    return Figure(figsize=(width, height))


def set_margins(figure: Figure, *, left: float, bottom: float, top: float, right: float = 0.14) -> None:
    """Margins in inches.  Set by hand: matplotlib's automatic layout takes longer than drawing the figure in three formats."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height)


def stacked_axes(figure: Figure, num_panels: int, *, share_x: bool = True, top: float = 0.28, bottom: float = 0.48) -> list[Axes]:
    """Panels one above the other, with room for a title above each and for numbers to the left; margins in inches."""
    set_margins(figure, left=0.8 if share_x else 0.2, right=0.2, bottom=bottom, top=top)
    gap = 0.33 if share_x else 0.55
    panel = (figure.get_size_inches()[1] - top - bottom - gap * (num_panels - 1)) / num_panels
    axes = figure.subplots(num_panels, 1, sharex=share_x, squeeze=False, gridspec_kw={"hspace": gap / panel})[:, 0]
    return list(axes)


class PlainFormatter(Formatter):
    """Full numbers with equal decimals: an offset such as ``+4.99e-1`` beside an axis is easily overlooked."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """One number without its neighbours."""
        return plain_number(float(x), 6).replace("-", "−")

    def format_ticks(self, values: Sequence[float] | np.ndarray) -> list[str]:
        """Numbers of all ticks of an axis."""
        ticks = np.asarray(values, dtype=np.float64)
        largest, step = np.abs(ticks).max(initial=0.0), np.abs(np.diff(ticks)).min(initial=np.inf)
        for decimals in range(_MOST_DIGITS if 1e-3 <= largest < 1e6 else 6):
            if largest < 1e6 and (np.abs(ticks.round(decimals) - ticks) < 1e-3 * step).all():
                return [f"{tick + 0.0:.{decimals}f}".replace("-", "−") for tick in ticks.round(decimals)]
        # As many digits as neighbours need to differ.
        digits = min(_MOST_DIGITS, max(6, 2 + math.ceil(math.log10(largest / step)))) if 0 < step < np.inf else 6
        return [plain_number(float(tick), digits).replace("-", "−") for tick in ticks]


def plain_ticks(ax: Axes, axis: str = "y", num_ticks: int = 4) -> None:
    """Few ticks with full numbers."""
    chosen = ax.yaxis if axis == "y" else ax.xaxis
    chosen.set_major_formatter(PlainFormatter())
    chosen.set_major_locator(MaxNLocator(num_ticks))


def panel_title(ax: Axes, text: str) -> None:
    """Name a panel at its upper left; names are text, never formulas, so that a dollar sign cannot break the figure."""
    ax.set_title(shortened(text, 38), loc="left", pad=4.5, parse_math=False)


def shortened(text: str, length: int = 44) -> str:
    """A text that fits a column, with an ellipsis where it was cut.

    Example:
        >>> shortened("momentum fraction", 10)
        'momentum …'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def axis_label(column: str) -> str:
    """Label of an axis: a unit at the end of a column's name is set apart.

    Example:
        >>> axis_label("energy_GeV"), axis_label("x")
        ('energy [GeV]', 'x')
    """
    name, _, unit = column.rpartition("_")
    return f"{shortened(name)} [{_PRETTY_UNITS.get(unit, unit)}]" if name and unit in _UNITS else shortened(column)


def slug(text: str) -> str:
    """A text that may stand in a file name on every system.

    Example:
        >>> slug("Q² <b> & p_T"), slug("µ")
        ('Q-b-p_T', 'unnamed')
    """
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:60] or "unnamed"


def encoded(figure: Figure, file_format: str) -> bytes:
    """A figure as the bytes of a file, the same for the same figure."""
    metadata: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, dpi=200, metadata=metadata[file_format])
    return buffer.getvalue()


def data_uri(svg: bytes) -> str:
    """An SVG as an address that holds the picture itself; identifiers of several pictures on one page cannot collide this way."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def save_figure(figure: ReportFigure, directory: Path) -> bytes:
    """Save a figure for papers in all formats.

    Returns:
        The SVG.

    Raises:
        RunError: the directory cannot be written.
    """
    content = {file_format: encoded(figure.figure, file_format) for file_format in FORMATS}
    for file_format, data in content.items():
        with atomic_write(directory / f"{figure.stem}.{file_format}") as file:
            file.write(data)
    return content["svg"]
