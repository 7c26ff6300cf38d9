"""Adam on flat vectors against torch.optim, and what it does with bad gradients."""

from typing import Any

import pytest
import torch

from unscatter.networks import adam_init, adam_step

OPTIONS: Any = {"learning_rate": 0.05, "beta1": 0.5, "beta2": 0.99, "clip_norm": 1e9}


def test_equals_torch_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    reference = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([reference], lr=0.05, betas=(0.5, 0.99), eps=1e-8)
    state, weights = adam_init(start), start
    for _ in range(20):
        gradient = torch.randn(3, 7, generator=generator, dtype=torch.float64)
        reference.grad = gradient.clone()
        optimiser.step()
        state, weights, skipped = adam_step(state, weights, gradient, **OPTIONS)
        assert not bool(skipped.any())
    torch.testing.assert_close(weights, reference.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_replica_with_a_bad_gradient_stays_and_the_others_move(bad: float) -> None:
    start = torch.ones(2, 3)
    # Moments that are not zero: also these must stay.
    state, weights, _ = adam_step(adam_init(start), start, torch.ones(2, 3), **OPTIONS)
    gradient = torch.ones(2, 3)
    gradient[0, 1] = bad
    new_state, new_weights, skipped = adam_step(state, weights, gradient, **OPTIONS)
    assert skipped.tolist() == [True, False]
    assert torch.equal(new_weights[0], weights[0])
    assert bool((new_weights[1] < weights[1]).all())
    for old, new in zip(state, new_state, strict=True):
        assert torch.equal(new[0], old[0])
        assert bool((new[1] > old[1]).all())
    assert new_state.num_steps.tolist() == [[1.0], [2.0]]


def test_step_leaves_its_arguments_alone() -> None:
    weights = torch.ones(1, 3)
    state = adam_init(weights)
    adam_step(state, weights, torch.ones(1, 3), **OPTIONS)
    assert torch.equal(weights, torch.ones(1, 3))
    assert not bool(state.mean.any())


def test_shared_scale_keeps_the_direction_of_the_gradient() -> None:
    """Equally steep directions share one scale, so a null direction is not walked along on its rounding errors."""
    weights = torch.zeros(2, 3)
    gradient = torch.tensor([[3.0, 4.0, 1e-9], [0.0, 0.1, 0.0]])
    _, moved, _ = adam_step(adam_init(weights), weights, gradient, **OPTIONS, shared_scale=True)
    torch.testing.assert_close(moved[0] / moved[0].norm(), -gradient[0] / 5)
    torch.testing.assert_close(moved.norm(dim=-1), torch.full((2,), 0.05 * 3**0.5), rtol=1e-4, atol=0)


def test_player_whose_first_gradient_is_zero_moves_at_the_next() -> None:
    weights = torch.zeros(1, 3)
    state, weights, _ = adam_step(adam_init(weights), weights, torch.zeros(1, 3), **OPTIONS)
    _, moved, skipped = adam_step(state, weights, torch.ones(1, 3), **OPTIONS)
    assert bool((moved < 0).all())
    assert not bool(skipped.any())


def test_outlier_gradient_is_scaled_to_the_limit() -> None:
    weights = torch.zeros(1, 4)
    state = adam_init(weights)
    for _ in range(50):
        state, weights, _ = adam_step(state, weights, torch.ones(1, 4), **OPTIONS | {"clip_norm": 3.0})
    before = state.mean
    state, _, _ = adam_step(state, weights, 1000 * torch.ones(1, 4), **OPTIONS | {"clip_norm": 3.0})
    # All gradients so far were ones, so their typical norm is that of a vector of ones.
    torch.testing.assert_close(state.mean, 0.5 * before + 0.5 * 3.0)


def test_large_epsilon_makes_small_steps_proportional_to_the_gradient_and_bounds_large_ones() -> None:
    weights = torch.zeros(1, 2, dtype=torch.float64)

    def moved(scale: float) -> torch.Tensor:
        gradient = scale * torch.tensor([[1.0, -2.0]], dtype=torch.float64)
        return adam_step(adam_init(weights), weights, gradient, **OPTIONS, shared_scale=True, epsilon=1e-2)[1]

    rate = OPTIONS["learning_rate"] / 1e-2
    torch.testing.assert_close(moved(1e-6), torch.tensor([[-1e-6, 2e-6]], dtype=torch.float64) * rate, rtol=1e-3, atol=0)
    assert float(moved(1e6).norm()) == pytest.approx(OPTIONS["learning_rate"] * 2**0.5, rel=1e-3)
