"""A functional form with a handful of parameters, in the habit of the HERAPDF fits."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unscatter.pdfs.components import Norms
from unscatter.physics.parton_shapes import bernstein_polynomial, power_shape

#: Allowed range and starting value of each parameter: valence quarks rise as x^0.5 (Regge behaviour) and fall with the powers of the
#: counting rules, softened by evolution; the sea is nearly flat and steep, and alike in u and d until the data tell otherwise.
_PARAMETERS = {
    "uv_b": (0.3, 0.7, 0.5),
    "uv_c": (2.0, 6.0, 3.6),
    "uv_d": (-0.9, 14.0, 4.0),
    "uv_e": (0.0, 20.0, 4.0),
    "dv_b": (0.3, 0.7, 0.5),
    "dv_c": (2.0, 8.0, 4.2),
    "dv_d": (-0.9, 9.0, 2.0),
    "g_b": (-0.6, 0.8, 0.0),
    "g_c": (2.0, 14.0, 5.0),
    "g_d": (0.0, 4.0, 1.0),
    "g_e": (0.0, 16.0, 1.0),
    "ubar_b": (-0.5, 0.3, -0.15),
    "ubar_c": (3.0, 16.0, 7.0),
    "ubar_d": (0.0, 4.0, 1.0),
    "ubar_e": (0.0, 16.0, 2.0),
    "dbar_b": (-0.5, 0.3, -0.15),
    "dbar_c": (3.0, 16.0, 7.0),
    "dbar_d": (0.0, 4.0, 1.0),
    "dbar_e": (0.0, 16.0, 2.0),
    "strange": (0.0, 0.5, 0.2),
    "charm": (0.0, 0.2, 0.03),
}
#: Share of gluons, and of an antiquark flavour, in the momentum that valence quarks leave, where one starts: with the ratios above, u and d
#: alike, they add up to one.
_GLUON_SHARE = 0.7
_ANTIQUARK_SHARE = (1 - _GLUON_SHARE) / (2 + _PARAMETERS["strange"][2] + _PARAMETERS["charm"][2] / 2)
#: Polynomial coefficients, and their range where densities need not be positive.
_COEFFICIENTS, _EITHER_SIGN = [name for name in _PARAMETERS if name[-2:] in ("_d", "_e")], (-20.0, 20.0)


@dataclass(frozen=True)
class Functional:
    r"""Densities as powers times polynomials; sum rules and positivity are exact.

    .. math::
        x u_v &= A_{u_v} x^{B_{u_v}} (1-x)^{C_{u_v}} (1 + D_{u_v} x + E_{u_v} x^2), &
        x d_v &= A_{d_v} x^{B_{d_v}} (1-x)^{C_{d_v}} (1 + D_{d_v} x), &
        x a &= A_a x^{B_a} (1-x)^{C_a} \left((1-t)^2 + 2 D_a t (1-t) + E_a t^2\right), \quad a = g, \bar u, \bar d, \quad t = \sqrt x, &
        s &= \bar s = r_s \bar d, & c + \bar c &= r_c \bar d

    Numbers of valence quarks fix :math:`A_{u_v}, A_{d_v}`; gluon, :math:`\bar u` and :math:`\bar d` share the momentum that they leave.
    Valence quarks are those of HERAPDF2.0 (arXiv:1506.06042, eq. 27 ff.).  Gluon and sea have Bernstein polynomials in :math:`\sqrt x` in
    the manner of CT14 (arXiv:1506.07443), of second order, and :math:`\bar u` and :math:`\bar d` are not tied to each other at small x,
    where a proton alone cannot tell them apart but proton and neutron together do.  The range of the valence powers at small x is that of
    Regge theory, 0.5 within 0.2, which inclusive events cannot tell.

    Args:
        sum_rules: whether number and momentum sum rules hold; otherwise the norms are parameters of their own.
        positivity: whether polynomials are confined to positive densities; otherwise their coefficients may have either sign.

    Example:
        >>> form = Functional()
        >>> form(torch.tensor(form.start), torch.tensor([0.1, 0.5])).shape
        torch.Size([8, 2])
    """

    sum_rules: bool = True
    positivity: bool = True
    name: str = field(default="functional", init=False)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Powers, coefficients and ratios, and the norms where they are free."""
        shapes = {name: (low, high) for name, (low, high, _) in _PARAMETERS.items()}
        if not self.positivity:
            shapes |= dict.fromkeys(_COEFFICIENTS, _EITHER_SIGN)
        return shapes | self._norms.ranges

    @property
    def fractions(self) -> tuple[str, ...]:
        """Shares of the gluon and of both antiquarks in the momentum that valence quarks leave; strange and charm go with dbar."""
        return self._norms.fractions

    @property
    def start(self) -> tuple[float, ...]:
        """A proton as one would guess it."""
        return (*(start for _, _, start in _PARAMETERS.values()), *self._norms.start)

    @property
    def _norms(self) -> Norms:
        strange, charm = (_ANTIQUARK_SHARE * ratio for ratio in (_PARAMETERS["strange"][2], _PARAMETERS["charm"][2] / 2))
        shares = (_GLUON_SHARE, _ANTIQUARK_SHARE, _ANTIQUARK_SHARE, strange, charm)
        return Norms(self.sum_rules, ("g", "ubar", "dbar", "dbar", "dbar"), shares)

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Momentum densities, ``[..., size]`` to ``[..., 8, points]``."""
        shape, norms = parameters.split([len(_PARAMETERS), self._norms.size], -1)
        return self._norms(lambda points: _shapes(shape, points), norms, x)


def _shapes(parameters: Tensor, x: Tensor) -> Tensor:
    """Shapes of the components, ``[..., 21]`` to ``[..., 7, points]``."""
    p = dict(zip(_PARAMETERS, parameters.unbind(-1), strict=True))
    uv = power_shape(x, p["uv_b"], p["uv_c"], torch.stack([p["uv_d"], p["uv_e"]], -1))
    dv = power_shape(x, p["dv_b"], p["dv_c"], p["dv_d"].unsqueeze(-1))
    g, ubar, dbar = (_positive_shape(x, *(p[f"{name}_{letter}"] for letter in "bcde")) for name in ("g", "ubar", "dbar"))
    strange, charm = 2 * p["strange"].unsqueeze(-1) * dbar, p["charm"].unsqueeze(-1) * dbar
    return torch.stack([uv, dv, g, ubar, dbar, strange, charm], -2)


def _positive_shape(x: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor) -> Tensor:
    return power_shape(x, b, c) * bernstein_polynomial(x, torch.stack([d, e], -1))
