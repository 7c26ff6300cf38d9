r"""Functional forms of parton densities."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def power_shape(x: Tensor, b: Tensor, c: Tensor, polynomial: Tensor | None = None) -> Tensor:
    r"""Behaviour at both ends of the range, times a polynomial between them.

    .. math:: x f(x) \propto x^b (1 - x)^c \left(1 + \sum_{k \ge 1} a_k x^k\right)

    Args:
        x: momentum fractions in (0, 1], ``[points]``.
        b: power at small x, ``[...]``.
        c: power at large x, ``[...]``.
        polynomial: :math:`a_1, a_2, ...`, ``[..., order]``; none when None.

    Returns:
        ``[..., points]``.

    References:
        H1 and ZEUS, arXiv:1506.06042, eq. 27 (HERAPDF2.0).

    Example:
        >>> power_shape(torch.tensor([0.25, 1.0]), torch.tensor(0.5), torch.tensor(1.0)).tolist()
        [0.375, 0.0]
    """
    powers = torch.exp(b.unsqueeze(-1) * torch.log(x) + c.unsqueeze(-1) * torch.log1p(-x.clamp(max=1 - 1e-7)))
    powers = torch.where(x < 1, powers, 0.0)
    if polynomial is None:
        return powers
    exponents = torch.arange(1, polynomial.shape[-1] + 1, dtype=x.dtype, device=x.device)
    return powers * (1 + polynomial @ x.pow(exponents.unsqueeze(-1)))


def bernstein_polynomial(x: Tensor, coefficients: Tensor) -> Tensor:
    r"""Polynomial in :math:`t = \sqrt x` that is positive wherever all its coefficients are, and 1 at x = 0.

    .. math:: P(t) = (1 - t)^n + \sum_{k=1}^n e_k \binom nk t^k (1 - t)^{n - k}

    With all coefficients 1 it is 1 everywhere; :math:`e_n` is its value at x = 1, and :math:`n (e_1 - 1)` its slope by t at x = 0.

    Args:
        x: momentum fractions in [0, 1], ``[points]``.
        coefficients: :math:`e_1, \dots, e_n`, ``[..., order]``.

    Returns:
        ``[..., points]``.

    References:
        S. Dulat et al., arXiv:1506.07443 (CT14), for Bernstein polynomials in :math:`\sqrt x` in parton densities.

    Example:
        >>> bernstein_polynomial(torch.tensor([0.0, 0.25, 1.0]), torch.tensor([1.0, 3.0])).tolist()
        [1.0, 1.5, 3.0]
    """
    order, t = coefficients.shape[-1], x.sqrt()
    basis = torch.stack([math.comb(order, k) * t**k * (1 - t) ** (order - k) for k in range(order + 1)])
    return basis[0] + coefficients @ basis[1:]
