"""Published measurements from the problem to the table, the summary and the report."""

from dataclasses import replace

import pytest
import torch

from unscatter.diagnostics import compare_measurement
from unscatter.errors import ShapeError
from unscatter.pipeline import Measurement
from unscatter.problems import proxy2d
from unscatter.report import write_report
from unscatter.runs import RunDirectory, execute
from unscatter.solve import SolveSettings


def measurement(shared=0.0):
    """Two points that measure the first parameter, with an error of 0.1 each and a shared one."""
    covariance = 0.01 * torch.eye(2, dtype=torch.float64) + shared**2
    values = torch.tensor([0.5, 0.7], dtype=torch.float64)
    return Measurement("p0 twice", values, covariance, lambda p: p[..., :1].expand(*p.shape[:-1], 2), {"time_s": torch.tensor([1.0, 2.0])})


def test_comparison_is_the_mean_of_the_replicas_and_its_chi_square():
    parameters = torch.tensor([[0.4, 9.0], [0.6, 9.0]])
    compared = compare_measurement(measurement(), parameters)
    assert torch.allclose(compared.prediction, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert torch.allclose(compared.spread, torch.full((2,), 0.02**0.5, dtype=torch.float64))
    assert compared.record()["chi2"] == pytest.approx(4.0)
    assert [row["pull"] for row in compared.rows()] == pytest.approx([0.0, 2.0], abs=1e-5)
    assert [row["time_s"] for row in compared.rows()] == [1.0, 2.0]


def test_correlations_count():
    # Shared error s: residuals (0, 0.2); chi2 = (r.r - s^2 (sum r)^2 / (v + 2 s^2)) / v with v = 0.01.
    compared = compare_measurement(measurement(shared=0.3), torch.tensor([[0.5]]))
    assert compared.agreement.value == pytest.approx((0.04 - 0.09 * 0.04 / (0.01 + 0.18)) / 0.01)


def test_a_run_keeps_and_shows_what_it_was_compared_with(tmp_path):
    problem = replace(proxy2d(nodes=17), measurements=(measurement(),))
    settings = SolveSettings(steps=4, max_rounds=1, held_out=0.2)
    fit = execute(problem, problem.simulate(num_events=2000, seed=1), path=tmp_path / "run", settings=settings)
    run = RunDirectory.open(tmp_path / "run")
    assert run.read_result("measurements") == fit.measurements
    assert run.read_result("summary")["measurements"][0]["num_points"] == 2
    page = write_report(run).read_text()
    assert "p0 twice: chi² =" in page
    assert "per point, for 2 points" in page
    assert (tmp_path / "run" / "figures" / "measurement-p0-twice.png").is_file()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="has 2 values, but a covariance of shape"):
        replace(measurement(), covariance=torch.eye(3, dtype=torch.float64))
    with pytest.raises(ShapeError, match="coordinate 'x' of measurement 'p0 twice' needs 2 values"):
        replace(measurement(), coordinates={"x": torch.ones(3)})
