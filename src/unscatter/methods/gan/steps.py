"""One step of the adversarial game, piece by piece; every function is pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.events import EventSource
from unscatter.methods.gan.losses import LOSSES, poisson_loss, unit_penalty, zero_centred_penalty
from unscatter.methods.gan.settings import DiscriminatorSettings, GanSettings, GeneratorSettings
from unscatter.methods.gan.state import GanState, GanStatic, Player
from unscatter.methods.protocol import Metrics
from unscatter.networks import DirectGenerator, Generator, adam_step

#: What keeps Adam from dividing by a gradient that is zero.
_ROUNDING = 1e-8


@dataclass(frozen=True, eq=False)
class Side:
    """Measured or synthetic events as the discriminator sees them.

    Args:
        features: ``[replica, channel, num_events, features]``.
        weights: mean one per replica and channel, ``[replica, channel, num_events]``.
    """

    features: Tensor
    weights: Tensor

    @classmethod
    def of(cls, events: Events, static: GanStatic) -> Side:
        """Transform events ``[replica, channel, num_events, columns]``."""
        weights = events.weights_or_ones()
        return cls(static.features(events), weights / weights.mean(-1, keepdim=True))

    def thinned(self, num_events: int, random: torch.Generator) -> Side:
        """So many events at random, or all: samplers may return them sorted, and backgrounds come last."""
        if self.features.shape[2] <= num_events:
            return self
        chosen = torch.randperm(self.features.shape[2], generator=random, device=random.device)[:num_events]
        return Side(self.features[:, :, chosen], self.weights[:, :, chosen])


def measured_side(state: GanState, events: EventSource, settings: GanSettings) -> Side:
    """Measured events of this step."""
    static = state.static
    batch = events.batch(state.step, settings.num_events, static.rng.child("measured"), static.device)
    return Side.of(batch.select(static.problem.observables), static)


def tell_apart(state: GanState, settings: GanSettings, measured: Side) -> tuple[Player, Tensor, Metrics]:
    """Steps of the discriminator against fresh synthetic events; returns it, the skipped steps per replica, and metrics."""
    static, chosen = state.static, settings.discriminator
    player, skips, metrics = state.discriminator, torch.zeros_like(state.skipped[0]), {}
    for k in range(chosen.steps):
        with torch.no_grad():
            synthetic, _, _ = synthetic_side(state, settings, state.generator.weights, f"discriminator/{k}")
        weights = player.weights.detach().requires_grad_()
        random = static.rng.generator("penalty", state.step, k, device=static.device)
        loss, metrics = discriminator_loss(static, settings, weights, measured, synthetic, random)
        (gradient,) = torch.autograd.grad(loss.sum(), weights)
        player, skipped = _stepped(player, gradient, chosen, rate_factor(settings, state))
        skips = skips + skipped
    return player, skips, metrics


def bring_together(state: GanState, settings: GanSettings, discriminator: Player, measured: Side) -> tuple[Player, Tensor, Metrics]:
    """A step of the generator; returns it, the skipped steps per replica, and metrics."""
    static = state.static
    weights = state.generator.weights.detach().requires_grad_()
    synthetic, expected_counts, latent = synthetic_side(state, settings, weights, "generator")
    loss, metrics = generator_loss(static, settings, discriminator.weights, measured, synthetic, expected_counts)
    loss = loss + LOSSES[settings.loss].curvature * prior_loss(static, latent)
    (gradient,) = torch.autograd.grad(loss.sum(), weights)
    gradient = static.exchange.before_step(gradient)
    factor = rate_factor(settings, state) * warm_up_factor(settings.generator, state) * static.exchange.step_scale
    player, skipped = _stepped(state.generator, gradient, settings.generator, factor, newton_scale(static, settings))
    player = player._replace(weights=static.exchange.after_step(player.weights))
    return player, skipped, metrics


def average(state: GanState, settings: GanSettings) -> GanState:
    """Add the generator's weights to the moving average and, in the tail, to the sums of its two halves."""
    weights, total = state.generator.weights, state.static.num_steps
    # A short memory at first, so that the start is forgotten as fast as it is left.
    decay = min(settings.ema_decay, state.step / (state.step + 10))
    ema = torch.lerp(weights, state.ema, decay)
    first = math.floor(settings.tail_start * total)
    position = (state.step - 1) % total + 1
    tail, tail_counts = state.tail, state.tail_counts
    if position == first + 1:
        tail, tail_counts = torch.zeros_like(tail), torch.zeros_like(tail_counts)
    if position > first:
        half = 0 if 2 * (position - first) <= total - first else 1
        tail, tail_counts = tail.clone(), tail_counts.clone()
        tail[half] += weights.to(tail.dtype)
        tail_counts[half] += 1
    return replace(state, ema=ema, tail=tail, tail_counts=tail_counts)


def synthetic_side(state: GanState, settings: GanSettings, weights: Tensor, key: str) -> tuple[Side, Tensor | None, Tensor]:
    """Synthetic events of the generator with ``weights``, the expected counts ``[replica, batch, channel]`` and its latent parameters."""
    static = state.static
    random = static.rng.generator("synthetic", key, state.step, device=static.device)
    noise = normal_noise(static, settings.generator.batch, random)
    latent = static.generator(weights, noise)
    parameters = static.problem.space.to_parameters(latent)
    per_set = max(1, settings.num_events // parameters.shape[1])
    drawn = static.problem.pipeline.draw_noise(tuple(parameters.shape[:2]), per_set, generator=random)
    synthetic = static.problem.synthesize(parameters, drawn)
    return Side.of(_merge_sets(synthetic.events), static), synthetic.expected_counts, latent


def prior_loss(static: GanStatic, latent: Tensor) -> Tensor:
    r"""Minus the logarithm of the prior, in the unit of the other losses: per measured event of a channel.

    .. math:: \frac{1}{2 \bar N \sigma^2} \left|\langle \ell \rangle - \ell_r\right|^2

    with the mean over the proposals and the centre :math:`\ell_r` of replica r.

    Args:
        static: knows prior and counts.
        latent: proposals ``[replica, batch, latent_size]``.

    Returns:
        ``[replica]``.
    """
    width, centres = static.problem.prior_width, static.prior_centres
    if width is None or centres is None:
        return latent.new_zeros(len(latent))
    events_of_all_ranks = static.exchange.num_ranks * static.observed_counts.mean(-1)
    return ((latent.mean(1) - centres) / width).square().sum(-1) / (2 * events_of_all_ranks)


def normal_noise(static: GanStatic, batch: int, random: torch.Generator) -> Tensor:
    """Noise for the generator, ``[replica, batch, noise_size]``; a batch of one where it takes none."""
    module = static.generator.module
    assert isinstance(module, Generator)
    noise_size = module.noise_size
    batch = batch if noise_size else 1
    return torch.randn(static.generator.num_replicas, batch, noise_size, generator=random, device=static.device)


def _merge_sets(events: Events) -> Events:
    """Put the events of all parameter sets of a replica side by side, ``[replica, channel, batch * num_events, columns]``."""
    weights = None if events.weights is None else events.weights.transpose(1, 2).flatten(2, 3)
    return Events(events.values.transpose(1, 2).flatten(2, 3), events.columns, weights)


def _channel_weights(static: GanStatic) -> Tensor:
    """Share of each channel in the loss, mean one, ``[replica, channel]``: a channel counts as much as it has events."""
    return static.observed_counts / static.observed_counts.mean(-1, keepdim=True)


def discriminator_loss(
    static: GanStatic, settings: GanSettings, weights: Tensor, measured: Side, synthetic: Side, random: torch.Generator
) -> tuple[Tensor, Metrics]:
    """Loss per replica, ``[replica]``, with the gradient penalty on a random part of the events."""
    num_measured = measured.features.shape[2]
    scores = static.discriminator(weights, torch.cat([measured.features, synthetic.features], 2))
    paired = _pair(scores[:, :, :num_measured], scores[:, :, num_measured:], measured, synthetic)
    adversarial = LOSSES[settings.loss].discriminator(*paired)
    penalty = torch.zeros_like(adversarial)
    if settings.discriminator.penalty > 0:
        n = settings.discriminator.penalty_events
        function = _slope_penalty if settings.loss == "wasserstein-gp" else _flat_penalty
        penalty = function(static, weights, measured.thinned(n, random), synthetic.thinned(n, random), random)
    loss = (adversarial + settings.discriminator.penalty * penalty).sum(-1)
    return loss, {"discriminator_loss": adversarial.detach().mean(-1), "penalty": penalty.detach().mean(-1)}


def generator_loss(
    static: GanStatic, settings: GanSettings, discriminator_weights: Tensor, measured: Side, synthetic: Side, expected_counts: Tensor | None
) -> tuple[Tensor, Metrics]:
    """Loss per replica, ``[replica]``, with the rate term."""
    loss = LOSSES[settings.loss]
    with torch.no_grad():
        d_measured = static.discriminator(discriminator_weights, measured.features)
    d_synthetic = static.discriminator(discriminator_weights, synthetic.features)
    adversarial = loss.generator(*_pair(d_measured, d_synthetic, measured, synthetic))
    total = (_channel_weights(static) * adversarial).sum(-1)
    metrics = {"generator_loss": adversarial.detach().mean(-1)}
    if static.use_rates and expected_counts is not None:
        rates = poisson_loss(expected_counts * static.exposure, static.observed_counts) / static.observed_counts.mean(-1)
        total = total + loss.curvature * rates
        metrics["rate_loss"] = rates.detach()
    return total, metrics


def rate_factor(settings: GanSettings, state: GanState) -> float:
    r"""Step size over that at the start of the fit.

    .. math:: q \left[r + (1 - r)\,\frac{1 + \cos \pi t}{2}\right]

    at the share :math:`t` of the round, with :math:`q = 1` in the first round of a fit that starts from a guess, and ``later_rate``
    otherwise.
    """
    from_afar = state.step < state.static.num_steps and not state.static.fitted_start
    height = 1.0 if from_afar else settings.later_rate
    if settings.schedule == "constant":
        return height
    share = (state.step % state.static.num_steps) / state.static.num_steps
    return height * (settings.final_rate + (1 - settings.final_rate) * (1 + math.cos(math.pi * share)) / 2)


def warm_up_factor(chosen: GeneratorSettings, state: GanState) -> float:
    r"""What the generator's step size is multiplied by at the start of a fit.

    .. math:: \min\left(1, \frac{k}{K}\right)^2, \qquad K = \min(K_\text{warm}, N / 2)

    at step :math:`k` of a fit whose first round has :math:`N`.
    """
    last = min(chosen.warm_up, state.static.num_steps / 2)
    return 1.0 if state.step >= last else (state.step / last) ** 2


def newton_scale(static: GanStatic, settings: GanSettings) -> float | None:
    r"""Length of the gradient below which the generator's steps shrink with it; None for a generator that always steps as Adam does.

    Along equally steep directions the loss before a perfect discriminator is :math:`\frac{c}{2n} |v - v^*|^2` for the curvature c and the n
    events of a step, so that gradient descent of rate :math:`\alpha n / c` goes the share :math:`\alpha` of the way to the solution.
    Adam alone makes steps of one length however small the gradient is, and would wander round the solution as far as they carry.  It is
    left alone without ``approach``, and with the Wasserstein loss, whose slope says nothing about the distance.
    """
    module = static.generator.module
    if not (isinstance(module, DirectGenerator) and module.preconditioned):
        return None
    chosen = settings.generator
    if settings.loss == "wasserstein-gp" or chosen.approach is None:
        return _ROUNDING
    return chosen.step_size * LOSSES[settings.loss].curvature / (settings.num_events * chosen.approach)


def _pair(d_measured: Tensor, d_synthetic: Tensor, measured: Side, synthetic: Side) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A measured partner for every synthetic event: measured ones are shuffled, so some may serve twice or not at all.

    The other way round would be wrong: a detector that adds background puts it behind the signal.
    """
    partners = torch.arange(d_synthetic.shape[-1], device=d_synthetic.device) % d_measured.shape[-1]
    return d_measured[..., partners], d_synthetic, measured.weights[..., partners], synthetic.weights


def _stepped(
    player: Player, gradient: Tensor, chosen: GeneratorSettings | DiscriminatorSettings, factor: float, newton: float | None = None
) -> tuple[Player, Tensor]:
    adam, weights, skipped = adam_step(
        player.adam,
        player.weights,
        gradient,
        learning_rate=chosen.step_size * factor,
        beta1=chosen.beta1,
        beta2=chosen.beta2,
        clip_norm=chosen.clip_norm,
        shared_scale=newton is not None,
        epsilon=_ROUNDING if newton is None else newton,
    )
    return Player(weights, adam), skipped


def _flat_penalty(static: GanStatic, weights: Tensor, measured: Side, synthetic: Side, random: torch.Generator) -> Tensor:
    """Zero-centred penalty on both sides, ``[replica, channel]``; nothing in it is random."""
    features = torch.cat([measured.features, synthetic.features], 2).detach().requires_grad_()
    (slope,) = torch.autograd.grad(static.discriminator(weights, features).sum(), features, create_graph=True)
    on_measured, on_synthetic = slope.split([measured.features.shape[2], synthetic.features.shape[2]], 2)
    return zero_centred_penalty(on_measured, measured.weights) + zero_centred_penalty(on_synthetic, synthetic.weights)


def _slope_penalty(static: GanStatic, weights: Tensor, measured: Side, synthetic: Side, random: torch.Generator) -> Tensor:
    """Penalty on slopes other than one between measured and synthetic events, ``[replica, channel]``."""
    n = min(measured.features.shape[2], synthetic.features.shape[2])
    one, other = measured.features[:, :, :n], synthetic.features[:, :, :n].detach()
    share = torch.rand(one[..., :1].shape, generator=random, device=random.device)
    between = torch.lerp(other, one, share).requires_grad_()
    (slope,) = torch.autograd.grad(static.discriminator(weights, between).sum(), between, create_graph=True)
    return unit_penalty(slope, torch.lerp(synthetic.weights[:, :, :n].detach(), measured.weights[:, :, :n], share[..., 0]))
