"""A set of parton densities: what is known about it as a whole, and its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from unscatter.errors import PdfGridError
from unscatter.pdfs.grid import AlphaS, PdfGrid


@dataclass(frozen=True, kw_only=True, eq=False)
class PdfInfo:
    """What holds for all members of a set; the key of each in the ``.info`` file of LHAPDF stands in brackets."""

    description: str
    """One sentence for people (SetDesc)."""
    authors: str = ""
    """Who made it (Authors)."""
    reference: str = ""
    """Where it is described (Reference)."""
    set_index: int = 0
    """Number in the global list of LHAPDF, 0 for sets that are not in it (SetIndex)."""
    data_version: int = 1
    """Version of these numbers (DataVersion)."""
    particle: int = 2212
    """Hadron by its number, 2212 is the proton (Particle)."""
    order_qcd: int = 0
    """Order of evolution: 0 for LO, 1 for NLO, 2 for NNLO (OrderQCD)."""
    flavour_scheme: str = "variable"
    """``variable`` or ``fixed`` (FlavorScheme)."""
    num_flavours: int = 5
    """Greatest number of active flavours (NumFlavors)."""
    error_type: str = "replicas"
    """What members 1, 2, ... are (ErrorType)."""
    MZ_GeV: float = 91.1876
    """Mass of the Z, where the coupling is quoted (MZ)."""
    quark_masses_GeV: tuple[float, ...] = (0.0, 0.0, 0.0, 1.51, 4.92, 172.5)
    """Down, up, strange, charm, bottom, top (MDown, MUp, MStrange, MCharm, MBottom, MTop)."""
    alpha_s_MZ: float = 0.118
    """Strong coupling at the mass of the Z (AlphaS_MZ)."""
    alpha_s_order_qcd: int = 0
    """Order at which the coupling runs, counted like ``order_qcd`` (AlphaS_OrderQCD)."""
    alpha_s: AlphaS | None = None
    """Strong coupling at other scales (AlphaS_Qs, AlphaS_Vals); None where a set gives it in another way."""
    further: Mapping[str, Any] = field(default_factory=dict)
    """Keys without a meaning here, kept as they are."""


@dataclass(frozen=True, eq=False)
class PdfSet:
    """Parton densities with their uncertainty.

    Args:
        info: of the set as a whole.
        members: the central one first, then replicas, or other variations according to ``info.error_type``.

    Raises:
        PdfGridError: there is no member, or they differ in their partons.
    """

    info: PdfInfo
    members: tuple[PdfGrid, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        if not self.members:
            raise PdfGridError("a set of parton densities needs at least one member.")
        for number, member in enumerate(self.members):
            if member.pdg_ids != self.members[0].pdg_ids:
                raise PdfGridError(
                    f"member {number} has the partons {list(member.pdg_ids)}, and member 0 has {list(self.central.pdg_ids)}."
                )

    @property
    def central(self) -> PdfGrid:
        """Member 0."""
        return self.members[0]

    @property
    def variations(self) -> tuple[PdfGrid, ...]:
        """Members 1, 2, ..., the replicas of a set of replicas."""
        return self.members[1:]

    @classmethod
    def from_replicas(cls, info: PdfInfo, replicas: Sequence[PdfGrid]) -> PdfSet:
        """A set whose central member is the mean of replicas, which become members 1, 2, ...

        Raises:
            PdfGridError: there is no replica, or they differ in nodes or partons.

        Example:
            >>> x, Q = torch.tensor([0.1, 0.2, 0.4, 0.8]), torch.tensor([2.0, 10.0])
            >>> replicas = [PdfGrid(x, Q, (21,), torch.full((1, 4, 2), value)) for value in (1.0, 3.0)]
            >>> pdf_set = PdfSet.from_replicas(PdfInfo(description="constant densities"), replicas)
            >>> len(pdf_set.members), float(pdf_set.central.xf(21, 0.3, 5.0))
            (3, 2.0)
        """
        if not replicas:
            raise PdfGridError("a set of replicas needs at least one replica.")
        first = replicas[0]
        for number, member in enumerate(replicas, start=1):
            same = torch.equal(member.x_nodes, first.x_nodes) and torch.equal(member.Q_nodes_GeV, first.Q_nodes_GeV)
            if not same or member.pdg_ids != first.pdg_ids:
                raise PdfGridError(f"replica {number} has other nodes or partons than replica 1, so there is no mean.")
        mean = torch.stack([member.values for member in replicas]).mean(0)
        return cls(replace(info, error_type="replicas"), (replace(first, values=mean), *replicas))
