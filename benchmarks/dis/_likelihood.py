"""Likelihood of deep-inelastic events by the node values of a density, to compare the adversarial fit with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unscatter.arrays import Events, RandomStream
from unscatter.pipeline import Problem
from unscatter.pipeline.derivatives import jacobian
from unscatter.samplers import Rosenblatt

#: Edges of the bins in measured Q2 and y of folded events; what lies outside falls into the outermost.
_EDGES = tuple(torch.logspace(0, 1, n + 1, base=b / a, dtype=torch.float64) * a for a, b, n in ((8, 9000, 45), (0.01, 0.95, 40)))
_NUM_BINS = (len(_EDGES[0]) - 1) * (len(_EDGES[1]) - 1)
#: Distance of draws from the best point over that of the posterior.
NEARER = 0.1
#: Simulated events behind the response, in blocks that fit into memory.
_BLOCKS, _BLOCK = 8, 2**18


@dataclass(frozen=True)
class Likelihood:
    r"""Extended likelihood of events by the node values :math:`v` of a density, up to a constant.

    .. math:: -\ln L = \mu - \sum_k n_k \ln v_k \quad \text{(ideal detector)}, \qquad
              -\ln L = \sum_b \nu_b - n_b \ln \nu_b, \quad \nu = R v \quad \text{(any other, in bins)}

    For the ideal detector it has no bins: the density is interpolated in logarithms of everything, so that each event can be handed to the
    nodes round it.

    Args:
        observed: :math:`n`, events per node or bin, ``[channel, node or bin]``.
        response: :math:`R`, ``[bin, node]``, or None for the ideal detector.
    """

    observed: Tensor
    response: Tensor | None

    @classmethod
    def of(cls, problem: Problem, events: dict[str, Events]) -> Likelihood:
        """Likelihood of measured events."""
        samples = [problem.prepare(name, events[name]).select(("Q2", "y")).values.double() for name in problem.channels]
        if problem.pipeline.detector.noise_columns:
            numbers = [torch.bincount(_bins(sample), minlength=_NUM_BINS).double() for sample in samples]
            return cls(torch.stack(numbers), _response(problem))
        axes = [axis.double().log() for axis in problem.grid.axes]
        handed = torch.zeros((len(samples), _num_nodes(problem)), dtype=torch.float64)
        for own, sample in zip(handed, samples, strict=True):
            for node, weight in _corners(axes, sample.log()):
                own.index_add_(0, node, weight)
        return cls(handed, None)

    def expected(self, problem: Problem, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of all that is expected, and what the logarithms are taken of, ``[channel, node or bin]``."""
        density = problem.density(parameters)
        assert density.expected_counts is not None
        values = density.values.flatten(1)
        if self.response is None:
            return density.expected_counts.sum(), values
        rates = density.expected_counts / density.grid.integrate(density.values)
        numbers = (values * rates.unsqueeze(-1)) @ self.response.T
        return numbers.sum(), numbers

    def __call__(self, problem: Problem, parameters: Tensor) -> Tensor:
        """Minus its logarithm."""
        total, values = self.expected(problem, parameters)
        return total - (self.observed * values.clamp_min(1e-12).log()).sum()


def maximum_likelihood(problem: Problem, events: dict[str, Events], number: int) -> Tensor:
    """The best parameters with the prior, and draws of the Gaussian posterior round them, ``[1 + number, size]``.

    The draws lie at :data:`NEARER` of their distance, where functions of the parameters are linear.
    """
    likelihood = Likelihood.of(problem, events)
    latent, width = problem.prior_latent.clone().requires_grad_(), problem.prior_width or 1.0
    optimiser = torch.optim.LBFGS(
        [latent], max_iter=1000, max_eval=3000, line_search_fn="strong_wolfe", tolerance_grad=1e-3, tolerance_change=1e-9, history_size=30
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        pull = (latent - problem.prior_latent) / width
        value = likelihood(problem, problem.space.to_parameters(latent)) + pull.square().sum() / 2
        value.backward()
        return value

    # Once more from where it stopped: the memory of the search starts anew.
    for _ in range(2):
        optimiser.step(loss)  # pyright: ignore[reportArgumentType]
    found = latent.detach()
    draws = torch.randn((number, len(found)), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spread = NEARER * draws @ torch.linalg.cholesky(torch.linalg.inv(_information(problem, likelihood, found))).T
    return problem.space.to_parameters(torch.cat([found[None], found + spread]))


def _information(problem: Problem, likelihood: Likelihood, latent: Tensor) -> Tensor:
    """Of events and prior about the latent numbers, with the observed numbers in place of the expected ones."""
    _, slopes = jacobian(lambda point: _logarithms(problem, likelihood, point), latent)
    observed, slopes = likelihood.observed.flatten(), slopes.flatten(0, 1)
    information = slopes.T @ (observed.unsqueeze(-1) * slopes)
    return information + torch.eye(len(latent), dtype=torch.float64) / (problem.prior_width or 1.0) ** 2


def _logarithms(problem: Problem, likelihood: Likelihood, latent: Tensor) -> Tensor:
    return likelihood.expected(problem, problem.space.to_parameters(latent))[1].clamp_min(1e-12).log()


def _num_nodes(problem: Problem) -> int:
    Q2, y = problem.grid.shape
    return Q2 * y


def _bins(sample: Tensor) -> Tensor:
    Q2, y = (torch.bucketize(sample[:, d].contiguous(), edges[1:-1].contiguous()) for d, edges in enumerate(_EDGES))
    return Q2 * (len(_EDGES[1]) - 1) + y


def _corners(axes: Sequence[Tensor], points: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Nodes round each point and their bilinear weights, corner by corner."""
    located: list[tuple[Tensor, Tensor]] = []
    for d, axis in enumerate(axes):
        cell = (torch.searchsorted(axis, points[:, d].contiguous(), right=True) - 1).clamp(0, len(axis) - 2)
        located.append((cell, ((points[:, d] - axis[cell]) / (axis[cell + 1] - axis[cell])).clamp(0, 1)))
    for corner in itertools.product((0, 1), repeat=len(axes)):
        node, weight = torch.zeros_like(located[0][0]), torch.ones_like(located[0][1])
        for axis, (cell, share), upper in zip(axes, located, corner, strict=True):
            node, weight = node * len(axis) + cell + upper, weight * (share if upper else 1 - share)
        yield node, weight


def _response(problem: Problem) -> Tensor:
    """Recorded events per bin and node value of a density of events, from simulated ones of the first channel at the prior's centre."""
    sampler, detector = Rosenblatt(points="sobol"), problem.pipeline.detector
    density = problem.density(problem.space.to_parameters(problem.prior_latent))
    one = replace(density, values=density.values[:1].detach(), channels=density.channels[:1], expected_counts=None)
    norm, axes = float(one.grid.integrate(one.values)), [axis.double() for axis in one.grid.axes]
    table = torch.zeros(_NUM_BINS * _num_nodes(problem), dtype=torch.float64)
    for block in range(_BLOCKS):
        random = RandomStream(17).generator("response", block)
        numbers = sampler.uniforms((1,), _BLOCK, 2 + detector.noise_columns, generator=random, dtype=torch.float64)
        true = sampler(one, numbers[..., :2])
        recorded = detector(true, numbers[..., 2:], {})
        corners = list(_corners(axes, true.values[0]))
        density_there = torch.stack([weight * one.values.flatten()[node] for node, weight in corners]).sum(0)
        seen = recorded.weights_or_ones()[0] * norm / density_there / (_BLOCK * _BLOCKS)
        bins = _bins(recorded.select(("Q2", "y")).values[0])
        for node, weight in corners:
            table.index_add_(0, bins * _num_nodes(problem) + node, seen * weight)
    return table.reshape(_NUM_BINS, -1)
