"""A fit of parton densities as a set in the format of the LHAPDF library."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unscatter.errors import SettingsError
from unscatter.pdfs import PDG_IDS, AlphaS, PdfGrid, PdfInfo, PdfSet, write_lhapdf
from unscatter.pipeline import Problem
from unscatter.report.replicas import replica_parameters
from unscatter.runs import RunDirectory
from unscatter.theories.dis import DisTables, DisTheory
from unscatter.theories.dis.nodes import Q_nodes

#: Scales whose operator of evolution is held at a time, which bounds it to some 15 MB.
_SCALES_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class ExportNodes:
    """Nodes of exported grids.

    Raises:
        SettingsError: too few nodes.

    Example:
        >>> ExportNodes(num_Q=(4, 5)).num_Q
        (4, 5)
    """

    num_x: int = 100
    """In x: half of them logarithmic up to 0.1, the others linear up to 1."""
    num_Q: tuple[int, int] = (9, 28)
    """In Q below and above the bottom mass, which stands in both; closer together towards the ends of either region."""

    def __post_init__(self) -> None:
        if self.num_x < 8 or min(self.num_Q) < 2:
            raise SettingsError(
                f"an exported grid needs at least 8 nodes in x and 2 in Q on either side, got {self.num_x} and {self.num_Q}."
            )

    def x(self, tables: DisTables) -> Tensor:
        """Nodes in x, float64."""
        low, turn = tables.settings.x_min, max(0.1, 2 * tables.settings.x_min)
        half = self.num_x // 2
        logarithmic = torch.logspace(0, 1, half + 1, base=turn / low, dtype=torch.float64)[:-1] * low
        return torch.cat([logarithmic, torch.linspace(turn, 1, self.num_x - half, dtype=torch.float64)])

    def Q_GeV(self, tables: DisTables) -> tuple[Tensor, Tensor]:
        """Nodes in Q below and above the bottom mass, float64."""
        settings, (num_below, num_above) = tables.settings, self.num_Q
        below = Q_nodes(settings.Q0_GeV, settings.bottom_mass_GeV, num_below)
        above = Q_nodes(settings.bottom_mass_GeV, settings.Q_max_GeV, num_above)
        return torch.from_numpy(below), torch.from_numpy(above)


def export_lhapdf(
    run: RunDirectory, problem: Problem, folder: str | Path, *, nodes: ExportNodes | None = None, authors: str = "", reference: str = ""
) -> Path:
    """Write the result of a run as a new set: the mean of the replicas as member 0, the replicas as members 1, 2, ...

    A run with a single fit gives member 0 alone, which has no error.

    Args:
        run: a finished run.
        problem: what it fitted, deep-inelastic.
        folder: where the set will stand; its name becomes that of the set.
        nodes: of the grids.
        authors: for the ``.info`` file.
        reference: for the ``.info`` file.

    Returns:
        The folder.

    Raises:
        SettingsError: the problem has no parton densities.
        RunError: the run has no result, or one of another problem.
        PdfGridError: there is a set of that name already, or the name is none for a set.
    """
    theory = problem.pipeline.theory
    if not isinstance(theory, DisTheory):
        raise SettingsError(
            f"the run '{run.path}' fits the problem '{problem.name}', which has no parton densities to export: that needs a run of the "
            "problem 'dis'."
        )
    replicas = replica_parameters(run, problem.space.names)
    description = f"Fit '{run.path.resolve().name}': {problem.description}; made with unscatter"
    info = PdfInfo(description=description, authors=authors, reference=reference)
    return write_lhapdf(folder, pdf_set_of(theory, replicas, info, nodes=nodes))


def pdf_set_of(theory: DisTheory, replicas: Tensor, info: PdfInfo, *, nodes: ExportNodes | None = None) -> PdfSet:
    """Evolve fitted densities and put them on grids in x and Q.

    Args:
        theory: whose parameters were fitted.
        replicas: parameters, ``[replica, size]``.
        info: words about the set; order, masses and coupling are those of the theory's tables.
        nodes: of the grids.

    Example:
        >>> from unscatter.problems import dis
        >>> from unscatter.theories.dis import Beams, DisChannel
        >>> proton = DisChannel(name="proton", target="proton", beams=Beams(18.0, 275.0), luminosity_inv_pb=0.1, exchange="photon")
        >>> problem = dis([proton], nodes=(13, 9))
        >>> start, nodes = torch.tensor([problem.start]), ExportNodes(num_x=30, num_Q=(4, 6))
        >>> pdf_set = pdf_set_of(problem.pipeline.theory, start, PdfInfo(description="the start of fits"), nodes=nodes)
        >>> len(pdf_set.members), pdf_set.info.error_type, bool(pdf_set.central.xf(21, 0.1, 91.2) > 0.5)
        (1, 'unknown', True)
    """
    nodes = ExportNodes() if nodes is None else nodes
    grids = _grids(theory, replicas, nodes)
    complete = _complete(info, theory.tables, nodes)
    # One member has no error; LHAPDF's word for sets without is 'unknown'.
    return PdfSet.from_replicas(complete, grids) if len(grids) > 1 else PdfSet(replace(complete, error_type="unknown"), tuple(grids))


def _grids(theory: DisTheory, replicas: Tensor, nodes: ExportNodes) -> list[PdfGrid]:
    tables = theory.tables
    with torch.no_grad():
        start = theory.densities_at_start(replicas.double())
    x, (below, above) = nodes.x(tables), nodes.Q_GeV(tables)
    blocks = [(block, True) for block in below.split(_SCALES_AT_ONCE)] + [(block, False) for block in above.split(_SCALES_AT_ONCE)]
    values = torch.empty(len(replicas), len(PDG_IDS), len(x), len(below) + len(above), dtype=torch.float64)
    first = 0
    for block, is_below in blocks:
        operator = tables.evolution(x, block, below_threshold=is_below)
        values[..., first : first + len(block)] = torch.einsum("qpxfk,rfk->rpxq", operator, start)
        first += len(block)
    return [PdfGrid(x, torch.cat([below, above]), PDG_IDS, own) for own in values]


def _complete(info: PdfInfo, tables: DisTables, nodes: ExportNodes) -> PdfInfo:
    settings, (below, above) = tables.settings, nodes.Q_GeV(tables)
    coupling = torch.cat([tables.alpha_s(below, below_threshold=True), tables.alpha_s(above)])
    return replace(
        info,
        order_qcd=settings.num_loops - 1,
        MZ_GeV=settings.MZ_GeV,
        quark_masses_GeV=(0.0, 0.0, 0.0, settings.charm_mass_GeV, settings.bottom_mass_GeV, settings.top_mass_GeV),
        alpha_s_MZ=settings.alpha_s_MZ,
        alpha_s_order_qcd=settings.num_loops - 1,
        alpha_s=AlphaS(torch.cat([below, above]), coupling),
    )
