"""A slow sampler that is obviously right: loops, double precision and bisection.  Tests compare the fast one with it."""

from __future__ import annotations

from itertools import product

import numpy as np


def reference_sample(values: np.ndarray, axes: list[np.ndarray], uniforms: np.ndarray) -> np.ndarray:
    """Rosenblatt's map of the multilinear interpolant of one density, event by event and coordinate by coordinate.

    Args:
        values: node values, ``[*nodes]``.
        axes: nodes of each axis.
        uniforms: ``[events, dimensions]``.

    Returns:
        Events, ``[events, dimensions]``.
    """
    return np.array([_one_event(values.astype(np.float64), axes, point) for point in uniforms])


def reference_distribution(values: np.ndarray, axes: list[np.ndarray], event: np.ndarray) -> np.ndarray:
    """The uniform numbers of one event: the conditional distribution functions at its coordinates, ``[dimensions]``."""
    known: list[float] = []
    found = []
    for d, position in enumerate(event):
        line = _conditional(values, axes, known)
        found.append(_integral(line, axes[d], float(position)) / _integral(line, axes[d], float(axes[d][-1])))
        known.append(float(position))
    return np.array(found)


def _one_event(values: np.ndarray, axes: list[np.ndarray], point: np.ndarray) -> list[float]:
    known: list[float] = []
    for d, uniform in enumerate(point):
        line = _conditional(values, axes, known)
        known.append(_bisect(line, axes[d], float(uniform) * _integral(line, axes[d], float(axes[d][-1]))))
    return known


def _conditional(values: np.ndarray, axes: list[np.ndarray], known: list[float]) -> np.ndarray:
    """Density at the nodes of the next axis, earlier coordinates interpolated and later ones integrated out."""
    for axis in reversed(axes[len(known) + 1 :]):
        values = np.trapezoid(values, axis, axis=-1)
    cells = [min(int(np.searchsorted(axis, x, side="right")) - 1, len(axis) - 2) for axis, x in zip(axes, known, strict=False)]
    line = np.zeros(values.shape[-1])
    for corner in product((0, 1), repeat=len(known)):
        weight = 1.0
        for axis, cell, upper, x in zip(axes, cells, corner, known, strict=False):
            fraction = (x - axis[cell]) / (axis[cell + 1] - axis[cell])
            weight *= fraction if upper else 1 - fraction
        line += weight * values[tuple(cell + upper for cell, upper in zip(cells, corner, strict=True))]
    return line


def _integral(line: np.ndarray, axis: np.ndarray, end: float) -> float:
    """Integral of a piecewise linear function from the first node to ``end``."""
    total = 0.0
    for k in range(len(axis) - 1):
        width = axis[k + 1] - axis[k]
        part = min(max(end - axis[k], 0.0), width)
        total += part * line[k] + part**2 / (2 * width) * (line[k + 1] - line[k])
    return total


def _bisect(line: np.ndarray, axis: np.ndarray, target: float) -> float:
    low, high = float(axis[0]), float(axis[-1])
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _integral(line, axis, middle) < target else (low, middle)
    return (low + high) / 2
