"""State of the adversarial method."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from unscatter.arrays import RandomStream
from unscatter.errors import CheckpointError
from unscatter.exchange import Exchange
from unscatter.methods.gan.features import Features
from unscatter.networks import AdamState, FlatModule, adam_init
from unscatter.pipeline import Problem


@dataclass(frozen=True, eq=False)
class GanStatic:
    """What does not change during a fit and is rebuilt, not stored."""

    problem: Problem
    """What is fitted."""
    generator: FlatModule
    """Structure of the generator, and its buffers."""
    discriminator: FlatModule
    """Structure of the discriminator."""
    features: Features
    """What the discriminator sees of an event."""
    observed_counts: Tensor
    """Measured numbers of events, ``[replica, channel]``."""
    exposure: float
    """Share of the full data behind the observed counts."""
    use_rates: bool
    """Whether numbers of events are fitted."""
    prior_centres: Tensor | None
    """Latent points that the prior draws the replicas to, ``[replica, latent_size]``; None without a prior."""
    rng: RandomStream
    """Where all random numbers come from."""
    num_steps: int
    """Steps of a round."""
    fitted_start: bool
    """Whether the start is a fit to the same events already, so that all rounds are later ones."""
    exchange: Exchange
    """How ranks share the generator."""
    device: torch.device
    """Where all tensors are."""

    def constants(self) -> dict[str, Tensor]:
        """Buffers of the generator and the feature transform: recomputed elsewhere they could differ in the last bit, or in a sign."""
        buffers = {f"generator.{name}": buffer for name, buffer in self.generator.module.named_buffers()}
        features = {f"features.{name}": getattr(self.features, name) for name in _FEATURE_TENSORS}
        prior = {} if self.prior_centres is None else {"prior_centres": self.prior_centres}
        return buffers | features | prior | {"observed_counts": self.observed_counts}

    def with_constants(self, tensors: Mapping[str, Tensor]) -> GanStatic:
        """The same with the constants of a checkpoint."""
        module = copy.deepcopy(self.generator.module)
        for name, buffer in module.named_buffers():
            buffer.copy_(tensors[f"generator.{name}"])
        features = replace(self.features, **{name: tensors[f"features.{name}"] for name in _FEATURE_TENSORS})
        return replace(
            self,
            generator=FlatModule(module, self.generator.num_replicas),
            features=features,
            prior_centres=None if self.prior_centres is None else tensors["prior_centres"],
        )


_FEATURE_TENSORS = ("floor", "mean", "whitening")


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

    def shared(self) -> dict[str, Tensor]:
        """What all ranks must have alike: the generator's weights, and the constants that give them their meaning."""
        constants = {name: tensor for name, tensor in self.static.constants().items() if name != "observed_counts"}
        return constants | {"generator.weights": self.generator.weights}

    def with_shared(self, tensors: Mapping[str, Tensor]) -> GanState:
        """This state, before its first step, with what all ranks must have alike."""
        weights = tensors["generator.weights"]
        return replace(self, static=self.static.with_constants(tensors), generator=Player.start(weights), ema=weights)

    def sums(self) -> dict[str, Tensor]:
        """What is summed over the ranks at the end of a round."""
        averages = {"ema": self.ema, "weights": self.generator.weights, "tail": self.tail, "tail_counts": self.tail_counts}
        return averages | {"ranks": torch.ones(1, device=self.static.device)}

    def with_sums(self, sums: Mapping[str, Tensor]) -> GanState:
        """This state with the mean generator of all ranks."""
        ranks = sums["ranks"]
        generator = self.generator._replace(weights=sums["weights"] / ranks)
        return replace(self, generator=generator, ema=sums["ema"] / ranks, tail=sums["tail"], tail_counts=sums["tail_counts"])

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes, and the constants that give the weights their meaning, by name."""
        changing = {name: getattr(self, name) for name in _AVERAGES}
        players = _player_tensors("generator", self.generator) | _player_tensors("discriminator", self.discriminator)
        ranks = self.static.exchange.num_ranks
        counts = {"step": torch.tensor(self.step)} | ({"num_ranks": torch.tensor(ranks)} if ranks > 1 else {})
        return counts | players | changing | self.static.constants()

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> GanState:
        """This state with the tensors of a checkpoint.

        Raises:
            CheckpointError: a tensor is missing or has another shape, as after a change of the networks or of the number of replicas,
                or the checkpoint was made from other numbers of events.
        """
        own = self.tensors()
        num_ranks = own.pop("num_ranks", torch.tensor(1))
        for name, tensor in own.items():
            _check_tensor(name, tensor, tensors)
        given = {name: tensors[name].to(tensor) for name, tensor in own.items()}
        if not torch.equal(num_ranks, tensors.get("num_ranks", torch.tensor(1)).to(num_ranks)):
            # Another number of ranks cuts the same events into other shards.
            given["observed_counts"] = own["observed_counts"]
        if not torch.equal(given["observed_counts"], own["observed_counts"]):
            raise CheckpointError(
                f"the checkpoint was made from {given['observed_counts'].tolist()} events per replica and channel, "
                f"but there are {own['observed_counts'].tolist()} now: resume with the events that the run was started with."
            )
        return replace(
            self,
            static=self.static.with_constants(given),
            step=int(given["step"]),
            generator=_player("generator", given),
            discriminator=_player("discriminator", given),
            **{name: given[name] for name in _AVERAGES},
        )


_AVERAGES = ("ema", "tail", "tail_counts", "skipped")


def _player_tensors(name: str, player: Player) -> dict[str, Tensor]:
    moments = {f"{name}.adam.{key}": value for key, value in player.adam._asdict().items()}
    return {f"{name}.weights": player.weights} | moments


def _player(name: str, tensors: Mapping[str, Tensor]) -> Player:
    return Player(tensors[f"{name}.weights"], AdamState(*(tensors[f"{name}.adam.{key}"] for key in AdamState._fields)))


def _check_tensor(name: str, own: Tensor, tensors: Mapping[str, Tensor]) -> None:
    if name not in tensors:
        raise CheckpointError(f"the checkpoint has no tensor '{name}'; it holds {sorted(tensors)}.")
    if tensors[name].shape != own.shape:
        raise CheckpointError(
            f"tensor '{name}' of the checkpoint has the shape {tuple(tensors[name].shape)}, but these settings need {tuple(own.shape)}.\n"
            "Resume with the networks and the number of replicas that the run was started with."
        )
