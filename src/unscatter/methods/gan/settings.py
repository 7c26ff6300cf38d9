"""Settings of the adversarial method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Columns of a hidden layer.
_Width = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class GeneratorSettings(_Section):
    """What proposes the parameters."""

    kind: Literal["direct", "network"] = "direct"
    """``direct``: the parameters themselves are learnt; ``network``: a network fed with noise proposes them."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Adam's step size at the start; 0.2 for ``direct`` with ``precondition``, 0.01 without it, 0.001 for ``network`` when null."""
    approach: float | None = Field(default=None, gt=0, lt=1)
    """``direct`` with ``precondition`` only: share of the way to the solution that a step at the start goes, where that is shorter than
    ``learning_rate``; such steps shrink with the gradient instead of keeping Adam's length. Suits problems with a prior and
    weakly determined directions, at 0.03, and is too slow for others; null for Adam's steps."""
    warm_up: int = Field(default=0, ge=0)
    """Steps in which the step size rises from zero with their square, at the start of a fit and of each pass of its pilot, and half of
    their steps at most: a discriminator that has not learnt anything yet pushes the generator about at random, and weakly determined
    directions take long to come back."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """Adam's momentum; 0 to 0.5, because the other player moves too."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Decay of Adam's mean square."""
    precondition: bool = True
    """``direct`` only: learn along directions that the events determine equally well, from the Fisher information at the start."""
    batch: int = Field(default=64, ge=1)
    """``network`` only: parameter sets per step, each with its share of ``num_events``."""
    noise_size: int = Field(default=6, ge=1)
    """``network`` only: columns of noise."""
    hidden: tuple[_Width, ...] = (64, 64)
    """``network`` only: columns of every hidden layer."""
    clip_norm: float = Field(default=10.0, gt=0)
    """Largest norm of a replica's gradient, in units of its running root mean square; longer ones are scaled down."""

    @property
    def step_size(self) -> float:
        """Adam's step size at the start, whatever the kind."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.kind == "network":
            return 1e-3
        return 0.2 if self.precondition else 1e-2


class DiscriminatorSettings(_Section):
    """What compares synthetic with measured events."""

    hidden: tuple[_Width, ...] = (64, 64)
    """Columns of every hidden layer."""
    activation: Literal["silu", "gelu", "tanh", "leaky-relu", "softplus"] = "silu"
    """Nonlinearity; smooth ones suit the gradient penalty."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's step size at the start."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """Adam's momentum; 0 to 0.5, because the other player moves too."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Decay of Adam's mean square."""
    steps: int = Field(default=1, ge=1)
    """Steps of the discriminator per step of the generator."""
    penalty: float = Field(default=0.1, ge=0)
    """Weight of the gradient penalty; zero-centred on measured and synthetic events, or towards one for ``wasserstein-gp``."""
    penalty_events: int = Field(default=512, ge=1)
    """Events per side, channel and step that the penalty is evaluated on; it costs several times as much per event as the loss."""
    logarithms: bool | tuple[str, ...] = True
    """Columns whose logarithm is an extra feature; true means every column whose measured values are all positive."""
    clip_norm: float = Field(default=10.0, gt=0)
    """Largest norm of a replica's gradient, in units of its running root mean square; longer ones are scaled down."""

    @property
    def step_size(self) -> float:
        """Adam's step size at the start."""
        return self.learning_rate


class GanSettings(_Section):
    """Settings of the adversarial method.

    Example:
        >>> GanSettings(num_events=1024).loss
        'relativistic'
    """

    loss: Literal["relativistic", "nonsaturating", "least-squares", "wasserstein-gp"] = "relativistic"
    """Adversarial loss."""
    num_events: int = Field(default=2048, ge=2)
    """Measured and synthetic events per step, channel and replica."""
    generator: GeneratorSettings = GeneratorSettings()
    """What proposes the parameters."""
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    """What compares synthetic with measured events."""
    rates: Literal["auto", "on", "off"] = "auto"
    """Whether the numbers of events are fitted too; ``auto`` where the theory has a luminosity."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How step sizes fall: to ``final_rate`` of the start along a cosine, or not at all."""
    final_rate: float = Field(default=0.05, gt=0, le=1)
    """Step size at the end as a share of that at the start."""
    later_rate: float = Field(default=1.0, gt=0, le=1)
    """Step size at the start of the second and later rounds as a share of that of the first."""
    average: Literal["tail", "ema", "last"] = "tail"
    """Reported generator: mean of the weights over the tail, exponential moving average, or the last iterate."""
    tail_start: float = Field(default=0.5, ge=0, lt=1)
    """Share of the steps after which the tail begins."""
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the exponential moving average per step."""
    max_skipped: float = Field(default=0.05, ge=0, le=1)
    """Share of steps that may be skipped because they were not finite before the fit is given up."""

    @model_validator(mode="after")
    def _check_batch(self) -> GanSettings:
        if self.generator.kind == "network" and self.generator.batch > self.num_events:
            raise ValueError(
                f"generator.batch is {self.generator.batch}, more than the {self.num_events} events of a step (num_events): "
                "every parameter set needs at least one event"
            )
        return self
