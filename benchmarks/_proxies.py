"""Exact pseudo-data and maximum-likelihood fits of the proxy problems: what the adversarial fits are measured against.

Events are drawn from the densities themselves, as mixtures of beta distributions, not from an interpolant on a grid; so the bias of the
grid is part of what the benchmarks see.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import beta as beta_function
from torch import Tensor

from unscatter.arrays import Events
from unscatter.physics.proxies import PROXY1D_TRUTH, PROXY2D_TRUTH, proxy1d_cross_sections, proxy2d_density

PROXY1D_RANGE = (0.1, 1 - 1e-6)
PROXY2D_RANGE = (0.001, 0.999)


def draw_proxy2d(num_events: int, seed: int) -> Events:
    """Draw from x^a (1-x)^b y^c (1-y)^d (1 + k x y): a mixture of two products of beta distributions."""
    random = np.random.default_rng([seed, 2])
    a, b, c, d, k = PROXY2D_TRUTH
    plain = beta_function(a + 1, b + 1) * beta_function(c + 1, d + 1)
    correlated = k * beta_function(a + 2, b + 1) * beta_function(c + 2, d + 1)

    def draw(n: int) -> np.ndarray:
        shift = (random.random(n) < correlated / (plain + correlated)).astype(float)
        return np.stack([random.beta(a + 1 + shift, b + 1), random.beta(c + 1 + shift, d + 1)], -1)

    return Events(_inside(draw, num_events, *PROXY2D_RANGE), ("x", "y"))


def draw_proxy1d(num_events: int, seed: int) -> dict[str, Events]:
    """Draw both channels of the one-dimensional proxy with Poisson counts around ``num_events`` each."""
    random = np.random.default_rng([seed, 1])
    u_norm, u_a, u_b, d_norm, d_a, d_b = PROXY1D_TRUTH
    u, d = u_norm * beta_function(u_a + 1, u_b + 1), d_norm * beta_function(d_a + 1, d_b + 1)
    samples = {}
    for channel, share in (("proton", 4 * u / (4 * u + d)), ("neutron", u / (4 * d + u))):

        def draw(n: int, share: float = share) -> np.ndarray:
            from_u = random.random(n) < share
            return random.beta(np.where(from_u, u_a, d_a) + 1, np.where(from_u, u_b, d_b) + 1)[:, None]

        samples[channel] = Events(_inside(draw, int(random.poisson(num_events)), *PROXY1D_RANGE), ("x",))
    return samples


def _inside(draw: Callable[[int], np.ndarray], num_events: int, low: float, high: float) -> Tensor:
    parts, found = [], 0
    while found < num_events:
        sample = draw(2 * num_events).astype(np.float32)
        parts.append(sample[((sample > low) & (sample < high)).all(-1)])
        found += len(parts[-1])
    return torch.from_numpy(np.concatenate(parts)[:num_events])


def fit_proxy2d(events: Events) -> Tensor:
    """Maximum-likelihood estimate from exact densities, ``[5]``."""
    x, y = events.values.double().unbind(-1)
    nodes, weights = _graded_nodes(*PROXY2D_RANGE)

    def loss(p: Tensor) -> Tensor:
        density = proxy2d_density(nodes, nodes, p)
        norm = weights @ density @ weights
        logs = p[0] * x.log() + p[1] * torch.log1p(-x) + p[2] * y.log() + p[3] * torch.log1p(-y) + torch.log1p(p[4] * x * y)
        return torch.log(norm) - logs.mean()

    return _newton(loss, torch.tensor(PROXY2D_TRUTH, dtype=torch.float64))


def fit_proxy1d(events: dict[str, Events], luminosity: tuple[float, ...]) -> Tensor:
    """Extended maximum-likelihood estimate from exact densities and both counts, ``[6]``."""
    nodes, weights = _graded_nodes(*PROXY1D_RANGE)
    samples = [sample.values[:, 0].double() for sample in events.values()]
    total = sum(len(sample) for sample in samples)

    def loss(p: Tensor) -> Tensor:
        expected = (proxy1d_cross_sections(nodes, p) @ weights) * p.new_tensor(luminosity)
        logs = [torch.log(proxy1d_cross_sections(x, p)[channel]).sum() for channel, x in enumerate(samples)]
        return (expected.sum() - sum(logs, torch.zeros((), dtype=p.dtype))) / total

    return _newton(loss, torch.tensor(PROXY1D_TRUTH, dtype=torch.float64))


def _graded_nodes(low: float, high: float, n: int = 400) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes, crowded at both ends by x -> x^2 (3 - 2x), and their weights."""
    t, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(n))
    s = (t + 1) / 2
    return low + (high - low) * s**2 * (3 - 2 * s), (high - low) * 6 * s * (1 - s) * w / 2


def _newton(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Newton steps to the minimum, halved until they go down."""
    p = start
    for _ in range(30):
        gradient, hessian = torch.func.grad(loss)(p), torch.func.hessian(loss)(p)
        step = torch.linalg.solve(hessian, gradient)
        while not bool(loss(p - step) <= loss(p)) and float(step.abs().max()) > 1e-12:
            step = step / 2
        p = p - step
        if float(step @ hessian @ step) < 1e-12:
            break
    return p
