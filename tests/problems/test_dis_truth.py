"""A grid of densities as the truth of pseudo-data."""

from __future__ import annotations

import dataclasses
import warnings
from functools import cache

import pytest
import torch

from unscatter.errors import PdfGridError, SettingsError
from unscatter.pdfs import PDG_IDS, PdfSet, read_lhapdf
from unscatter.pipeline import Problem, asimov_events
from unscatter.problems import dis, example_file, proxy2d, with_grid_truth
from unscatter.theories.dis import Beams, DisChannel

PROTON = DisChannel(name="proton", target="proton", beams=Beams(18.0, 275.0), luminosity_inv_pb=2.73714, exchange="photon")


@cache
def nnpdf31() -> PdfSet:
    return read_lhapdf(example_file("NNPDF31_lo_as_0130_excerpt"))


def with_truth(tables: str = "lo", nodes: tuple[int, int] = (33, 17), **settings) -> Problem:
    return with_grid_truth(dis([PROTON], tables=tables, nodes=nodes, **settings), nnpdf31())


def test_pseudo_data_of_the_grid_look_like_pythia_events_made_with_it() -> None:
    from unscatter.events import read_events

    problem = with_truth(nodes=(65, 33))
    real = problem.prepare("proton", read_events(example_file("pythia_nc_eic_proton.parquet"), ("x", "Q2", "y")))
    made = asimov_events(problem)["proton"]
    # The events of the file are those of this luminosity; their rate is 0.5 to 1 % below leading order, cuts on Q2 and y aside.
    for name in ("x", "Q2", "y"):
        weights = made.weights_or_ones()
        mean = float((weights * made.column(name).log()).sum() / weights.sum())
        assert mean == pytest.approx(float(real.column(name).double().log().mean()), rel=0.01)


def test_the_truth_is_no_point_of_the_space_and_curves_are_those_of_the_grid() -> None:
    problem = with_truth()
    assert problem.truth is None
    evolved = problem.curves[1]
    true = problem.true_curves(evolved)
    assert true is not None
    x, own = evolved.abscissa, nnpdf31().central
    for curve, parton in ((0, 21), (1, 2), (2, 1)):
        torch.testing.assert_close(true[curve][x < 0.4], own.xf(parton, x[x < 0.4], 10.0), rtol=0.02, atol=0)
    start = problem.true_curves(problem.curves[2])
    assert start is not None
    torch.testing.assert_close(start[0], own.xf(21, x, 1.65), rtol=1e-6, atol=0)


def test_true_curves_of_a_truth_in_the_space_are_those_of_its_parameters() -> None:
    problem = dis([PROTON], nodes=(13, 9))
    family = problem.curves[0]
    expected = family.function(torch.tensor(problem.truth, dtype=torch.float64))
    assert torch.equal(problem.true_curves(family), expected)  # pyright: ignore[reportArgumentType]
    assert dataclasses.replace(problem, truth=None).true_curves(family) is None


def test_free_normalisations_are_one_in_the_truth() -> None:
    exact, free = with_truth(), with_truth(luminosity_errors={"proton": 0.02})
    assert free.space.names[-1] == "norm_proton"
    assert torch.equal(exact.simulate(seed=1)["proton"].values, free.simulate(seed=1)["proton"].values)


def test_tables_of_the_same_order_and_coupling_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_truth()


def test_other_couplings_and_another_evolution_are_told_with_their_numbers() -> None:
    couplings = r"of the grid is 0\.13 at the mass of the Z, and that of the theory tables 0\.118"
    with pytest.warns(UserWarning, match=couplings), pytest.warns(UserWarning, match=r"differ by up to .* Q = 100 GeV"):
        with_truth("nlo", (13, 9))


def test_evolution_alone_is_told_too() -> None:
    grid = nnpdf31().central
    changed = grid.values.clone()
    changed[PDG_IDS.index(2)] *= torch.where(grid.Q_nodes_GeV > 9, 1.1, 1.0)
    with pytest.warns(UserWarning, match=r"differ by up to 9\.\d %, for u at x = .* and Q = 10"):
        with_grid_truth(dis([PROTON], nodes=(13, 9)), PdfSet(nnpdf31().info, (dataclasses.replace(grid, values=changed),)))


def test_problems_and_grids_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match="'proxy2d' has no parton densities"):
        with_grid_truth(proxy2d(nodes=17), nnpdf31())
    grid = nnpdf31().central
    late = dataclasses.replace(grid, Q_nodes_GeV=grid.Q_nodes_GeV[1:], values=grid.values[..., 1:])
    with pytest.raises(PdfGridError, match=r"from Q = 3 to 100 GeV, but its densities are needed at 1\.65 GeV"):
        with_grid_truth(dis([PROTON], nodes=(13, 9)), PdfSet(nnpdf31().info, (late,)))
