"""State of the adversarial method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from unscatter.arrays import RandomStream
from unscatter.errors import CheckpointError
from unscatter.exchange import Exchange
from unscatter.methods.gan.adam import AdamState, adam_init
from unscatter.methods.gan.features import Features
from unscatter.networks import FlatModule
from unscatter.pipeline import Problem


@dataclass(frozen=True, eq=False)
class GanStatic:
    """What does not change during a fit and is rebuilt, not stored."""

    problem: Problem
    generator: FlatModule
    discriminator: FlatModule
    features: Features
    observed_counts: Tensor
    """``[replica, channel]``."""
    exposure: float
    use_rates: bool
    rng: RandomStream
    num_steps: int
    exchange: Exchange
    device: torch.device


class Player(NamedTuple):
    """Weights of one of the two networks and the moments of its optimiser."""

    weights: Tensor
    """``[replica, parameters]``."""
    adam: AdamState

    @classmethod
    def start(cls, weights: Tensor) -> Player:
        """Weights before the first step."""
        return cls(weights, adam_init(weights))


@dataclass(frozen=True, eq=False)
class GanState:
    """Everything that a step needs and changes; tensors are never written to in place.

    Args:
        static: what does not change.
        step: steps done.
        generator: weights and moments of the generator.
        discriminator: weights and moments of the discriminator.
        ema: exponential moving average of the generator's weights, ``[replica, parameters]``.
        tail: sums of the generator's weights over the first and the second half of the tail, ``[2, replica, parameters]``.
        tail_counts: how many weights each sum holds, ``[2]``.
        skipped: generator and discriminator steps that were not finite, ``[2, replica]``.
    """

    static: GanStatic
    step: int
    generator: Player
    discriminator: Player
    ema: Tensor
    tail: Tensor
    tail_counts: Tensor
    skipped: Tensor

    @classmethod
    def start(cls, static: GanStatic) -> GanState:
        """The state before the first step."""
        generator = static.generator.initial().to(static.device)
        discriminator = static.discriminator.initial().to(static.device)
        tail = torch.zeros(2, *generator.shape, dtype=torch.float64, device=static.device)
        skipped = torch.zeros(2, len(generator), dtype=torch.long, device=static.device)
        return cls(
            static, 0, Player.start(generator), Player.start(discriminator), generator, tail, torch.zeros(2, dtype=torch.long), skipped
        )

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes, by name."""
        flat: dict[str, Tensor] = {"step": torch.tensor(self.step)}
        for name in ("generator", "discriminator"):
            player: Player = getattr(self, name)
            flat[f"{name}.weights"] = player.weights
            flat |= {f"{name}.adam.{key}": value for key, value in player.adam._asdict().items()}
        return flat | {f.name: getattr(self, f.name) for f in fields(self)[4:]}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> GanState:
        """This state with the tensors of a checkpoint.

        Raises:
            CheckpointError: a tensor is missing or has another shape, as after a change of the networks or of the number of replicas.
        """
        for name, own in self.tensors().items():
            if name not in tensors:
                raise CheckpointError(f"the checkpoint has no tensor '{name}'; it holds {sorted(tensors)}.")
            if tensors[name].shape != own.shape:
                raise CheckpointError(
                    f"tensor '{name}' of the checkpoint has the shape {tuple(tensors[name].shape)}, "
                    f"but these settings need {tuple(own.shape)}.\n"
                    "Resume with the networks and the number of replicas that the run was started with."
                )

        def like(name: str) -> Tensor:
            return tensors[name].to(self.tensors()[name])

        def player(name: str) -> Player:
            adam = AdamState(*(like(f"{name}.adam.{key}") for key in AdamState._fields))
            return Player(like(f"{name}.weights"), adam)

        rest = {f.name: like(f.name) for f in fields(self)[4:]}
        return replace(self, step=int(tensors["step"]), generator=player("generator"), discriminator=player("discriminator"), **rest)
