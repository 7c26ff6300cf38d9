r"""Nodes of a table in x and Q, and the weights of interpolation between them.

In x the nodes are equidistant in

.. math:: u(x) = \ln\frac1x + a\,(1 - x), \qquad a = 8,

logarithmic at small x and linear at large x; :math:`x = 1` is no node.  Between nodes the density is

.. math:: x f(x) = \sum_k x f(x_k)\, \Bigl(\frac{1 - x}{1 - x_k}\Bigr)^2 L_k(u(x))

with Lagrange polynomials :math:`L_k` of degree 5 in the six nearest nodes: densities vanish at :math:`x = 1` as a power that is rarely
below 2.  In Q the nodes are Chebyshev's (with both end points) in :math:`t = \ln\ln(Q^2/\Lambda^2)`, where evolution is
nearly linear, on either side of the bottom mass; one polynomial goes through all of a side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: Degree of the polynomials in u; odd, so that the interpolant is continuous.
DEGREE = 5
#: Weight of the linear part of u.
_LINEAR = 8.0
#: Power of 1 - x in front of the polynomials.
_POWER = 2
#: Scale of ln ln Q2, in GeV; near the QCD scale, but below every Q that is asked for.
_LAMBDA_GEV = 0.25


def _u(x: Array) -> Array:
    return -np.log(x) + _LINEAR * (1 - x)


def _x_of_u(u: Array) -> Array:
    """Newton's method from below; u is convex and falls with x, so that it cannot overshoot."""
    x = np.exp(-u)
    for _ in range(80):
        x = x + (_u(x) - u) / (1 / x + _LINEAR)
    return x


def x_nodes(x_min: float, num_nodes: int) -> Array:
    """Increasing nodes ``[num_nodes]`` from ``x_min`` to a little below 1.

    Example:
        >>> x_nodes(1e-5, 50)[[0, 20, 49]].round(5).tolist()
        [1e-05, 0.02078, 0.95675]
    """
    spacing = _u(np.array([x_min])) / num_nodes
    nodes = _x_of_u(spacing * np.arange(num_nodes, 0, -1))
    nodes[0] = x_min
    return nodes


def x_weights(x: ArrayLike, nodes: Array) -> Array:
    """Weights ``[points, nodes]`` of the values at the nodes, for points between the lowest node and 1.

    Example:
        >>> nodes = x_nodes(1e-5, 50)
        >>> density = lambda x: x**0.6 * (1 - x) ** 3.5
        >>> x = np.array([1e-4, 0.02, 0.5])
        >>> bool(np.allclose(x_weights(x, nodes) @ density(nodes), density(x), rtol=1e-5))
        True
    """
    x, num_nodes = np.atleast_1d(np.asarray(x, np.float64)), len(nodes)
    spacing = _u(nodes[:1]) / num_nodes
    # Position counted from the highest node downwards.
    position = _u(x) / spacing - 1
    first = np.clip(np.floor(position).astype(int) - DEGREE // 2, 0, num_nodes - 1 - DEGREE)
    columns = first[:, None] + np.arange(DEGREE + 1)
    offsets = np.arange(DEGREE + 1)
    ratios = (position[:, None, None] - columns[:, None, :]) / np.where(np.eye(DEGREE + 1), 1, offsets[:, None] - offsets)
    lagrange = np.where(np.eye(DEGREE + 1), 1, ratios).prod(-1)
    weights = np.zeros((len(x), num_nodes))
    np.put_along_axis(weights, num_nodes - 1 - columns, lagrange, axis=1)
    return weights * ((1 - x[:, None]) / (1 - nodes)) ** _POWER


def Q_nodes(low_GeV: float, high_GeV: float, num_nodes: int) -> Array:
    """Increasing scales ``[num_nodes]``, both ends included, in GeV."""
    t_low, t_high = _t(np.array([low_GeV, high_GeV]))
    angles = np.pi * np.arange(num_nodes) / (num_nodes - 1)
    nodes = _LAMBDA_GEV * np.exp(np.exp((t_low + t_high) / 2 - (t_high - t_low) / 2 * np.cos(angles)) / 2)
    nodes[[0, -1]] = low_GeV, high_GeV
    return nodes


def Q_weights(Q_GeV: ArrayLike, nodes: Array) -> Array:
    """Weights ``[points, nodes]`` of the values at :func:`Q_nodes`, by the barycentric formula.

    References:
        Berrut and Trefethen, SIAM Review 46 (2004) 501, eqs. (4.2) and (5.4).

    Example:
        >>> nodes = Q_nodes(5.0, 1e4, 12)
        >>> bool(np.allclose(Q_weights([91.2], nodes) @ (1 / np.log(nodes / 0.2)), 1 / np.log(91.2 / 0.2), rtol=1e-7))
        True
    """
    signs = (-1.0) ** np.arange(len(nodes))
    signs[[0, -1]] /= 2
    distance = _t(np.atleast_1d(np.asarray(Q_GeV, np.float64)))[:, None] - _t(nodes)
    hit = np.abs(distance) < 1e-14
    terms = signs / np.where(hit, 1, distance)
    weights = terms / terms.sum(1, keepdims=True)
    return np.where(hit.any(1, keepdims=True), hit, weights)


def _t(Q_GeV: Array) -> Array:
    return np.log(2 * np.log(Q_GeV / _LAMBDA_GEV))
