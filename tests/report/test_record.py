"""What is read from a run directory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.report.run_directories import MakeRun
from unscatter.errors import RunError
from unscatter.report import words
from unscatter.report.record import loss_names, parameter_names, passes, read_record, series


def test_record_holds_what_the_run_wrote(new_run: MakeRun) -> None:
    record = read_record(new_run(num_replicas=5, channels=("proton", "neutron")))
    assert [row.name for row in record.parameters] == ["p0", "p1", "p2", "p3"]
    assert {name: values.shape for name, values in record.replicas.items()} == dict.fromkeys(("p0", "p1", "p2", "p3"), (5,))
    assert [(s.channel, s.column, len(s.pull)) for s in record.spectra] == [
        (channel, column, 30) for channel in ("proton", "neutron") for column in ("x", "energy_GeV")
    ]
    assert loss_names(record.metrics) == ["discriminator_loss", "generator_loss", "penalty"]
    assert record.missing() == []


def test_bins_are_put_in_order(new_run: MakeRun) -> None:
    run = new_run()
    rows = run.read_result("comparison")
    run.write_table("comparison", rows[::-1])
    for spectrum in read_record(run).spectra:
        np.testing.assert_allclose(spectrum.edges, np.linspace(0, 1, 31))


def test_chi_square_counts_full_bins_and_loses_one_degree_to_the_scale(new_run: MakeRun) -> None:
    run = new_run(columns=("x",))
    rows = run.read_result("comparison")
    for k, row in enumerate(rows):
        row.update(pull=2.0, counted=k < 10, by_rate=False)
    run.write_table("comparison", rows)
    (spectrum,) = read_record(run).spectra
    assert (spectrum.chi_squared, spectrum.degrees_of_freedom) == (40.0, 9)
    run.write_table("comparison", [row | {"by_rate": True} for row in rows])
    (spectrum,) = read_record(run).spectra
    assert spectrum.degrees_of_freedom == 10


def test_unfinished_run_names_what_is_missing(new_run: MakeRun) -> None:
    record = read_record(new_run(finished=False))
    assert len(record.missing()) == 3
    assert all("result/" in text for text in record.missing())
    assert parameter_names(record) == ["p0", "p1", "p2", "p3"]


def test_numbers_that_are_not_finite_are_left_out_of_a_series() -> None:
    values = (1.0, None, math.nan, 2)
    metrics = [{"step": step, "a_loss": value} for step, value in enumerate(values, start=1)] + [{"step": 5}]
    steps, found = series(metrics, "a_loss")
    assert steps.tolist() == [1, 4]
    assert found.tolist() == [1, 2]


def test_two_sample_test_without_a_verdict_is_judged_by_its_level() -> None:
    assert passes({"p_value": 0.02, "level": 0.01})
    assert not passes({"p_value": 0.002, "level": 0.01})
    assert not passes({"auc": 0.5})
    assert not passes({"passes": False, "p_value": 0.5, "level": 0.01})


def test_damaged_result_is_an_error_that_names_the_file(new_run: MakeRun) -> None:
    run = new_run()
    (run.result / "summary.json").write_text('{"problem": ')
    with pytest.raises(RunError, match=r"summary\.json"):
        read_record(run)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({"converged": True}, "converged"),
        ({"converged": False}, "not converged"),
        ({"converged": False, "stop_reason": "not judged"}, "convergence not judged"),
        ({"converged": None}, "convergence not judged"),
    ],
)
def test_status_is_never_better_than_the_tests(new_run: MakeRun, facts: dict[str, object], status: str) -> None:
    assert words.status(read_record(new_run(summary=facts))) == status


def test_words_say_what_was_not_tested(new_run: MakeRun) -> None:
    summary = {"two_sample": None, "settled": None, "error_source": None, "rates": False}
    text = " ".join(words.summary_sentences(read_record(new_run(summary=summary))))
    assert "No two-sample test was made" in text
    assert "was not tested" in text
    assert "not recorded" in text
    assert "Only the shapes" in text


def test_words_name_the_parameter_that_drifts(new_run: MakeRun) -> None:
    for settled in ({"worst": "p2", "value": 0.8, "passes": False}, {"worst": 2, "name": "p2", "value": 0.8, "passes": False}):
        text = words.settled_sentence(read_record(new_run(f"fit{settled['worst']}", summary={"settled": settled})).summary or {})
        assert text == "The averaged parameters have not settled: the largest drift, of 'p2', is 0.8 of its error."


def test_words_warn_of_a_parameter_at_the_end_of_its_range(new_run: MakeRun) -> None:
    run = new_run()
    rows = run.read_result("parameters")
    rows[0] |= {"value": 1.0, "bound": 0.01, "low": 0.0, "high": 1.005}
    run.write_table("parameters", rows)
    (warning,) = words.near_edges(read_record(run).parameters)
    assert "'p0'" in warning
    assert "1.005" in warning
