"""Losses against closed forms: optimal discriminators, and the curvature that weighs the rate term."""

import math

import pytest
import torch

from unscatter.methods.gan.losses import LOSSES, poisson_loss, unit_penalty, zero_centred_penalty


def bernoulli(p: float, n: int = 2000) -> torch.Tensor:
    """Weights of the two outcomes of n events such that the mean is exact."""
    return torch.tensor([[[2 * p, 2 * (1 - p)] * n]], dtype=torch.float64)


def scores_of(d: torch.Tensor, n: int = 2000) -> torch.Tensor:
    return d.repeat(n).reshape(1, 1, -1)


def optimal_scores(name: str, p: float, q: float) -> torch.Tensor:
    """Scores of the two outcomes that minimise the discriminator's loss, by Newton steps from zero."""
    d = torch.zeros(2, dtype=torch.float64)
    ridge = 1e-12 * torch.eye(2, dtype=torch.float64)  # the relativistic loss knows differences only
    for _ in range(30):
        gradient, hessian = torch.func.grad(discriminator_loss)(d, name, p, q), torch.func.hessian(discriminator_loss)(d, name, p, q)
        d = d - torch.linalg.lstsq(hessian + ridge, gradient).solution
    return d.detach()


def discriminator_loss(d: torch.Tensor, name: str, p: float, q: float) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for roll in (0, 3):  # together they pair each outcome with both outcomes equally often
        measured, synthetic = scores_of(d, 50), scores_of(d, 50).roll(roll, -1)
        total = total + LOSSES[name].discriminator(measured, synthetic, bernoulli(p, 50), bernoulli(q, 50).roll(roll, -1)).sum()
    return total


def optimal_difference(name: str, p: float, q: float) -> float:
    d = optimal_scores(name, p, q)
    return float(d[0] - d[1])


@pytest.mark.parametrize("name", ["relativistic", "nonsaturating"])
def test_optimal_discriminator_is_the_log_likelihood_ratio(name: str) -> None:
    p, q = 0.6, 0.3
    assert optimal_difference(name, p, q) == pytest.approx(math.log(p / q) - math.log((1 - p) / (1 - q)), rel=1e-5)


def test_optimal_least_squares_discriminator_is_the_share_of_measured_events() -> None:
    p, q = 0.6, 0.3
    expected = p / (p + q) - (1 - p) / (2 - p - q)
    assert optimal_difference("least-squares", p, q) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["relativistic", "nonsaturating", "least-squares"])
def test_curvature_is_the_slope_of_the_generator_loss_over_that_of_the_log_likelihood(name: str) -> None:
    p, q = 0.5, 0.501
    d = optimal_scores(name, p, q)

    def loss(share: torch.Tensor) -> torch.Tensor:
        weights = torch.stack([2 * share, 2 * (1 - share)]).repeat(50).reshape(1, 1, -1)
        total = torch.zeros((), dtype=torch.float64)
        for roll in (0, 3):
            synthetic_scores, synthetic_weights = scores_of(d, 50).roll(roll, -1), weights.roll(roll, -1)
            total = total + LOSSES[name].generator(scores_of(d, 50), synthetic_scores, bernoulli(p, 50), synthetic_weights).sum() / 2
        return total

    slope = torch.func.grad(loss)(torch.tensor(q, dtype=torch.float64))
    likelihood_slope = -(p / q - (1 - p) / (1 - q))  # of -p log q - (1 - p) log(1 - q)
    assert float(slope) / likelihood_slope == pytest.approx(LOSSES[name].curvature, rel=2e-2)


def test_weights_act_like_repeated_events() -> None:
    measured, synthetic = torch.tensor([[[0.3, -0.2, 0.5]]]), torch.tensor([[[0.1, 0.4, -0.6]]])
    weights = torch.tensor([[[2.0, 1.0, 0.0]]])
    repeated = torch.tensor([[[0.3, 0.3, -0.2]]]), torch.tensor([[[0.1, 0.1, 0.4]]])
    ones = torch.ones(1, 1, 3)
    for loss in LOSSES.values():
        weighted = loss.generator(measured, synthetic, ones, weights)
        if type(loss).__name__ == "Relativistic":
            plain = loss.generator(repeated[0], repeated[1], ones, ones)
        else:
            plain = loss.generator(measured, repeated[1], ones, ones)
        torch.testing.assert_close(weighted, plain)


def test_wasserstein_losses_are_opposite_up_to_the_measured_score() -> None:
    measured, synthetic, ones = torch.randn(1, 1, 10), torch.randn(1, 1, 10), torch.ones(1, 1, 10)
    loss = LOSSES["wasserstein-gp"]
    total = loss.discriminator(measured, synthetic, ones, ones) + loss.generator(measured, synthetic, ones, ones)
    torch.testing.assert_close(total, -measured.mean(-1))


def test_zero_centred_penalty_is_half_the_weighted_mean_square() -> None:
    gradient, weights = torch.tensor([[[[3.0, 4.0], [0.0, 2.0]]]]), torch.tensor([[[0.5, 1.5]]])
    torch.testing.assert_close(zero_centred_penalty(gradient, weights), torch.tensor([[(0.5 * 25 + 1.5 * 4) / 2 / 2]]))


def test_unit_penalty_vanishes_on_unit_slopes_and_is_finite_at_zero() -> None:
    torch.testing.assert_close(unit_penalty(torch.tensor([[[[0.6, 0.8]]]]), torch.ones(1, 1, 1)), torch.tensor([[0.0]]))
    zero = torch.zeros(1, 1, 1, 2, requires_grad=True)
    unit_penalty(zero, torch.ones(1, 1, 1)).sum().backward()
    assert zero.grad is not None
    assert bool(zero.grad.isfinite().all())


def test_poisson_loss_is_smallest_at_the_observed_counts_and_has_poisson_curvature() -> None:
    observed = torch.tensor([[400.0, 100.0]], dtype=torch.float64)

    def loss(expected: torch.Tensor) -> torch.Tensor:
        return poisson_loss(expected.reshape(1, 1, 2), observed).sum()

    torch.testing.assert_close(torch.func.grad(loss)(observed[0]), torch.zeros(2, dtype=torch.float64))
    curvature = torch.func.hessian(loss)(observed[0])
    torch.testing.assert_close(curvature, torch.diag(1 / observed[0]))
