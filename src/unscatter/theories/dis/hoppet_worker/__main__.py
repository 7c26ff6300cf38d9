r"""The process in which hoppet runs: basis densities in, kernels on the nodes of a table out.

Evolution and structure functions are linear, and symmetric among massless flavours, so that the response to two densities at each node,
the gluon and the u quark, holds everything.  A density that is one at node k and zero at all others gives column k of every kernel.

hoppet keeps one global state per process, writes on C's standard output, and ends the process at an error: hence a process of its own,
which :func:`unscatter.theories.dis.building.build_tables` starts as ``python -m unscatter.theories.dis.hoppet_worker FILE``.  It reads
the settings as JSON from standard input, writes ``done/total`` lines to standard output, and the kernels to the file.

References:
    Salam and Rojo, Comput. Phys. Commun. 180 (2009) 120 (arXiv:0804.3755), section 2 (evolution, its basis in table 1);
    Karlberg et al., arXiv:2510.09310, "Hadronic Structure Functions".
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache

import hoppet  # pyright: ignore[reportMissingImports]  # an extra
import numpy as np

from unscatter.theories.dis.nodes import Array, Q_nodes, x_nodes, x_weights
from unscatter.theories.dis.settings import TableSettings

#: Position of the gluon in hoppet's arrays; a quark stands at this plus its number in the scheme of the Particle Data Group.
_GLUON = 6
_UP, _DOWN, _BOTTOM = 2, 1, 5
#: hoppet's spacing in ln 1/x, its spacing in ln ln Q2 and its order of interpolation, as its authors recommend.
_DY, _DLNLNQ, _INTERPOLATION_ORDER = 0.1, 0.025, -6
#: Scales at which coefficient functions for four and five flavours are read off, as multiples of the bottom mass.
_BELOW, _ABOVE = 0.9, 1.1
#: Squared charges summed over flavours.
_SUM_OF_CHARGES = {4: 10 / 9, 5: 11 / 9}

Kernels = dict[str, Array]


def compute(settings: TableSettings, progress: Callable[[int, int], None]) -> Kernels:
    """All kernels of a table; see :mod:`unscatter.theories.dis.operators` for their names."""
    nodes = x_nodes(settings.x_min, settings.num_x_nodes)
    total = (2 if settings.num_loops == 1 else 6) * len(nodes)
    done = iter(range(1, total + 1))

    def step() -> None:
        progress(next(done), total)

    kernels = _evolution(settings, nodes, step)
    if settings.num_loops > 1:
        kernels |= _coefficients(settings, nodes, step)
    return kernels


def _start(settings: TableSettings, Q_min: float, Q_max: float) -> None:
    # The top sets in beyond the table: hoppet then never has more than five flavours.
    hoppet.SetPoleMassVFN(settings.charm_mass_GeV, settings.bottom_mass_GeV, 10 * settings.Q_max_GeV)
    y_max = -np.log(settings.x_min) + 0.1
    hoppet.StartExtended(y_max, _DY, Q_min, Q_max, _DLNLNQ, settings.num_loops, _INTERPOLATION_ORDER, hoppet.factscheme_MSbar)


def _pre_evolve(settings: TableSettings, Q_start: float) -> None:
    hoppet.PreEvolve(settings.alpha_s_MZ, settings.MZ_GeV, settings.num_loops, 1.0, Q_start)


def _evolve_basis(parton: int, k: int, nodes: Array) -> None:
    """Evolve the density of one parton that is one at node k."""

    def density(x: float, _: float) -> list[float]:
        values = [0.0] * 13
        values[_GLUON + parton] = _basis_values(x, tuple(nodes))[k]
        return values

    hoppet.CachedEvolve(density)


@lru_cache(maxsize=4096)
def _basis_values(x: float, nodes: tuple[float, ...]) -> list[float]:
    """All basis densities at a point of hoppet's grid, which is always the same; it begins a little below the table and may end above 1."""
    return x_weights(min(x, 1.0), np.array(nodes))[0].tolist()


def _evolution(settings: TableSettings, nodes: Array, step: Callable[[], None]) -> Kernels:
    """Kernels ``evolution/nf/name``, ``[Q, x, x]``, and ``alpha_s/nf``, ``[Q]``."""
    _start(settings, 0.97 * settings.Q0_GeV, settings.Q_max_GeV)
    _pre_evolve(settings, settings.Q0_GeV)
    scales = region_scales(settings)
    kernels = {f"alpha_s/{nf}": np.array([hoppet.AlphaS(_inside(Q, nf, settings)) for Q in Qs]) for nf, Qs in scales.items()}
    columns: dict[str, list[Array]] = {}
    for k in range(len(nodes)):
        for parton in (0, _UP):
            _evolve_basis(parton, k, nodes)
            for nf, Qs in scales.items():
                table = np.array([[hoppet.Eval(x, _inside(Q, nf, settings)) for x in nodes] for Q in Qs])
                response = _gluon_response(table, nf) if parton == 0 else _quark_response(table, nf, settings.num_loops)
                for name, column in response.items():
                    columns.setdefault(f"evolution/{nf}/{name}", []).append(column)
            step()
    hoppet.DeleteAll()
    return kernels | {name: np.stack(parts, -1) for name, parts in columns.items()}


def region_scales(settings: TableSettings) -> dict[int, Array]:
    """Nodes in Q of the regions with four and with five flavours, in GeV."""
    below, above = settings.num_Q_nodes
    return {4: Q_nodes(settings.Q0_GeV, settings.bottom_mass_GeV, below), 5: Q_nodes(settings.bottom_mass_GeV, settings.Q_max_GeV, above)}


def _inside(Q: float, nf: int, settings: TableSettings) -> float:
    """The bottom mass itself belongs to both regions: step aside a little."""
    return min(Q, settings.bottom_mass_GeV * (1 - 1e-9)) if nf == 4 else max(Q, settings.bottom_mass_GeV * (1 + 1e-9))


def _quark(table: Array, flavour: int) -> tuple[Array, Array]:
    """Sum and difference of a quark and its antiquark."""
    quark, antiquark = table[..., _GLUON + flavour], table[..., _GLUON - flavour]
    return quark + antiquark, quark - antiquark


def _gluon_response(table: Array, nf: int) -> Kernels:
    kernels = {"gluon_gluon": table[..., _GLUON], "quark_gluon": _quark(table, _DOWN)[0]}
    return kernels if nf == 4 else kernels | {"bottom_gluon": _quark(table, _BOTTOM)[0]}


def _quark_response(table: Array, nf: int, num_loops: int) -> Kernels:
    (up_sum, up_difference), (down_sum, down_difference) = _quark(table, _UP), _quark(table, _DOWN)
    bottom_sum, bottom_difference = _quark(table, _BOTTOM)
    kernels = {"gluon_singlet": table[..., _GLUON], "quark_singlet": down_sum, "plus": up_sum - down_sum}
    if nf == 5:
        kernels["bottom_singlet"] = bottom_sum
    if num_loops > 1:
        kernels["minus"] = up_difference - down_difference
    if num_loops > 2:
        kernels["quark_valence"] = down_difference
        if nf == 5:
            kernels["bottom_valence"] = bottom_difference
    return kernels


def _coefficients(settings: TableSettings, nodes: Array, step: Callable[[], None]) -> Kernels:
    r"""Coefficient functions ``coefficients/nf/observable/power/name``, ``[x, x]``, of powers of :math:`\alpha_s/2\pi`.

    At the scale where the densities are given, structure functions are coefficient functions times these densities.
    """
    mass, orders = settings.bottom_mass_GeV, range(1, settings.num_loops)
    _start(settings, 0.8 * mass, 1.25 * mass)
    hoppet.StartStrFctExtended(settings.num_loops, -5, hoppet.scale_choice_Q, 1.0, True, settings.MW_GeV, settings.MZ_GeV)
    columns: dict[str, list[Array]] = {}
    for nf, Q in ((4, _BELOW * mass), (5, _ABOVE * mass)):
        _pre_evolve(settings, Q)
        coupling = hoppet.AlphaS(Q) / (2 * np.pi)
        for k in range(len(nodes)):
            for parton in (0, _UP):
                _evolve_basis(parton, k, nodes)
                hoppet.InitStrFct(settings.num_loops, True, 1.0, 1.0)
                for power in orders:
                    values = _structure_functions(nodes, Q, power) / coupling**power
                    response = _gluon_coefficients(values, nf, nodes) if parton == 0 else _quark_coefficients(values, nf, nodes, power)
                    for (observable, name), column in response.items():
                        columns.setdefault(f"coefficients/{nf}/{observable}/{power}/{name}", []).append(column)
                step()
    hoppet.DeleteAll()
    return {name: np.stack(parts, -1) for name, parts in columns.items()}


def _structure_functions(nodes: Array, Q: float, power: int) -> Array:
    """The term with this power of the coupling, ``[x, structure function]``."""
    term = (hoppet.StrFctLO, hoppet.StrFctNLO, hoppet.StrFctNNLO)[power]
    return np.array([term(x, Q, Q, Q) for x in nodes])


def _f2_and_fl(values: Array, i_f1: int, i_f2: int, nodes: Array) -> dict[str, Array]:
    """FL = F2 - 2 x F1."""
    f1, f2 = values[:, i_f1], values[:, i_f2]
    return {"F2": f2, "FL": f2 - 2 * nodes * f1}


def _gluon_coefficients(values: Array, nf: int, nodes: Array) -> dict[tuple[str, str], Array]:
    photon = _f2_and_fl(values, hoppet.iF1EM, hoppet.iF2EM, nodes)
    return {(name, "gluon"): value / _SUM_OF_CHARGES[nf] for name, value in photon.items()}


def _quark_coefficients(values: Array, nf: int, nodes: Array, power: int) -> dict[tuple[str, str], Array]:
    r"""Solve the response to u for the non-singlet coefficients :math:`C_\pm` and the pure-singlet one :math:`C_S`.

    .. math::
        F^{em} = \tfrac49 C_+ + \langle e^2\rangle C_S, \quad
        F^{W^\mp} = \tfrac12 (C_+ \pm C_-) + 2 C_S

    with the sum of squared charges of all flavours; the W couples to four flavours.  To first order in the coupling
    :math:`C_- = C_+` and :math:`C_S = 0`.
    """
    photon = _f2_and_fl(values, hoppet.iF1EM, hoppet.iF2EM, nodes)
    minus, plus = _f2_and_fl(values, hoppet.iF1Wm, hoppet.iF2Wm, nodes), _f2_and_fl(values, hoppet.iF1Wp, hoppet.iF2Wp, nodes)
    f3_minus, f3_plus = nodes * values[:, hoppet.iF3Wm], nodes * values[:, hoppet.iF3Wp]
    if power == 1:
        return {("F2", "plus"): photon["F2"] * 9 / 4, ("FL", "plus"): photon["FL"] * 9 / 4, ("xF3", "plus"): f3_minus - f3_plus}
    kernels = {("xF3", "plus"): f3_minus - f3_plus, ("xF3", "minus"): f3_minus + f3_plus}
    for name in ("F2", "FL"):
        w_sum = minus[name] + plus[name]
        singlet = (photon[name] - 4 / 9 * w_sum) / (_SUM_OF_CHARGES[nf] - 16 / 9)
        kernels |= {(name, "singlet"): singlet, (name, "plus"): w_sum - 4 * singlet, (name, "minus"): minus[name] - plus[name]}
    return kernels


def main(arguments: Sequence[str]) -> None:
    """Read settings, compute, write the kernels."""
    (path,) = arguments
    settings = TableSettings.from_mapping(json.load(sys.stdin))
    # What hoppet prints goes to standard error, which the parent shows when something goes wrong.
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    kernels = compute(settings, lambda done, total: print(f"{done}/{total}", file=reports))
    engine = np.array(f"hoppet {hoppet.__version__}")
    np.savez(path, allow_pickle=False, engine=engine, **kernels)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main(sys.argv[1:])
