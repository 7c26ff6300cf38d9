r"""Pseudo-data that do not fluctuate: everything that is measured equals its expectation.

An *Asimov data set* (G. Cowan et al., arXiv:1007.1727, section 3.2) shows what a method makes of the truth itself.  Its events lie on a
Sobol sequence, carry the detector's weights, and these add up to the expected number.  Averages over N of them are off by about 1/N where
those of independent events fluctuate by :math:`1/\sqrt N`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from unscatter.arrays import Events, RandomStream
from unscatter.errors import SettingsError
from unscatter.pipeline.memory import check_simulation
from unscatter.pipeline.pipeline import PipelineNoise, SyntheticEvents
from unscatter.pipeline.problem import Problem, numbers_per_channel
from unscatter.samplers import Rosenblatt

#: Events that tell how many of them the detector records.
_PILOT_EVENTS = 65_536


def asimov_events(problem: Problem, *, num_events: int | Mapping[str, int] | None = None, seed: int = 0) -> dict[str, Events]:
    """Weighted events per channel at the truth, as many as are worth the expected number of unweighted ones.

    Args:
        problem: with a known truth.
        num_events: sum of the weights, per channel or for each; the expected number of recorded events when None.
        seed: of the scrambling of the sequence; expectations do not depend on it.

    Raises:
        SettingsError: no number of events, and a theory without a luminosity; a detector that records nothing; too many events.
        ParameterError: no truth is known.

    Example:
        >>> from unscatter.problems import proxy2d
        >>> events = asimov_events(proxy2d(nodes=17), num_events=1000)["events"]
        >>> events.num_events, round(float(events.weights.sum()), 6)
        (1000, 1000.0)
    """
    source = problem.truth_problem or problem
    stream = RandomStream(seed, ("asimov", problem.name))
    pilot = _record(source, _PILOT_EVENTS, stream.generator("pilot"))
    wanted = _wanted(source, pilot, num_events)
    draws = {channel: _num_draws(source, index, pilot, wanted[channel]) for index, channel in enumerate(source.channels)}
    check_simulation(source.grid, len(source.channels), draws, len(source.measured_columns))
    return {
        channel: _channel(source, index, draws[channel], None if num_events is None else wanted[channel], stream)
        for index, channel in enumerate(source.channels)
    }


def _wanted(problem: Problem, pilot: SyntheticEvents, num_events: int | Mapping[str, int] | None) -> dict[str, float]:
    channels = problem.channels
    if num_events is not None:
        return {channel: float(number) for channel, number in numbers_per_channel(channels, num_events).items()}
    if pilot.expected_counts is None:
        raise SettingsError(f"problem '{problem.name}' has no luminosity, so the number of events must be given, for example 100,000.")
    return dict(zip(channels, pilot.expected_counts.tolist(), strict=True))


def _num_draws(problem: Problem, index: int, pilot: SyntheticEvents, wanted: float) -> int:
    """Events to draw so that those that are recorded are worth ``wanted`` unweighted ones."""
    weights = pilot.events.weights_or_ones()[index]
    worth = float(weights.sum().square() / weights.square().sum().clamp_min(torch.finfo(weights.dtype).tiny))
    if not worth > 0:
        raise SettingsError(
            f"the detector recorded none of {_PILOT_EVENTS:,} events in channel '{problem.channels[index]}'.\n"
            "Look at its cuts and efficiencies with problem.check()."
        )
    return max(1, math.ceil(wanted * _PILOT_EVENTS / worth))


def _channel(problem: Problem, index: int, num_draws: int, wanted: float | None, stream: RandomStream) -> Events:
    recorded = _record(problem, num_draws, stream.generator("events", index))
    weights, values = recorded.events.weights_or_ones()[index], recorded.events.values[index]
    if wanted is None:
        assert recorded.expected_counts is not None
        wanted = float(recorded.expected_counts[index])
    kept = (weights > 0).nonzero()[:, 0]
    # Neighbours of the sequence belong together; a mini-batch must not be one of its patterns.
    kept = kept[torch.randperm(len(kept), generator=stream.generator("order", index))]
    return Events(values[kept], recorded.events.columns, weights[kept] * (wanted / weights.sum()))


def _record(problem: Problem, num_events: int, generator: torch.Generator) -> SyntheticEvents:
    sampler, dimensions = Rosenblatt(points="sobol"), problem.grid.num_dimensions
    independent = problem.pipeline.with_sampler(sampler)
    numbers = sampler.uniforms(
        (len(problem.channels),), num_events, dimensions + independent.detector.noise_columns, generator=generator, dtype=torch.float64
    )
    noise = PipelineNoise(numbers[..., :dimensions], numbers[..., dimensions:])
    parameters: Tensor = problem.parameters_or_truth(None)
    with torch.no_grad():
        return problem.record(parameters, noise, independent)
