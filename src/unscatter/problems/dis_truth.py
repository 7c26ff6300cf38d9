"""A grid of parton densities as the truth of the deep-inelastic problem."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unscatter.errors import SettingsError
from unscatter.pdfs import PDG_IDS, FixedDensities, PdfGrid, PdfSet
from unscatter.pipeline import ParameterSpace, Problem
from unscatter.problems.dis_curves import PARTON_NAMES, parton_curves
from unscatter.theories.dis import DisTables, DisTheory

#: Relative difference of the strong couplings at the mass of the Z that is worth a warning.
_MAX_ALPHA_S = 0.005
#: Relative difference between the grid's own densities and those that the tables make of it that is worth a warning.
_MAX_EVOLUTION = 0.03
#: Scales in GeV where they are compared, as far as the grid has them, with the abundant partons and moderate x.
_COMPARED_GEV = (10.0, 100.0)
_COMPARED_PARTONS = (21, 2, 1, -2, -1)
_COMPARED_X = (1e-3, 0.5)
#: Momentum densities below this are too small to matter, and known too badly to be compared.
_COMPARED_FROM = 0.01


def with_grid_truth(problem: Problem, pdf_set: PdfSet) -> Problem:
    """The problem with the central member of a set as the truth of pseudo-data and of curves.

    The densities are read at the starting scale of the tables; evolution from there on is that of the tables.  Where the grid's own values
    at 10 and 100 GeV differ from these by more than 3 %, or its strong coupling by more than half a per cent, a warning says so.

    Args:
        problem: deep-inelastic, of any parametrisation.
        pdf_set: the densities.

    Raises:
        SettingsError: the problem has no parton densities.
        PdfGridError: the grid lacks partons, or does not cover what the tables need.

    Example:
        >>> from unscatter.pdfs import read_lhapdf
        >>> from unscatter.problems import dis, example_file
        >>> from unscatter.theories.dis import Beams, DisChannel
        >>> proton = DisChannel(name="proton", target="proton", beams=Beams(18.0, 275.0), luminosity_inv_pb=0.1, exchange="photon")
        >>> problem = with_grid_truth(dis([proton], nodes=(13, 9)), read_lhapdf(example_file("NNPDF31_lo_as_0130_excerpt")))
        >>> problem.simulate(num_events=100)["proton"].columns
        ('x', 'Q2', 'y')
    """
    theory = problem.pipeline.theory
    if not isinstance(theory, DisTheory):
        raise SettingsError(f"problem '{problem.name}' has no parton densities, so a grid of them cannot be its truth.")
    tables, grid = theory.tables, pdf_set.central
    densities = FixedDensities(grid, tables.settings.Q0_GeV)
    _warn_of_coupling(pdf_set, tables)
    # With the exact luminosities: the normalisations of all channels are one.
    fixed = replace(theory, parametrisation=densities, free_norms=())
    _warn_of_evolution(grid, fixed)
    made_with = Problem(
        name=problem.name,
        space=ParameterSpace((), _NoParameters()),
        pipeline=replace(problem.pipeline, theory=fixed),
        observables=problem.observables,
        needs=problem.needs,
        truth=(),
        description=pdf_set.info.description,
        curves=parton_curves(fixed),
    )
    return replace(problem, truth=None, truth_problem=made_with)


@dataclass(frozen=True)
class _NoParameters:
    """The bijection of a space without parameters."""

    latent_size: int = 0
    size: int = 0

    def forward(self, latent: Tensor) -> Tensor:
        return latent

    def inverse(self, parameters: Tensor) -> Tensor:
        return parameters


def _warn_of_coupling(pdf_set: PdfSet, tables: DisTables) -> None:
    grid, table = pdf_set.info.alpha_s_MZ, tables.settings.alpha_s_MZ
    if not abs(grid / table - 1) < _MAX_ALPHA_S:
        warnings.warn(
            f"the strong coupling of the grid is {grid:g} at the mass of the Z, and that of the theory tables {table:g}. Pseudo-data "
            "follow the tables; choose others (problem.tables, or unscatter tables build --alpha-s) for events like those of the grid.",
            UserWarning, stacklevel=3,
        )  # fmt: skip


def _warn_of_evolution(grid: PdfGrid, fixed: DisTheory) -> None:
    differences = list(_differences(grid, fixed))
    if differences and max(differences)[0] > _MAX_EVOLUTION:
        size, parton, x, Q = max(differences)
        warnings.warn(
            f"evolution by the theory tables and in the grid differ by up to {100 * size:.2g} %, for {PARTON_NAMES[parton]} at "
            f"x = {x:.2g} and Q = {Q:g} GeV: another order, coupling or quark mass. Densities at the starting scale are those of the grid.",
            UserWarning, stacklevel=3,
        )  # fmt: skip


def _differences(grid: PdfGrid, fixed: DisTheory) -> Iterator[tuple[float, int, float, float]]:
    """Largest relative difference for each parton and scale, and where it is."""
    low, high = max(_COMPARED_X[0], float(grid.x_nodes[0])), _COMPARED_X[1]
    x = torch.logspace(0, 1, 25, base=high / low, dtype=torch.float64) * low
    xf = fixed.densities_at_start(torch.empty(0, dtype=torch.float64))
    for Q in _COMPARED_GEV:
        if not float(grid.Q_nodes_GeV[0]) <= Q <= min(float(grid.Q_nodes_GeV[-1]), fixed.tables.settings.Q_max_GeV):
            continue
        evolved = torch.einsum("pxfk,fk->px", fixed.tables.evolution(x, torch.tensor([Q], dtype=torch.float64))[0], xf)
        for parton in _COMPARED_PARTONS:
            own = grid.xf(parton, x, Q)
            relative = torch.where(own > _COMPARED_FROM, evolved[PDG_IDS.index(parton)] / own - 1, 0.0).abs()
            worst = int(relative.argmax())
            yield float(relative[worst]), parton, float(x[worst]), Q
