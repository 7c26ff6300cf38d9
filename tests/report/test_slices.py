"""Figures of data over theory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.report.run_directories import MakeRun
from tests.report.test_writing import parsed, text_of
from unscatter.report import write_report
from unscatter.report.slices import slice_figures, sliced_channels
from unscatter.report.style import figure_style


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with figure_style():
        yield


def rows_of(channel: str, *, num_slices: int = 3, wild: float = 1.0, low: float = 1e-4) -> list[dict[str, Any]]:
    """Four bins in each slice, one per cent above the theory, with a wild ratio in the first."""
    edges = np.geomspace(low, 1, 5).tolist()
    return [
        {
            "channel": channel, "column": "x", "sliced": "Q2_GeV2", "slice_low": 10.0 * s, "slice_high": 10.0 * (s + 1), "low": edges[k],
            "high": edges[k + 1], "measured": 101.0 * (wild if s == k == 0 else 1.0), "measured_error": 10.0, "synthetic": 100.0,
            "synthetic_error": 5.0, "pull": 0.5, "counted": k > 0,
        }
        for s in range(1, num_slices + 1)
        for k in range(4)
    ]  # fmt: skip


def with_wild_bin(ratio: float) -> list[dict[str, Any]]:
    return [row | {"measured": 100 * ratio} if i == 5 else row for i, row in enumerate(rows_of("proton", num_slices=6))]


def test_every_slice_shows_measured_over_synthetic_with_its_error() -> None:
    figure, pulls = slice_figures(sliced_channels(rows_of("proton")))
    assert len(figure.figure.axes) == 3
    container = figure.figure.axes[0].containers[0]
    points, _, (across, upright) = container
    np.testing.assert_allclose(points.get_ydata(), 1.01)
    np.testing.assert_allclose([np.ptp(segment[:, 1]) for segment in upright.get_segments()], 0.2)
    np.testing.assert_allclose(across.get_segments()[0][:, 0], (1e-4, 1e-3), rtol=1e-6)
    assert figure.figure.axes[0].get_title("left") == "10 < Q2 [GeV²] < 20"
    assert figure.figure.axes[-1].get_xscale() == "log"
    assert "channel 'proton'" in figure.caption
    # Bins that do not count have no pull: nine are left.
    assert "root mean square 0.50 over 9 bins" in pulls.caption


@pytest.mark.parametrize(("ratio", "marker"), [(9.0, "^"), (0.0, "v")])
def test_wild_ratio_does_not_flatten_the_others_and_is_marked(ratio: float, marker: str) -> None:
    figure = slice_figures(sliced_channels(with_wild_bin(ratio)))[0].figure
    assert figure.axes[0].get_ylim()[1] < 1.5
    beyond = [len(np.asarray(line.get_xdata())) for line in figure.axes[1].lines if line.get_marker() == marker]
    assert beyond == [1]


def test_narrow_range_has_a_linear_axis() -> None:
    assert slice_figures(sliced_channels(rows_of("proton", low=0.5)))[0].figure.axes[-1].get_xscale() == "linear"


def test_every_channel_has_a_figure_and_a_panel_of_pulls(new_run: MakeRun) -> None:
    run = new_run(names=("p0",), columns=(), num_steps=0)
    run.write_table("slices", rows_of("proton") + rows_of("neutron"))
    figures = slice_figures(sliced_channels(run.read_result("slices")))
    assert [figure.stem for figure in figures] == ["data-over-theory-proton", "data-over-theory-neutron", "data-over-theory-pulls"]
    assert len(figures[-1].figure.axes) == 2
    counts: Any = figures[-1].figure.axes[0].patches[0]
    assert counts.get_data().values.sum() == 9
    page = parsed(write_report(run))
    assert "Data over theory" in text_of(page)
    assert len([1 for element in page.iter("img") if "Measured over synthetic" in element.get("alt", "")]) == 2


def test_runs_without_slices_have_no_such_figures() -> None:
    assert slice_figures(sliced_channels([])) == []
