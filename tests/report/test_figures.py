"""Figures: the right panels, with what they claim to show in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.lines import Line2D

from tests.report.run_directories import MakeRun
from unscatter.report.estimates import parameter_summary, replica_scatter, values_of_runs
from unscatter.report.histories import loss_history, parameter_history, thinned
from unscatter.report.record import ParameterRow, RunRecord, read_record
from unscatter.report.spectra import is_logarithmic, spectrum_figures
from unscatter.report.style import PlainFormatter, ReportFigure, data_uri, encoded, figure_style, save_figure
from unscatter.runs import RunDirectory


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with figure_style():
        yield


def _num_axes(figures: list[ReportFigure]) -> list[int]:
    return [len(figure.figure.axes) for figure in figures]


def test_every_loss_has_a_panel(new_run: MakeRun) -> None:
    run = new_run()
    run.append_metrics({"step": 130, "energy_loss": 0.5})
    assert _num_axes(loss_history(read_record(run))) == [4]


def test_method_without_losses_has_no_loss_figure(new_run: MakeRun) -> None:
    run = new_run(num_steps=0, finished=False)
    run.append_metrics({"step": 1, "parameters": {"p": 1.0}})
    record = read_record(run)
    assert loss_history(record) == []
    assert _num_axes(parameter_history(record)) == [1]


def test_history_shows_iterates_average_truth_and_bound(new_run: MakeRun) -> None:
    (figure,) = parameter_history(read_record(new_run()))
    assert len(figure.figure.axes) == 4
    iterate, averaged, truth = map(_points, figure.figure.axes[0].lines)
    assert len(iterate) == len(averaged) == 12
    assert set(truth[:, 1]) == {0.5}
    band = figure.figure.axes[0].patches[0].get_extents().transformed(figure.figure.axes[0].transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((0.5 - 0.0065, 0.5 + 0.0065))


def test_many_parameters_are_spread_over_figures(new_run: MakeRun) -> None:
    figures = parameter_history(read_record(new_run(names=tuple(f"pdf{i}" for i in range(14)), num_steps=3)))
    assert _num_axes(figures) == [6, 6, 2]
    assert len({figure.stem for figure in figures}) == 3


def test_thinning_keeps_mean_and_extremes() -> None:
    values = np.random.default_rng(1).normal(size=12_345)
    steps, low, mean, high = thinned(np.arange(12_345.0), values)
    assert len(steps) <= 400
    assert (low.min(), high.max()) == (values.min(), values.max())
    assert mean.mean() == pytest.approx(values.mean(), abs=1e-3)
    short = np.array([3.0, 1.0])
    np.testing.assert_array_equal(thinned(short, short), [short] * 4)


def test_every_channel_and_column_has_events_above_and_pulls_below(new_run: MakeRun) -> None:
    record = read_record(new_run(channels=("proton", "neutron"), columns=("x", "Q2_GeV2")))
    figures = spectrum_figures(record.spectra)
    assert _num_axes(figures) == [2] * 4
    upper, lower = figures[0].figure.axes
    np.testing.assert_allclose(_points(upper.lines[0])[:, 1], record.spectra[0].measured)
    bars: Any = lower.patches[1]
    np.testing.assert_allclose(bars.get_data().values, record.spectra[0].pull)
    assert lower.get_xlabel() == "x"
    assert figures[1].figure.axes[1].get_xlabel() == "Q2 [GeV²]"
    assert figures[1].figure.axes[1].get_xscale() == "log"


def test_wild_pull_is_marked_at_the_end_of_the_axis(new_run: MakeRun) -> None:
    figures = spectrum_figures(read_record(new_run(channels=("neutron",), columns=("x",))).spectra)
    lower = figures[0].figure.axes[1]
    assert lower.get_ylim()[1] <= 6
    beyond = [line for line in lower.lines if line.get_marker() == "^"]
    assert len(_points(beyond[0])) == 1


def test_counts_in_unequal_bins_are_divided_by_their_widths(new_run: MakeRun) -> None:
    record = read_record(new_run(columns=("Q2_GeV2",)))
    (figure,) = spectrum_figures(record.spectra)
    spectrum = record.spectra[0]
    np.testing.assert_allclose(_points(figure.figure.axes[0].lines[0])[:, 1], spectrum.measured / (spectrum.high - spectrum.low))


def test_colliding_names_get_different_files(new_run: MakeRun) -> None:
    figures = spectrum_figures(read_record(new_run(columns=("x", "x'", "X", "µ"))).spectra)
    assert len({figure.stem.lower() for figure in figures}) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", figure.stem) for figure in figures)


def test_logarithmic_bins_are_recognised() -> None:
    assert is_logarithmic(np.geomspace(1e-3, 1, 11))
    assert not is_logarithmic(np.linspace(1e-3, 1, 11))
    assert not is_logarithmic(np.linspace(-1, 1, 11))


def test_deviations_are_in_units_of_the_bound() -> None:
    rows = (ParameterRow("a", 1.3, error=0.2, bound=0.1, truth=1.0), ParameterRow("b", 2.0, bound=0.5, truth=2.5))
    (figure,) = parameter_summary(_record_of(rows))
    points = [_points(line)[0] for line in figure.figure.axes[0].lines if line.get_marker() == "o"]
    np.testing.assert_allclose(points, [[3.0, 0.0], [-1.0, 1.0]])


def test_parameter_without_truth_or_bound_is_shown_with_its_value(new_run: MakeRun) -> None:
    figures = parameter_summary(read_record(new_run()))
    assert [figure.stem for figure in figures] == ["parameter-deviations", "parameter-values"]
    assert "p3 (not determined)" in figures[1].figure.axes[0].get_title("left")
    assert _num_axes(parameter_summary(read_record(new_run("other", truth=False)))) == [4]


@pytest.mark.parametrize(("num_replicas", "expected"), [(1, []), (2, []), (3, [16])])
def test_scatter_needs_more_than_two_replicas(new_run: MakeRun, num_replicas: int, expected: list[int]) -> None:
    figures = replica_scatter(read_record(new_run(num_replicas=num_replicas)))
    assert _num_axes(figures) == expected


def test_many_parameters_show_their_correlations(new_run: MakeRun) -> None:
    record = read_record(new_run(num_replicas=6, names=tuple(f"pdf{i}" for i in range(12)), num_steps=1))
    (figure,) = replica_scatter(record)
    values = np.asarray(figure.figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(values, np.corrcoef(np.array(list(record.replicas.values()))), atol=1e-12)


def test_runs_are_drawn_with_their_errors() -> None:
    results = [[ParameterRow("a", 1.0, error=0.1)], [ParameterRow("a", 1.2), ParameterRow("b", 3.0)]]
    (figure,) = values_of_runs(["first $x_{$", "second_"], results)
    assert len(figure.figure.axes) == 2
    encoded(figure.figure, "svg")


def test_names_are_text_and_never_formulas(new_run: MakeRun) -> None:
    """A brace that is not closed makes matplotlib's mathematics fail; unknown scripts make it warn."""
    record = read_record(
        new_run(names=("$x_{$", "a<b>&", "µ 粒子", "_p"), channels=("$c^$",), columns=("$y_{$",), num_replicas=3, num_steps=2)
    )
    for figures in (parameter_summary(record), parameter_history(record), spectrum_figures(record.spectra), replica_scatter(record)):
        for figure in figures:
            assert len(encoded(figure.figure, "svg")) > 5_000


def test_figures_are_saved_in_three_formats_with_embedded_fonts(new_run: MakeRun) -> None:
    run = new_run(num_steps=2)
    (figure,) = loss_history(read_record(run))
    svg = save_figure(figure, run.path)
    assert (run.path / "losses.svg").read_bytes() == svg
    assert (run.path / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert (run.path / "losses.pdf").read_bytes().startswith(b"%PDF")
    assert b"<text" not in svg
    assert data_uri(svg).startswith("data:image/svg+xml;base64,")


def test_same_figure_gives_the_same_bytes(new_run: MakeRun) -> None:
    run = new_run(num_steps=2)
    first, second = (encoded(loss_history(read_record(run))[0].figure, "svg") for _ in range(2))
    assert first == second


def test_tick_labels_have_equal_decimals_and_no_offset() -> None:
    formatter = PlainFormatter()
    assert formatter.format_ticks([0.4995, 0.5, 0.5005]) == ["0.4995", "0.5000", "0.5005"]
    assert formatter.format_ticks([-10.0, 0.0, 10.0]) == ["−10", "0", "10"]
    assert formatter.format_ticks([0.0, 2e6]) == ["0", "2×10⁶"]


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([2.000008, 2.00001, 2.000012], ["2.000008", "2.000010", "2.000012"]),
        ([2.0000075, 2.00001, 2.0000125], ["2.0000075", "2.0000100", "2.0000125"]),
        ([-0.50000002, -0.50000001, -0.5], ["−0.50000002", "−0.50000001", "−0.50000000"]),
        ([1000000.0, 1000000.5, 1000001.0], ["1×10⁶", "1.0000005×10⁶", "1.000001×10⁶"]),
        ([2e-7, 2.000001e-7], ["2×10⁻⁷", "2.000001×10⁻⁷"]),
        ([0.0, 1e-6, 2e-6], ["0", "1×10⁻⁶", "2×10⁻⁶"]),
        ([0.0, 0.0], ["0", "0"]),
    ],
)
def test_neighbouring_ticks_have_as_many_digits_as_tell_them_apart(ticks: list[float], labels: list[str]) -> None:
    assert PlainFormatter().format_ticks(ticks) == labels


def test_style_leaves_matplotlib_as_it_was() -> None:
    before = rcParams["font.size"]
    rcParams["font.size"] = 33
    try:
        with figure_style():
            assert rcParams["font.size"] == 10
        assert rcParams["font.size"] == 33
    finally:
        rcParams["font.size"] = before


def _record_of(parameters: tuple[ParameterRow, ...]) -> RunRecord:
    return RunRecord(RunDirectory(Path("fit")), (), None, parameters, {}, (), None, None, (), "")


def _points(line: Line2D) -> np.ndarray:
    """Data of a line, ``[points, 2]``."""
    return np.stack([np.asarray(column, dtype=np.float64) for column in line.get_data()], 1)
