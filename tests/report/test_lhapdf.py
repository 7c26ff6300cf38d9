"""Exported sets: what is in them, the physics that they keep, and who can read them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from unscatter.errors import PdfGridError, RunError, SettingsError
from unscatter.pdfs import PDG_IDS, PdfInfo, PdfSet, read_lhapdf
from unscatter.pipeline import Problem
from unscatter.problems import dis, proxy2d
from unscatter.report.lhapdf import ExportNodes, export_lhapdf, pdf_set_of
from unscatter.runs import RunDirectory
from unscatter.theories.dis import Beams, DisChannel, DisTheory

PROTON = DisChannel(name="proton", target="proton", beams=Beams(18.0, 275.0), luminosity_inv_pb=0.1, exchange="photon")
FEW = ExportNodes(num_x=40, num_Q=(5, 8))
INFO = PdfInfo(description="test")


@cache
def problem(tables: str = "lo") -> Problem:
    return dis([PROTON], tables=tables, nodes=(13, 9))


def theory(tables: str = "lo") -> DisTheory:
    found = problem(tables).pipeline.theory
    assert isinstance(found, DisTheory)
    return found


def replicas(count: int) -> torch.Tensor:
    """The start of fits, with another gluon in each replica."""
    start = torch.tensor(problem().start, dtype=torch.float64).repeat(count, 1)
    start[:, problem().space.names.index("g_c")] += torch.linspace(-1, 1, count) if count > 1 else 0.0
    return start


def finished_run(path: Path, count: int) -> RunDirectory:
    run, names = RunDirectory.create(path), problem().space.names
    rows = [
        {"replica": r, "name": name, "value": value}
        for r, values in enumerate(replicas(count).tolist())
        for name, value in zip(names, values, strict=True)
    ]
    run.write_table("replicas", rows)
    return run


@pytest.mark.parametrize("tables", ["lo", "nnlo"])
def test_momentum_is_conserved_at_all_scales(tables: str) -> None:
    grid = pdf_set_of(theory(tables), replicas(1), INFO).central
    x = torch.logspace(-5, 0, 4001, dtype=torch.float64)
    for Q in (1.65, 3.0, 4.92, 10.0, 91.1876, 1000.0, 9000.0):
        xf = grid.xf_all(x, Q).sum(0)
        # Below the lowest node densities go on as a power of x.
        power = torch.log(xf[5] / xf[0]) / torch.log(x[5] / x[0])
        momentum = torch.trapezoid(xf * x, x.log()) + xf[0] * x[0] / (1 + power)
        assert float(momentum) == pytest.approx(1.0, abs=1e-3)


def test_densities_between_the_nodes_are_those_of_the_tables() -> None:
    grid = pdf_set_of(theory(), replicas(1), INFO).central
    x, Q = torch.logspace(-4.7, -0.1, 40, dtype=torch.float64), torch.tensor([1.9, 3.3, 4.8, 6.0, 60.0, 5000.0], dtype=torch.float64)
    exact = torch.einsum("qpxfk,fk->qpx", theory().tables.evolution(x, Q), theory().densities_at_start(replicas(1))[0])
    for k, scale in enumerate(Q.tolist()):
        torch.testing.assert_close(grid.xf_all(x, scale), exact[k], rtol=3e-3, atol=1e-4)


def test_the_bottom_threshold_stands_twice_and_keeps_its_steps() -> None:
    pdf_set = pdf_set_of(theory("nnlo"), replicas(1), INFO, nodes=FEW)
    grid, settings, alpha_s = pdf_set.central, theory("nnlo").tables.settings, pdf_set.info.alpha_s
    assert alpha_s is not None
    below, above = (grid.Q_nodes_GeV == settings.bottom_mass_GeV).nonzero()[:, 0].tolist()
    assert (below, above) == (4, 5)
    bottom = grid.values[PDG_IDS.index(5)]
    assert bool((bottom[:, :above] == 0).all())
    # At NNLO both jump there; the coupling by 7/24 (alpha_s / pi)^2 for pole masses (PDG, Review of Particle Physics, section 9.2.1).
    assert float(bottom[:, above].abs().max()) > 0
    jump = float(alpha_s.values[above] / alpha_s.values[below] - 1)
    assert jump == pytest.approx(7 / 24 * (float(alpha_s.values[above]) / torch.pi) ** 2, rel=0.1)
    assert torch.equal(alpha_s.Q_nodes_GeV, grid.Q_nodes_GeV)


def test_the_info_is_that_of_the_tables() -> None:
    info = pdf_set_of(theory("nnlo"), replicas(2), PdfInfo(description="d", authors="a", reference="r"), nodes=FEW).info
    settings = theory("nnlo").tables.settings
    assert (info.description, info.authors, info.reference, info.error_type) == ("d", "a", "r", "replicas")
    assert (info.order_qcd, info.alpha_s_order_qcd, info.alpha_s_MZ) == (2, 2, settings.alpha_s_MZ)
    assert info.quark_masses_GeV == (0, 0, 0, settings.charm_mass_GeV, settings.bottom_mass_GeV, settings.top_mass_GeV)
    assert info.alpha_s is not None
    assert float(info.alpha_s(settings.MZ_GeV)) == pytest.approx(settings.alpha_s_MZ, rel=2e-3)


def test_members_are_the_replicas_and_member_0_their_mean(tmp_path: Path) -> None:
    folder = export_lhapdf(finished_run(tmp_path / "fit", 3), problem(), tmp_path / "MySet", nodes=FEW)
    pdf_set = read_lhapdf(folder)
    assert (len(pdf_set.members), pdf_set.info.error_type) == (4, "replicas")
    assert pdf_set.info.description.startswith("Fit 'fit': parton densities (functional)")
    own = theory().densities_at_start(replicas(3), pdf_set.central.x_nodes[:-1])
    for k, member in enumerate(pdf_set.variations):
        torch.testing.assert_close(member.values[PDG_IDS.index(21), :-1, 0], own[k, 0], rtol=1e-3, atol=1e-6)
    mean = torch.stack([member.values for member in pdf_set.variations]).mean(0)
    torch.testing.assert_close(pdf_set.central.values, mean, rtol=1e-9, atol=1e-12)
    assert not torch.equal(pdf_set.members[1].values, pdf_set.members[2].values)


def test_a_single_fit_is_member_0_without_an_error(tmp_path: Path) -> None:
    pdf_set = read_lhapdf(export_lhapdf(finished_run(tmp_path / "fit", 1), problem(), tmp_path / "MySet", nodes=FEW))
    assert (len(pdf_set.members), pdf_set.info.error_type) == (1, "unknown")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "fit", 1)
    folder = export_lhapdf(run, problem(), tmp_path / "MySet", nodes=FEW)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(PdfGridError, match="exists already"):
        export_lhapdf(run, problem(), tmp_path / "MySet", nodes=FEW)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_runs_of_other_problems_and_unfinished_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="fits the problem 'proxy2d', which has no parton densities to export"):
        export_lhapdf(finished_run(tmp_path / "other", 1), proxy2d(nodes=17), tmp_path / "A")
    with pytest.raises(RunError, match="Has the run finished"):
        export_lhapdf(RunDirectory.create(tmp_path / "empty"), problem(), tmp_path / "B")
    with pytest.raises(RunError, match="but the parameters of the problem are"):
        export_lhapdf(finished_run(tmp_path / "fit", 1), dis([PROTON], nodes=(13, 9), luminosity_errors={"proton": 0.02}), tmp_path / "C")
    assert not any((tmp_path / name).exists() for name in "ABC")


def test_too_few_nodes_are_refused() -> None:
    with pytest.raises(SettingsError, match="needs at least 8 nodes in x and 2 in Q"):
        ExportNodes(num_x=5)


_PROGRAM = """
import json, sys, pdfxtmd
name, points = sys.argv[1], json.loads(sys.argv[2])
parton = pdfxtmd.PartonFlavor
members = [pdfxtmd.GenericCPDFFactory().mkCPDF(name, member) for member in (0, 2)]
values = [[[pdf.pdf(f, x, Q * Q) for f in (parton.g, parton.u, parton.bbar)] for x, Q in points] for pdf in members]
print("RESULT" + json.dumps([values, pdfxtmd.CouplingFactory().mkCoupling(name).AlphaQCDMu2(100.0)]))
"""


@pytest.mark.skipif(importlib.util.find_spec("pdfxtmd") is None, reason="needs pdfxtmd, an independent reader: pip install pdfxtmd")
def test_an_independent_program_reads_the_same_numbers(tmp_path: Path) -> None:
    folder = export_lhapdf(finished_run(tmp_path / "fit", 2), problem(), tmp_path / "MySet", nodes=FEW)
    (tmp_path / ".PDFxTMDLib").mkdir()
    (tmp_path / ".PDFxTMDLib" / "config.yaml").write_text(f'paths:\n  - "{tmp_path}"\n')
    # Points away from thresholds and ends, where this program is linear, unlike LHAPDF.
    points = [(0.012, 30.0), (0.12, 100.0), (0.31, 700.0), (0.003, 20.0)]
    arguments = [sys.executable, "-c", _PROGRAM, "MySet", json.dumps(points)]
    printed = subprocess.run(arguments, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True, timeout=60)
    values, coupling = json.loads(printed.stdout.partition("RESULT")[2])
    pdf_set: PdfSet = read_lhapdf(folder)
    for number, member in enumerate((pdf_set.members[0], pdf_set.members[2])):
        own = [[float(member.xf(parton, x, Q)) for parton in (21, 2, -5)] for x, Q in points]
        torch.testing.assert_close(torch.tensor(values[number]), torch.tensor(own), rtol=1e-6, atol=0)
    assert pdf_set.info.alpha_s is not None
    assert coupling == pytest.approx(float(pdf_set.info.alpha_s(10.0)), rel=1e-6)
