"""The adversarial method: a generator trained through physics against a discriminator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unscatter.arrays import RandomStream
from unscatter.events import EventSource
from unscatter.exchange import Exchange
from unscatter.methods.gan import steps
from unscatter.methods.gan.build import build_static
from unscatter.methods.gan.settings import GanSettings
from unscatter.methods.gan.state import GanState
from unscatter.methods.protocol import Estimate, Metrics
from unscatter.pipeline import Problem

#: Parameter sets that a noise-fed generator is asked for in a result.
_RESULT_SAMPLES = 1000


@dataclass(frozen=True)
class Gan:
    """Generative adversarial fit.

    Each step draws measured events, makes as many synthetic ones, lets the discriminator take a step apart and the generator a step
    together, and averages the generator's weights.  The replica axis runs through everything: R replicas are one batched computation.

    Args:
        settings: networks, losses, step sizes.
    """

    settings: GanSettings = GanSettings()

    @property
    def name(self) -> str:
        """``gan``."""
        return "gan"

    def init(
        self,
        problem: Problem,
        events: EventSource,
        rng: RandomStream,
        *,
        num_steps: int,
        exchange: Exchange | None = None,
        device: torch.device | str = "cpu",
        fitted_start: bool = False,
    ) -> GanState:
        """Build networks, feature transform and optimiser moments; the generator is that of the first rank."""
        static = build_static(
            problem, events, self.settings, rng, num_steps=num_steps, exchange=exchange, device=device, fitted_start=fitted_start
        )
        state = GanState.start(static)
        return state if static.exchange.num_ranks == 1 else state.with_shared(static.exchange.start(state.shared()))

    def step(self, state: GanState, events: EventSource) -> tuple[GanState, Metrics]:
        """Draw, tell apart, bring together, average."""
        settings = self.settings
        measured = steps.measured_side(state, events, settings)
        discriminator, discriminator_skips, told_apart = steps.tell_apart(state, settings, measured)
        generator, generator_skips, brought_together = steps.bring_together(state, settings, discriminator, measured)
        skipped = state.skipped + torch.stack([generator_skips, discriminator_skips])
        new = replace(state, step=state.step + 1, generator=generator, discriminator=discriminator, skipped=skipped)
        return steps.average(new, settings), told_apart | brought_together

    def join(self, state: GanState) -> GanState:
        """The state with the mean of all ranks' averaged generators, for judging; every rank has to call this at the end of a round."""
        exchange = state.static.exchange
        return state if exchange.num_ranks == 1 else state.with_sums(exchange.total(state.sums()))

    def leave_round(self, state: GanState, last_step: int) -> GanState:
        """The state at the end of a round whose last steps this rank leaves out, because the others are done."""
        if (state.step - 1) % state.static.num_steps < math.floor(self.settings.tail_start * state.static.num_steps):
            # What the tail holds is that of the round before.
            state = replace(state, tail=torch.zeros_like(state.tail), tail_counts=torch.zeros_like(state.tail_counts))
        return replace(state, step=last_step)

    def current(self, state: GanState) -> Tensor:
        """Parameters that the last iterate of the generator proposes, mean over its noise, ``[replica, size]``."""
        return self._propose(state, state.generator.weights).mean(1)

    def result(self, state: GanState) -> Estimate:
        """Parameters of the averaged generator, on the CPU."""
        halves = state.tail / state.tail_counts.clamp_min(1).to(state.tail).reshape(2, 1, 1)
        averaged = self._average(state)
        filled = bool((state.tail_counts > 0).all())
        parts = [self._propose(state, half.to(averaged.dtype)).mean(1) for half in halves] if filled else []
        history = torch.stack(parts) if parts else averaged.new_zeros(0, len(averaged), state.static.problem.space.size)
        return Estimate(state.static.problem.space.names, self._propose(state, averaged).cpu(), history.cpu())

    def _average(self, state: GanState) -> Tensor:
        """Weights of the reported generator, ``[replica, parameters]``; the moving average before the tail begins."""
        if self.settings.average == "last":
            return state.generator.weights
        count = int(state.tail_counts.sum())
        if self.settings.average == "ema" or count == 0:
            return state.ema
        return (state.tail.sum(0) / count).to(state.ema.dtype)

    def _propose(self, state: GanState, weights: Tensor) -> Tensor:
        static = state.static
        # One point per replica needs no noise; a network is always asked with the same noise, so that results can be compared.
        noise = steps.normal_noise(static, _RESULT_SAMPLES, static.rng.generator("result", device=static.device))
        with torch.no_grad():
            return static.problem.space.to_parameters(static.generator(weights, noise))

    def tensors(self, state: GanState) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold."""
        return state.tensors()

    def restore(self, state: GanState, tensors: Mapping[str, Tensor]) -> GanState:
        """The state of a checkpoint on top of a freshly built one."""
        return state.with_tensors(tensors)

    def uses_rates(self, state: GanState) -> bool:
        """Whether the numbers of events are fitted."""
        return state.static.use_rates

    def skipped(self, state: GanState) -> Tensor:
        """Skipped steps of generator and discriminator, ``[2, replica]``."""
        return state.skipped

    @property
    def max_skipped(self) -> float:
        """Share of skipped steps beyond which a fit is given up."""
        return self.settings.max_skipped

    def skipped_share(self, state: GanState) -> float:
        """Largest share of steps that any replica skipped because they were not finite."""
        possible = state.step * torch.tensor([[1], [self.settings.discriminator.steps]])
        return float((state.skipped.cpu() / possible.clamp_min(1)).max())

    def settings_record(self) -> dict[str, Any]:
        """Settings as plain values."""
        return self.settings.model_dump(mode="json")
