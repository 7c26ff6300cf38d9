"""The forward model as one differentiable call: theory, sampler, detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unscatter.arrays import Density, Events
from unscatter.detectors import Detector
from unscatter.samplers import Rosenblatt, Sampler
from unscatter.theories import Theory


@dataclass(frozen=True, eq=False)
class SyntheticEvents:
    """What the pipeline makes of one or many sets of parameters.

    Args:
        events: ``[..., channel, num_events, columns]``, with weights where the detector gave them.
        expected_counts: expected number of events that the detector records, ``[..., channel]``, or None where rates carry no information.
    """

    events: Events
    expected_counts: Tensor | None


@dataclass(frozen=True, eq=False)
class PipelineNoise:
    """All random numbers of one pass, so that the pass itself is a deterministic, differentiable function.

    Args:
        sampler: ``[..., channel, num_events, dimensions]``.
        detector: ``[..., channel, num_events, noise_columns]``.
    """

    sampler: Tensor
    detector: Tensor


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Physics parameters -> density -> events -> what the detector records.

    Args:
        theory: from physics parameters to densities.
        detector: smearing, efficiency, background, cuts; the ideal detector by default.
        sampler: from densities to events.
    """

    theory: Theory
    detector: Detector = field(default_factory=Detector)
    sampler: Sampler = field(default_factory=Rosenblatt)

    def draw_noise(
        self, batch_shape: tuple[int, ...], num_events: int, *, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
    ) -> PipelineNoise:
        """Draw the random numbers of one pass of ``num_events`` events per parameter set and channel, on the generator's device."""
        device = "cpu" if generator is None else generator.device
        shape = (*batch_shape, len(self.theory.channels))
        uniforms = self.sampler.uniforms(
            shape, num_events, self.theory.grid.num_dimensions, generator=generator, device=device, dtype=dtype
        )
        detector = torch.rand((*shape, num_events, self.detector.noise_columns), generator=generator, device=device, dtype=dtype)
        return PipelineNoise(uniforms, detector)

    def __call__(self, physics_params: Tensor, noise: PipelineNoise, nuisances: Mapping[str, Tensor] | None = None) -> SyntheticEvents:
        """Push parameters through theory, sampler and detector.

        Args:
            physics_params: ``[..., *theory.parameter_shape]``.
            noise: random numbers for the same batch shape.
            nuisances: the detector's own parameters, one tensor ``[...]`` per name.
        """
        return self.fold(self.theory(physics_params), noise, nuisances)

    def fold(self, density: Density, noise: PipelineNoise, nuisances: Mapping[str, Tensor] | None = None) -> SyntheticEvents:
        """Sample a density and push the events through the detector."""
        return self.record(self.sampler(density, noise.sampler), density.expected_counts, noise.detector, nuisances)

    def record(
        self, truth: Events, expected_counts: Tensor | None, noise: Tensor, nuisances: Mapping[str, Tensor] | None = None
    ) -> SyntheticEvents:
        """Push events through the detector and count what it is expected to record.

        The detector's weights say which share of the events is seen, so the counts are multiplied by the sum of the weights that come
        out over the sum of those that go in.
        """
        # One value per parameter set becomes broadcastable to [..., channel, num_events].
        broadcast = {name: value[..., None, None] for name, value in (nuisances or {}).items()}
        recorded = self.detector(truth, noise, broadcast)
        if expected_counts is not None and recorded.weights is not None:
            expected_counts = expected_counts * (recorded.weights.sum(-1) / truth.weights_or_ones().sum(-1))
        return SyntheticEvents(recorded, expected_counts)

    def with_sampler(self, sampler: Sampler) -> Pipeline:
        """The same pipeline with another sampler."""
        return replace(self, sampler=sampler)
