"""Proxy densities against closed forms."""

import pytest
import torch

from unscatter.physics.proxies import (
    PROXY1D_TRUTH,
    PROXY2D_HIGH,
    PROXY2D_LOW,
    PROXY2D_TRUTH,
    log_beta,
    proxy1d_cross_sections,
    proxy2d_density,
    proxy2d_norm,
)

torch_float = torch.float64


def fine_axis(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Midpoints graded towards both ends of (0, 1), and their weights."""
    s = (torch.arange(n, dtype=torch_float) + 0.5) / n
    return s**2 * (3 - 2 * s), 6 * s * (1 - s) / n


def test_proxy2d_norm_equals_quadrature() -> None:
    x, w = fine_axis(3000)
    p = torch.tensor([PROXY2D_TRUTH, (-0.3, 3.5, 0.9, 3.2, 1.4)], dtype=torch_float)
    numeric = torch.einsum("bxy,x,y->b", proxy2d_density(x, x, p), w, w)
    torch.testing.assert_close(numeric, proxy2d_norm(p), rtol=1e-5, atol=0)


def test_norm_and_moments_of_proxy2d_at_a_known_point() -> None:
    """At box coordinates (0.67, 0.20, 0.23, 0.67, 0.50), on [0.001, 0.999]^2: the numbers quoted for the benchmark density."""
    fraction = torch.tensor([0.67, 0.20, 0.23, 0.67, 0.50], dtype=torch_float)
    low, high = torch.tensor(PROXY2D_LOW, dtype=torch_float), torch.tensor(PROXY2D_HIGH, dtype=torch_float)
    s, w = fine_axis(3000)
    x, w = 0.001 + 0.998 * s, 0.998 * w
    density = proxy2d_density(x, x, low + (high - low) * fraction)
    norm = w @ density @ w
    assert float(norm) == pytest.approx(0.0112074, abs=1e-7)
    assert float((w * x) @ density @ w / norm) == pytest.approx(0.27797, abs=1e-5)
    assert float(w @ density @ (w * x) / norm) == pytest.approx(0.21065, abs=1e-5)


def test_proxy1d_channels_are_charge_weighted_sums() -> None:
    x = torch.tensor([0.3], dtype=torch_float)
    p = torch.tensor(PROXY1D_TRUTH, dtype=torch_float)
    u, d = 2.1875 * 0.3**-0.5 * 0.7**3, 1.09375 * 0.3**-0.5 * 0.7**4
    torch.testing.assert_close(proxy1d_cross_sections(x, p)[:, 0], torch.tensor([4 * u + d, 4 * d + u], dtype=torch_float))


def test_log_beta_of_integers_is_a_ratio_of_factorials() -> None:
    value = torch.exp(log_beta(torch.tensor(3.0, dtype=torch_float), torch.tensor(4.0, dtype=torch_float)))
    assert float(value) == pytest.approx(2 * 6 / 720)
