"""What people look at in a fit of parton densities: the densities at some scales, and the structure functions that events fix."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unscatter.pdfs import FIT_FLAVOURS, PDG_IDS
from unscatter.pipeline import CurveFamily, Measurement
from unscatter.theories.dis import DisTheory
from unscatter.theories.dis.hera import hera_operator, load_hera

#: Points in x, from below what colliders reach to where densities vanish.
_X = torch.cat([torch.logspace(-3.3, -1, 30, dtype=torch.float64)[:-1], torch.linspace(0.1, 0.9, 33, dtype=torch.float64)])
#: Scale in GeV of the densities that are shown beside those at the starting scale; in the middle of what colliders measure.
_SCALE_GEV = 10.0
#: Below this Q2 in GeV2 the mass of the charm quark matters.
_HERA_Q2_MIN = 10.0
#: Names of partons by their PDG number.
PARTON_NAMES = {21: "g", 1: "d", 2: "u", 3: "s", 4: "c", 5: "b", -1: "dbar", -2: "ubar", -3: "sbar", -4: "cbar", -5: "bbar"}
#: Order in which people expect them.
_SHOWN = (21, 2, 1, -2, -1, 3, 4, 5)


def parton_curves(theory: DisTheory) -> tuple[CurveFamily, ...]:
    """Densities at the starting scale and at 10 GeV, and F2 of photon exchange on proton and neutron at 10 GeV.

    Args:
        theory: whose parameters the curves are functions of.
    """
    tables = theory.tables
    start = f"parton densities at Q = {tables.settings.Q0_GeV:g} GeV"
    evolved = f"parton densities at Q = {_SCALE_GEV:g} GeV"
    functions = f"F2 (photon) at Q = {_SCALE_GEV:g} GeV"
    points = _X[tables.settings.x_min <= _X]
    operators = tables.evolution(points, torch.tensor([_SCALE_GEV], dtype=torch.float64))[0]
    shown = operators[[PDG_IDS.index(parton) for parton in _SHOWN]]
    targets = ("proton", "neutron")
    F2 = torch.stack([tables.structure_function("F2_em", points, torch.full_like(points, _SCALE_GEV**2), target) for target in targets])
    return (
        _family(points, functions, [f"F2 {target}" for target in targets], "F2", _linear(theory, F2)),
        _family(points, evolved, [PARTON_NAMES[parton] for parton in _SHOWN], "x f(x)", _linear(theory, shown)),
        _family(points, start, FIT_FLAVOURS, "x f(x)", lambda parameters: theory.densities_at_start(parameters, points)),
    )


def hera_measurement(theory: DisTheory, name: str) -> Measurement:
    """One set of HERA's combined reduced cross sections, where a massless calculation can describe them.

    Args:
        theory: whose parameters predict it.
        name: one of ``HERA_SETS``.

    Raises:
        MissingExtraError: the data are not installed.
        DataError: an unknown set.
    """
    data = load_hera(name).cut(Q2_min=_HERA_Q2_MIN)
    predict = _linear(theory, hera_operator(data, theory.tables))
    coordinates = {"x": data.x, "Q2": data.Q2, "y": data.y}
    return Measurement(data.name, data.values, data.covariance, predict, coordinates, "reduced cross section")


def _family(points: Tensor, name: str, curves: Sequence[str], label: str, function: Callable[[Tensor], Tensor]) -> CurveFamily:
    return CurveFamily(name, tuple(curves), points, function, abscissa_label="x", label=label, logarithmic=True)


def _linear(theory: DisTheory, operator: Tensor) -> Callable[[Tensor], Tensor]:
    """A linear function of the densities at the starting scale, from its operator ``[*out, 8, x nodes]``."""
    shape, matrix = operator.shape[:-2], operator.flatten(-2).flatten(0, -2).T

    def function(parameters: Tensor) -> Tensor:
        xf = theory.densities_at_start(parameters)
        return (xf.flatten(-2) @ matrix.to(xf)).unflatten(-1, shape)

    return function
