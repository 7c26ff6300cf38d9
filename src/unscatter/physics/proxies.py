r"""The two proxy problems: toy parton densities with known truths.

Both are unnormalised densities of the momentum fraction, written for the study of solvers: every moment, the likelihood and the Fisher
information are known exactly, so that a fit can be judged against the statistical limit.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Parameters :math:`(p_0, ..., p_5)` of the one-dimensional proxy that its pseudo-data are made with.
PROXY1D_TRUTH = (2.1875, -0.5, 3.0, 1.09375, -0.5, 4.0)
PROXY1D_LOW = (0.0, -1.0, 0.0, 0.0, -1.0, 0.0)
PROXY1D_HIGH = (3.0, 1.0, 5.0, 3.0, 1.0, 5.0)

#: Parameters :math:`(p_0, ..., p_4)` of the two-dimensional proxy that its pseudo-data are made with.
PROXY2D_TRUTH = (0.5, 3.0, 0.3, 4.0, 0.75)
PROXY2D_LOW = (-0.5, 2.75, 0.0, 3.0, 0.0)
PROXY2D_HIGH = (1.0, 4.0, 1.3, 4.5, 1.5)
#: Where fits of the two-dimensional proxy usually start, as fractions of the box.
PROXY2D_START_FRACTION = (0.45, 0.35, 0.35, 0.55, 0.35)


def power_law(x: Tensor, norm: Tensor, a: Tensor, b: Tensor) -> Tensor:
    r"""Toy parton density :math:`f(x) = N x^a (1-x)^b`.

    Args:
        x: momentum fraction in (0, 1), broadcast against the parameters.
        norm: :math:`N \ge 0`.
        a: exponent at small x.
        b: exponent at large x.

    Example:
        >>> power_law(torch.tensor(0.25), torch.tensor(2.0), torch.tensor(-0.5), torch.tensor(1.0))
        tensor(3.)
    """
    return norm * torch.exp(a * torch.log(x) + b * torch.log1p(-x))


def proxy1d_cross_sections(x: Tensor, physics_params: Tensor) -> Tensor:
    r"""Cross sections of the one-dimensional proxy on proton and neutron.

    .. math::
        u(x) = p_0 x^{p_1} (1-x)^{p_2}, \quad d(x) = p_3 x^{p_4} (1-x)^{p_5}, \qquad
        \sigma_\mathrm{proton} = 4u + d, \quad \sigma_\mathrm{neutron} = 4d + u

    The factors are the squared quark charges in units of 1/9, with isospin symmetry for the neutron.

    Args:
        x: momentum fraction, ``[nodes]``.
        physics_params: ``[..., 6]``.

    Returns:
        ``[..., 2, nodes]``, proton first.
    """
    u_norm, u_a, u_b, d_norm, d_a, d_b = physics_params.unsqueeze(-2).unbind(-1)
    u, d = power_law(x, u_norm, u_a, u_b), power_law(x, d_norm, d_a, d_b)
    return torch.stack([4 * u + d, 4 * d + u], -2)


def proxy2d_density(x: Tensor, y: Tensor, physics_params: Tensor) -> Tensor:
    r"""Density of the two-dimensional proxy.

    .. math:: \rho(x, y) = x^{p_0} (1-x)^{p_1}\, y^{p_2} (1-y)^{p_3}\, (1 + p_4 x y)

    Args:
        x: first observable in (0, 1), ``[nx]``.
        y: second observable in (0, 1), ``[ny]``.
        physics_params: ``[..., 5]``.

    Returns:
        ``[..., nx, ny]``.
    """
    x_a, x_b, y_a, y_b, correlation = physics_params.unsqueeze(-2).unbind(-1)
    one = torch.ones_like(x_a)
    separable = power_law(x, one, x_a, x_b).unsqueeze(-1) * power_law(y, one, y_a, y_b).unsqueeze(-2)
    return separable * (1 + correlation.unsqueeze(-1) * (x.unsqueeze(-1) * y))


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    r"""Logarithm of the Euler integral :math:`B(a, b) = \int_0^1 t^{a-1} (1-t)^{b-1} dt`."""
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def proxy2d_norm(physics_params: Tensor) -> Tensor:
    r"""Integral of the two-dimensional proxy over the whole unit square.

    .. math:: B(p_0{+}1, p_1{+}1) B(p_2{+}1, p_3{+}1) + p_4 B(p_0{+}2, p_1{+}1) B(p_2{+}2, p_3{+}1)

    Args:
        physics_params: ``[..., 5]``.

    Returns:
        ``[...]``.

    Example:
        >>> round(float(proxy2d_norm(torch.tensor([0.505, 3.0, 0.299, 4.005, 0.75]))), 4)
        0.0112
    """
    a, b, c, d, correlation = physics_params.unbind(-1)
    plain = torch.exp(log_beta(a + 1, b + 1) + log_beta(c + 1, d + 1))
    return plain + correlation * torch.exp(log_beta(a + 2, b + 1) + log_beta(c + 2, d + 1))
