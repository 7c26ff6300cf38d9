"""Bands of curves in reports: what is drawn, marked and said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.report.run_directories import MakeRun
from tests.report.test_writing import parsed, text_of
from unscatter.report import write_report
from unscatter.report.curves import DAGGER, combinations_sentences, curve_figures, curve_tables, families_of
from unscatter.report.record import read_record
from unscatter.report.style import BLACK, figure_style
from unscatter.runs import RunDirectory

T = np.concatenate([np.geomspace(1e-3, 0.1, 20)[:-1], np.linspace(0.1, 1, 19)])


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with figure_style():
        yield


def rows_of(curve: str, *, family: str = "densities", weak: str | None = "prior", truth: bool = True) -> list[dict[str, Any]]:
    """A falling curve whose band the events set below 0.5."""
    return [
        {
            "family": family, "curve": curve, "abscissa": t, "value": 1.1 - t, "error": 0.05 + 0.1 * t, "bound": 0.05,
            "prior_error": 1.0, "data_share": 0.9, "driven_by": "events" if t < 0.5 else weak, "truth": 1.0 - t if truth else None,
        }
        for t in T.tolist()
    ]  # fmt: skip


def facts(family: str = "densities", logarithmic: bool = True) -> dict[str, Any]:
    sentences = ["a: events for t < 0.5 fm"]
    return {"name": family, "label": "f(t)", "abscissa_label": "t [fm]", "logarithmic": logarithmic, "sentences": sentences}


def with_curves(run: RunDirectory, rows: list[dict[str, Any]], *families: dict[str, Any], **summary: Any) -> RunDirectory:
    run.write_table("curves", rows)
    run.write_result("summary", run.read_result("summary") | {"curves": list(families)} | summary)
    return run


def small(new_run: MakeRun, **settings: Any) -> RunDirectory:
    return new_run(names=("p0",), columns=(), num_steps=0, **settings)


@pytest.mark.parametrize(("logarithmic", "columns"), [(True, 2), (False, 1)])
def test_every_curve_has_a_panel_and_its_ratio_on_every_axis(new_run: MakeRun, logarithmic: bool, columns: int) -> None:
    run = with_curves(small(new_run), rows_of("a") + rows_of("b"), facts(logarithmic=logarithmic))
    (figure,) = curve_figures(families_of(read_record(run)))
    axes = figure.figure.axes
    assert len(axes) == 2 * 2 * columns
    scales = [ax.get_xscale() for ax in axes]
    assert scales.count("log") == (4 if logarithmic else 0)
    value, truth = (np.asarray(line.get_ydata()) for line in axes[0].lines)
    np.testing.assert_allclose(value, 1.1 - T)
    np.testing.assert_allclose(truth, 1.0 - T)
    np.testing.assert_allclose(np.asarray(axes[1].lines[0].get_ydata())[:-1], (1.1 - T[:-1]) / (1.0 - T[:-1]))


def test_stretches_that_the_prior_sets_are_hatched_and_named(new_run: MakeRun) -> None:
    run = with_curves(small(new_run), rows_of("a"), facts(logarithmic=False))
    (figure,) = curve_figures(families_of(read_record(run)))
    hatched, plain = figure.figure.axes[0].collections
    assert hatched.get_hatch() is not None
    assert plain.get_hatch() is None
    ends = [np.asarray(area.get_paths()[0].vertices)[:, 0] for area in (hatched, plain)]
    # They touch: the hatched one begins at the last point that the events set.
    assert (float(ends[0].min()), float(ends[0].max())) == pytest.approx((0.45, 1.0))
    assert (float(ends[1].min()), float(ends[1].max())) == pytest.approx((1e-3, 0.45))
    texts = [text.get_text() for text in figure.figure.legends[0].get_texts()]
    assert texts == ["fit", "truth", "± 1 error, by the events", "by the prior"]
    assert "Hatched" in figure.caption


@pytest.mark.parametrize(
    ("weak", "texts"),
    [("events", ["fit", "± 1 error, by the events"]), ("nothing", ["fit", "± 1 error, by the events", "not fixed by the events"])],
)
def test_legend_names_what_is_drawn_and_nothing_else(new_run: MakeRun, weak: str, texts: list[str]) -> None:
    run = with_curves(small(new_run), rows_of("a", weak=weak, truth=False), facts())
    (figure,) = curve_figures(families_of(read_record(run)))
    assert [text.get_text() for text in figure.figure.legends[0].get_texts()] == texts
    assert [area.get_hatch() is not None for area in figure.figure.axes[0].collections] == ([True, False] if weak == "nothing" else [False])
    # Without a truth the ratio is to the curve itself, and its line is not that of a truth.
    upper, lower = figure.figure.axes[:2]
    np.testing.assert_allclose(np.asarray(lower.lines[0].get_ydata()), 1.0)
    assert BLACK not in [to_hex(line.get_color()) for ax in (upper, lower) for line in ax.lines]


def test_many_curves_are_spread_evenly_over_figures_of_their_own_family(new_run: MakeRun) -> None:
    rows = [row for name in "abcdef" for row in rows_of(name)] + rows_of("a", family="others")
    figures = curve_figures(families_of(read_record(with_curves(small(new_run), rows, facts(), facts("others")))))
    assert [len(figure.figure.axes) for figure in figures] == [12, 12, 4]
    assert [figure.stem for figure in figures] == ["curves-densities-1", "curves-densities-2", "curves-others"]


def test_table_marks_what_the_events_do_not_set(new_run: MakeRun) -> None:
    (table,) = curve_tables(families_of(read_record(with_curves(small(new_run), rows_of("a"), facts()))))
    assert len(table.abscissa) == 5
    assert all(heading.startswith("t = ") for heading in table.abscissa)
    ((name, cells),) = table.rows
    assert name == "a"
    marked = [cell.endswith(DAGGER) for cell in cells]
    assert marked == [float(heading.removeprefix("t = ")) >= 0.5 for heading in table.abscissa]
    assert 0 < sum(marked) < 5
    assert table.has_daggers


def test_curves_without_numbers_are_drawn_as_far_as_they_go(new_run: MakeRun) -> None:
    empty = [row | {"error": None, "driven_by": None, "value": None if i == 3 else row["value"]} for i, row in enumerate(rows_of("a"))]
    families = families_of(read_record(with_curves(small(new_run), empty, facts())))
    (figure,) = curve_figures(families)
    assert [text.get_text() for text in figure.figure.legends[0].get_texts()] == ["fit", "truth", "± 1 error"]
    assert not curve_tables(families)[0].has_daggers


def test_report_shows_curves_with_their_sentences_and_tables(new_run: MakeRun) -> None:
    known = {"determined": 9, "of": 19, "best": ["the combination seen most in a near t = 1 fm: to 2 % of the prior's error"]}
    page = parsed(write_report(with_curves(small(new_run), rows_of("a"), facts(), combinations=known)))
    text = text_of(page)
    assert "densities a: events for t < 0.5 fm" in text
    assert "Of 19 independent combinations of the parameters the events determine 9." in text
    assert "The combination seen most in a near t = 1 fm: to 2 % of the prior's error." in text
    assert f"{DAGGER} The events do not set this error" in text
    assert any(element.get("id") == "curves" for element in page.iter())
    assert any("f(t) against t [fm]" in element.get("alt", "") for element in page.iter("img"))


def test_runs_without_curves_are_read_and_say_nothing_about_them(new_run: MakeRun) -> None:
    run = small(new_run)
    assert not (run.result / "curves.json").exists()
    page = parsed(write_report(run))
    assert not [element for element in page.iter() if element.get("id") == "curves"]
    assert "combinations" not in text_of(page)
    assert combinations_sentences({}) == []


def test_curves_without_a_description_are_drawn_all_the_same(new_run: MakeRun) -> None:
    (family,) = families_of(read_record(with_curves(small(new_run), rows_of("a"))))
    assert (family.name, family.logarithmic, family.sentences) == ("densities", False, ())
    assert len(curve_figures([family])) == 1
