"""The pieces of a step against what they are said to be: losses put together by hand, averages, step sizes, hooks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from tests.methods.problems import small, source_of, two_channels
from unscatter.arrays import Events, RandomStream
from unscatter.events import InMemoryEvents
from unscatter.exchange import Exchange, NoExchange
from unscatter.methods import Gan, GanSettings
from unscatter.methods.gan import DiscriminatorSettings, GeneratorSettings, steps
from unscatter.methods.gan.losses import LOSSES
from unscatter.methods.gan.state import GanState
from unscatter.methods.gan.steps import Side

PROBLEM = two_channels()
PLAIN = GeneratorSettings(precondition=False)


def begun(
    settings: GanSettings, *, num_steps: int = 8, replicas: int = 1, exchange: Exchange | None = None
) -> tuple[Gan, GanState, InMemoryEvents]:
    source, gan = source_of(PROBLEM, replicas), Gan(settings)
    return gan, gan.init(PROBLEM, source, RandomStream(3), num_steps=num_steps, exchange=exchange), source


def walked(gan: Gan, state: GanState, source: InMemoryEvents, num_steps: int) -> list[GanState]:
    """The states after each of ``num_steps`` steps."""
    states = []
    for _ in range(num_steps):
        state, _ = gan.step(state, source)
        states.append(state)
    return states


def side(num_events: int, num_features: int, seed: int) -> Side:
    """Some events of two channels in one replica, with weights of mean one."""
    random = torch.Generator().manual_seed(seed)
    weights = torch.rand(1, 2, num_events, generator=random) + 0.2
    return Side(torch.randn(1, 2, num_events, num_features, generator=random), weights / weights.mean(-1, keepdim=True))


def pairs(state: GanState, measured: Side, synthetic: Side) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores and weights with the measured events repeated from their first until each synthetic one has a partner."""
    rows = [i % measured.weights.shape[-1] for i in range(synthetic.weights.shape[-1])]
    score = state.static.discriminator
    weights = state.discriminator.weights
    return score(weights, measured.features)[..., rows], score(weights, synthetic.features), measured.weights[..., rows], synthetic.weights


def slopes_at(state: GanState, features: Tensor) -> Tensor:
    features = features.detach().requires_grad_()
    return torch.autograd.grad(state.static.discriminator(state.discriminator.weights, features).sum(), features)[0]


@pytest.mark.parametrize("loss", ["relativistic", "nonsaturating", "least-squares"])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_discriminator_loss_is_adversarial_plus_weight_times_the_penalty_on_both_sides(loss: str, penalty: float) -> None:
    settings = small(loss=loss, discriminator=DiscriminatorSettings(hidden=(8,), penalty=penalty))
    _, state, _ = begun(settings)
    measured, synthetic = side(5, state.static.features.num_features, 1), side(7, state.static.features.num_features, 2)
    found, _ = steps.discriminator_loss(state.static, settings, state.discriminator.weights, measured, synthetic, torch.Generator())
    expected = LOSSES[loss].discriminator(*pairs(state, measured, synthetic)).sum(-1)
    for one in (measured, synthetic):
        expected = expected + penalty * (one.weights * slopes_at(state, one.features).square().sum(-1)).mean(-1).sum(-1) / 2
    torch.testing.assert_close(found, expected)


def test_wasserstein_penalty_wants_unit_slopes_between_measured_and_synthetic_events() -> None:
    settings = small(loss="wasserstein-gp", discriminator=DiscriminatorSettings(hidden=(8,), penalty=2.0))
    _, state, _ = begun(settings)
    measured, synthetic = side(6, state.static.features.num_features, 1), side(6, state.static.features.num_features, 2)
    random = torch.Generator().manual_seed(5)
    found, _ = steps.discriminator_loss(state.static, settings, state.discriminator.weights, measured, synthetic, random)
    share = torch.rand(1, 2, 6, 1, generator=torch.Generator().manual_seed(5))
    norm = slopes_at(state, share * measured.features + (1 - share) * synthetic.features).norm(dim=-1)
    weights = share[..., 0] * measured.weights + (1 - share[..., 0]) * synthetic.weights
    adversarial = LOSSES["wasserstein-gp"].discriminator(*pairs(state, measured, synthetic))
    torch.testing.assert_close(found, (adversarial + 2.0 * (weights * (norm - 1).square()).mean(-1)).sum(-1))


@pytest.mark.parametrize("loss", ["relativistic", "least-squares"])
def test_generator_loss_weighs_channels_by_counts_and_adds_the_rates_of_the_exposure(loss: str) -> None:
    settings = small(loss=loss)
    _, state, _ = begun(settings)
    counts, expected_counts = torch.tensor([[900.0, 300.0]]), torch.tensor([[[2000.0, 500.0]]])
    static = replace(state.static, observed_counts=counts, exposure=0.5)
    measured, synthetic = side(5, static.features.num_features, 1), side(7, static.features.num_features, 2)
    found, _ = steps.generator_loss(static, settings, state.discriminator.weights, measured, synthetic, expected_counts)
    near, far = LOSSES[loss].generator(*pairs(state, measured, synthetic))[0]
    # mu - N ln(mu / N) of half of the expected events, over the mean count of 600; the curvatures are 1/2 and 1/4.
    rates = (1000 - 900 * math.log(1000 / 900) + 250 - 300 * math.log(250 / 300)) / 600
    curvature = {"relativistic": 0.5, "least-squares": 0.25}[loss]
    torch.testing.assert_close(found, (1.5 * near + 0.5 * far + curvature * rates).reshape(1))


def test_rate_term_is_the_mean_over_the_parameter_sets_of_a_replica() -> None:
    settings = small()
    _, state, _ = begun(settings)
    measured, synthetic = side(5, state.static.features.num_features, 1), side(5, state.static.features.num_features, 2)

    def loss(expected_counts: list[list[float]]) -> float:
        given = torch.tensor([expected_counts])
        return float(steps.generator_loss(state.static, settings, state.discriminator.weights, measured, synthetic, given)[0])

    one, other = [800.0, 300.0], [1100.0, 200.0]
    assert loss([one, other]) == pytest.approx((loss([one]) + loss([other])) / 2, rel=1e-5)


def test_wasserstein_rate_term_weighs_as_much_as_that_of_the_logistic_loss() -> None:
    """A convention: the penalty, not the data, sets the slope of a Wasserstein score, so that no law fixes the number."""
    assert LOSSES["wasserstein-gp"].curvature == LOSSES["nonsaturating"].curvature


def test_weights_of_a_side_have_mean_one() -> None:
    _, state, _ = begun(small())
    events = Events(torch.rand(1, 2, 10, 1) + 0.1, ("t",), 5 * torch.rand(1, 2, 10))
    weights = Side.of(events, state.static).weights
    torch.testing.assert_close(weights.mean(-1), torch.ones(1, 2))
    torch.testing.assert_close(weights[0, 1, 3] / weights[0, 1, 4], events.weights_or_ones()[0, 1, 3] / events.weights_or_ones()[0, 1, 4])


def test_thinning_takes_events_from_everywhere_with_their_weights() -> None:
    values = torch.arange(1000.0).reshape(1, 1, 1000)
    whole = Side(values[..., None], values)
    some = whole.thinned(100, torch.Generator().manual_seed(0))
    assert torch.equal(some.features[..., 0], some.weights)
    assert len(some.weights.unique()) == 100
    # The mean of 100 out of 0 ... 999 scatters by 27.
    assert float(some.weights.mean()) == pytest.approx(500, abs=120)
    assert whole.thinned(1000, torch.Generator()) is whole


def test_penalty_looks_at_its_number_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small(discriminator=DiscriminatorSettings(hidden=(8,), penalty_events=10))
    gan, state, source = begun(settings)
    seen = []
    penalty = steps.zero_centred_penalty
    monkeypatch.setattr(steps, "zero_centred_penalty", lambda slope, weights: seen.append(slope.shape[2]) or penalty(slope, weights))
    gan.step(state, source)
    assert seen == [10, 10]


def test_every_step_of_both_players_sees_fresh_synthetic_events(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small(discriminator=DiscriminatorSettings(hidden=(8,), steps=2), generator=GeneratorSettings(learning_rate=1e-30))
    gan, state, source = begun(settings)
    seen: list[Tensor] = []
    make = steps.synthetic_side

    def recorded(*arguments: object) -> object:
        made = make(*arguments)  # pyright: ignore[reportArgumentType]
        seen.append(made[0].features.detach())
        return made

    monkeypatch.setattr(steps, "synthetic_side", recorded)
    walked(gan, state, source, 2)
    assert len(seen) == 6
    # The generator stands still, so that nothing but the random numbers can differ.
    assert all(not torch.isclose(a, b).all() for i, a in enumerate(seen) for b in seen[:i])


def test_discriminator_takes_its_number_of_steps_and_all_skipped_ones_count() -> None:
    settings = small(discriminator=DiscriminatorSettings(hidden=(8,), steps=3))
    gan, state, source = begun(settings, replicas=2)
    after, _ = gan.step(state, source)
    assert after.discriminator.adam.num_steps.tolist() == [[3], [3]]
    assert after.generator.adam.num_steps.tolist() == [[1], [1]]
    poisoned = state.discriminator.weights.clone()
    poisoned[1] = float("nan")
    broken = replace(state, discriminator=state.discriminator._replace(weights=poisoned))
    twice = walked(gan, broken, source, 2)[-1]
    assert twice.skipped.tolist() == [[0, 2], [0, 6]]
    assert gan.skipped_share(twice) == 1


@dataclass
class _Steered(NoExchange):
    """Ranks that agree on no gradient, and on weights that are one larger."""

    def before_step(self, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient)

    def after_step(self, weights: Tensor) -> Tensor:
        return weights + 1


def test_exchange_has_the_gradient_before_and_the_weights_after_the_generators_step_only() -> None:
    gan, state, source = begun(small(), exchange=_Steered())
    after, _ = gan.step(state, source)
    assert torch.equal(after.generator.weights, state.generator.weights + 1)
    assert not torch.isclose(after.discriminator.weights, state.discriminator.weights + 1).any()


def test_moving_average_forgets_the_start_and_then_decays_as_set() -> None:
    gan, state, source = begun(small(ema_decay=0.3))
    expected = state.generator.weights
    for step, after in enumerate(walked(gan, state, source, 8), start=1):
        decay = min(0.3, step / (step + 10))
        expected = decay * expected + (1 - decay) * after.generator.weights
        torch.testing.assert_close(after.ema, expected)


@pytest.mark.parametrize(("tail_start", "first"), [(0.0, 0), (0.25, 2), (0.7, 5)])
def test_tail_begins_where_it_is_set_to_and_is_what_is_reported(tail_start: float, first: int) -> None:
    gan, state, source = begun(small(tail_start=tail_start))
    states = walked(gan, state, source, 8)
    weights = torch.stack([s.generator.weights.double() for s in states[first:]])
    cut = len(weights) // 2

    def proposed(mean: Tensor) -> Tensor:
        return gan.current(replace(state, generator=state.generator._replace(weights=mean.float())))

    estimate = gan.result(states[-1])
    torch.testing.assert_close(estimate.parameters, proposed(weights.mean(0)))
    torch.testing.assert_close(estimate.history, torch.stack([proposed(weights[:cut].mean(0)), proposed(weights[cut:].mean(0))]))


def test_reported_generator_is_the_average_that_was_asked_for() -> None:
    for average in ("ema", "last"):
        gan, state, source = begun(small(average=average))
        last = walked(gan, state, source, 8)[-1]
        weights = last.ema if average == "ema" else last.generator.weights
        moved = replace(last, generator=last.generator._replace(weights=weights))
        torch.testing.assert_close(gan.result(last).parameters, gan.current(moved))
        assert not torch.isclose(gan.result(last).parameters, gan.current(replace(last, generator=state.generator))).all()


def test_step_sizes_fall_along_half_a_cosine_in_every_round() -> None:
    settings = small(final_rate=0.2, later_rate=0.5)
    _, state, _ = begun(settings, num_steps=8)
    factors = [steps.rate_factor(settings, replace(state, step=step)) for step in (0, 2, 4, 8, 12)]
    quarter = 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2
    assert factors == pytest.approx([1.0, quarter, 0.6, 0.5, 0.3])
    fitted = replace(state, static=replace(state.static, fitted_start=True))
    assert [steps.rate_factor(settings, replace(fitted, step=step)) for step in (0, 4, 8)] == pytest.approx([0.5, 0.3, 0.5])
    constant = settings.model_copy(update={"schedule": "constant"})
    assert [steps.rate_factor(constant, replace(state, step=step)) for step in (0, 5, 8)] == [1.0, 1.0, 0.5]


def test_generator_warms_up_with_the_square_of_the_step_and_stays_warm() -> None:
    chosen = GeneratorSettings(warm_up=4)
    _, state, _ = begun(small(), num_steps=12)
    assert [steps.warm_up_factor(chosen, replace(state, step=step)) for step in (0, 1, 2, 4, 5, 12)] == [0, 1 / 16, 1 / 4, 1, 1, 1]
    assert steps.warm_up_factor(GeneratorSettings(), replace(state, step=0)) == 1
    short = GeneratorSettings(warm_up=1000)
    assert [steps.warm_up_factor(short, replace(state, step=step)) for step in (3, 6)] == [1 / 4, 1]


def test_generator_rests_while_the_discriminator_takes_its_first_step_of_a_warm_up() -> None:
    gan, state, source = begun(small(generator=GeneratorSettings(warm_up=3)))
    first, _ = gan.step(state, source)
    torch.testing.assert_close(first.generator.weights, state.generator.weights, rtol=0, atol=0)
    assert not torch.equal(first.discriminator.weights, state.discriminator.weights)
    second, _ = gan.step(first, source)
    assert not torch.equal(second.generator.weights, first.generator.weights)


def test_first_steps_of_both_players_are_as_long_as_their_learning_rates() -> None:
    settings = small(
        generator=GeneratorSettings(precondition=False, learning_rate=0.03),
        discriminator=DiscriminatorSettings(hidden=(8,), learning_rate=0.002),
    )
    gan, state, source = begun(settings)
    after, _ = gan.step(state, source)
    for player, start, rate in ((after.generator, state.generator, 0.03), (after.discriminator, state.discriminator, 0.002)):
        assert float((player.weights - start.weights).abs().max()) == pytest.approx(rate, rel=1e-3)


def test_preconditioned_steps_keep_the_direction_of_the_gradient_and_plain_ones_scale_each_parameter() -> None:
    for generator, shared in ((GeneratorSettings(), True), (PLAIN, False)):
        gan, state, source = begun(small(generator=generator))
        after, _ = gan.step(state, source)
        moved, gradient = after.generator.weights - state.generator.weights, after.generator.adam.mean
        cosine = float(torch.cosine_similarity(moved, -gradient))
        assert (cosine > 1 - 1e-5) is shared


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_each_player_is_held_to_its_own_longest_gradient(player: str) -> None:
    limited, free = {"beta1": 0.0, "clip_norm": 1e-3}, {"beta1": 0.0}
    settings = small(
        generator=GeneratorSettings(**(limited if player == "generator" else free)),  # pyright: ignore[reportArgumentType]
        discriminator=DiscriminatorSettings(hidden=(8,), **(limited if player == "discriminator" else free)),  # pyright: ignore[reportArgumentType]
    )
    gan, state, source = begun(settings)
    first, second = walked(gan, state, source, 2)
    for name in ("generator", "discriminator"):
        before, after = getattr(first, name).adam.mean.norm(), getattr(second, name).adam.mean.norm()
        assert (float(after / before) == pytest.approx(1e-3, rel=1e-3)) is (name == player)


@pytest.mark.parametrize("loss", ["relativistic", "nonsaturating", "least-squares"])
def test_generator_goes_its_share_of_the_way_along_directions_that_are_equally_steep(loss: str) -> None:
    """A gradient like that before a perfect discriminator, c / n per unit of distance, and so short that Adam's length does not matter."""
    settings = small(loss=loss, generator=GeneratorSettings(approach=0.2, beta1=0.0))
    _, state, _ = begun(settings)
    distance = 1e-4 * torch.tensor([[1.0, -3.0, 2.0]])
    gradient = LOSSES[loss].curvature / settings.num_events * distance
    scale = steps.newton_scale(state.static, settings)
    moved, _ = steps._stepped(state.generator, gradient, settings.generator, 1.0, scale)
    torch.testing.assert_close(moved.weights - state.generator.weights, -0.2 * distance, rtol=1e-3, atol=1e-9)


def test_generators_without_equal_directions_and_the_wasserstein_loss_step_as_adam_does() -> None:
    slow = GeneratorSettings(approach=0.1)
    for settings, expected in ((small(generator=PLAIN), None), (small(), 1e-8), (small(generator=slow, loss="wasserstein-gp"), 1e-8)):
        _, state, _ = begun(settings)
        assert steps.newton_scale(state.static, settings) == expected
