"""Runs side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.run_directories import MakeRun
from tests.report.test_writing import parsed, sources, text_of
from unscatter.errors import RunError, SettingsError
from unscatter.report import comparison_table, write_comparison, write_report
from unscatter.report.comparison import run_labels
from unscatter.runs import RunDirectory


def test_table_puts_parameters_tests_losses_and_settings_side_by_side(new_run: MakeRun) -> None:
    first = new_run("first", settings="method:\n  name: gan\nseed: 1\n")
    second = new_run("second", settings="method:\n  name: gan\nseed: 2\nextra: null\n", num_replicas=4, seed=2)
    table = comparison_table([first, second])
    assert table.labels == ("first", "second")
    assert all(len(row.cells) == 2 for row in table.rows)
    found = {(row.section, row.quantity): row.cells for row in table.rows}
    rows = [run.read_result("parameters")[0] for run in (first, second)]
    assert found["parameters", "p0"] == (f"{rows[0]['value']:.3f} ± 0.006", f"{rows[1]['value']:.3f} ± 0.007")
    assert found["two-sample test", "AUC, proton"] == ("0.503 ± 0.004 (passes)",) * 2
    assert found["fit", "errors are"] == ("Cramer-Rao bound", "replica spread")
    assert {row.quantity: row.cells for row in table.sections()["settings"]} == {"seed": ("1", "2"), "extra": ("-", "")}
    assert "generator_loss, mean of the last tenth" in [row.quantity for row in table.sections()["losses"]]


def test_run_without_a_result_stands_beside_the_others(new_run: MakeRun) -> None:
    table = comparison_table([new_run("done"), new_run("running", finished=False)])
    found = {row.quantity: row.cells for row in table.rows}
    assert found["status"] == ("converged", "no result yet")
    assert found["p0"][1].endswith("(last iterate)")
    assert found["problem"] == ("proxy2d", "-")


def test_comparison_page_is_self_contained_and_escaped(new_run: MakeRun, tmp_path: Path) -> None:
    runs = [new_run("a <b>", names=("<i>p",)), new_run("c&d", names=("<i>p", "q"), truth=False)]
    path = write_comparison(runs, tmp_path / "comparison.html")
    page = parsed(path)
    assert all(source.startswith("data:") for source in sources(page))
    assert "a <b>" in text_of(page)
    assert "<i>p" in text_of(page)
    assert len(list(page.iter("img"))) == 1


def test_labels_tell_equal_names_apart(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "a" / "fit"), RunDirectory(tmp_path / "b" / "fit")
    assert run_labels([first, second]) == ("a/fit", "b/fit")
    assert run_labels([first, first]) == ("fit (1)", "fit (2)")


def test_nothing_to_compare_is_a_clear_error() -> None:
    with pytest.raises(SettingsError, match="unscatter compare RUN RUN"):
        comparison_table([])


def test_comparison_into_a_missing_directory_is_a_clear_error(new_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="mkdir -p"):
        write_comparison([new_run(num_steps=1)], tmp_path / "missing" / "comparison.html")


def test_counts_are_whole_numbers_and_sources_of_errors_need_errors(new_run: MakeRun) -> None:
    undiagnosed = new_run("undiagnosed", summary={"num_events": {"proton": 94899.0, "neutron": 10.25}})
    rows = [row | {"error": None, "bound": None} for row in undiagnosed.read_result("parameters")]
    undiagnosed.write_table("parameters", rows)
    found = {row.quantity: row.cells for row in comparison_table([undiagnosed, new_run("done")]).rows}
    assert found["events"][0] == "proton: 94,899, neutron: 10.2"
    assert found["errors are"] == ("-", "Cramer-Rao bound")
    write_report(undiagnosed)
    assert "Errors are the" not in text_of(parsed(undiagnosed.report))
