r"""Fisher information of a problem by automatic differentiation.

For the ideal detector it is an integral over the nodes.  For any other one, positions of simulated events are held fixed and their weights
follow the parameters,

.. math:: w_i(p) = \frac{\rho(x_i; p)}{\rho(x_i; p_0)}\, \epsilon_i(p),

so that whatever the detector does to an event - smearing, efficiency, cuts, background - is folded in without a formula for the density
of recorded events.  With the weights summed in bins of the observables, :math:`n_b(p) = \sum_{i \in b} w_i(p)`, the information is

.. math:: F_{ab} = \sum_b \frac{\partial_a n_b\, \partial_b n_b}{n_b}.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unscatter.arrays import Events, RandomStream
from unscatter.arrays.interpolation import interpolate
from unscatter.errors import ShapeError, TheoryError
from unscatter.pipeline.derivatives import jacobian
from unscatter.pipeline.problem import Problem
from unscatter.pipeline.space import ParameterSpace
from unscatter.samplers import Rosenblatt

#: At most so many bins per channel hold the simulated events, and on average at least so many events a bin.
_MAX_BINS = 2000
_EVENTS_PER_BIN = 100
#: Information below so many standard deviations of the simulation counts as none.
_SIGNIFICANCE = 4.0
#: Eigenvalues of a matrix with unit diagonal that are zero to rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class FisherInformation:
    r"""Information per channel, separated into what shapes and what rates tell.

    Args:
        shape: information of one recorded event of each channel, ``[channel, size, size]``, rates excluded.
        log_rate: :math:`\partial \ln \mu_c / \partial p`, ``[channel, size]``; zero where rates carry no information.
    """

    shape: Tensor
    log_rate: Tensor

    def total(self, counts: Tensor, *, rates: bool) -> Tensor:
        r"""Information of a measurement, :math:`\sum_c N_c (F_c + [\text{rates}]\, \partial\ln\mu_c \partial\ln\mu_c^T)`.

        Args:
            counts: number of events :math:`N_c` per channel, ``[channel]``.
            rates: whether the numbers of events count as measured.

        Raises:
            ShapeError: not one count per channel.
        """
        if counts.shape != self.shape.shape[:1]:
            raise ShapeError(
                f"'counts' must have one entry for each of the {len(self.shape)} channels, got the shape {tuple(counts.shape)}."
            )
        counts = counts.to(self.shape)
        information = torch.einsum("c,cij->ij", counts, self.shape)
        if rates:
            information = information + torch.einsum("c,ci,cj->ij", counts, self.log_rate, self.log_rate)
        return information


def fisher_information(
    problem: Problem, parameters: Float[Tensor, " size"], *, num_events: int = 200_000, seed: int = 0
) -> FisherInformation:
    r"""Fisher information at ``parameters``, by quadrature for the ideal detector and by simulation for any other.

    Args:
        problem: any problem.
        parameters: point :math:`p_0` of the space, ``[size]``; its edge is allowed where the theory has a derivative there.
        num_events: simulated events :math:`N` per channel, where the detector is not ideal.  In :math:`B` bins the share of the information
            that survives the detector comes out with an error of about :math:`\sqrt{2 B} / N`; directions in which less survives than
            four times that count as not determined.
        seed: of the simulation.

    Raises:
        ShapeError: ``parameters`` do not fit the problem.
        TheoryError: no gradient reaches the parameters, or a derivative is not finite.

    Example:
        >>> from unscatter.problems import proxy1d
        >>> problem = proxy1d()
        >>> information = fisher_information(problem, problem.parameters_or_truth(None))
        >>> information.shape.shape, information.log_rate.shape
        (torch.Size([2, 6, 6]), torch.Size([2, 6]))
    """
    if parameters.shape != (problem.space.size,):
        raise ShapeError(
            f"'parameters' must be {problem.space.size} numbers for {list(problem.space.names)}, got the shape {tuple(parameters.shape)}."
        )
    parameters = parameters.detach().to("cpu", torch.float64)
    # Quadrature needs the density of the observables themselves, not of more columns than are looked at.
    if not problem.pipeline.detector.stages and set(problem.observables) == set(problem.grid.names):
        return _by_quadrature(problem, parameters)
    return _by_simulation(problem, parameters, num_events, seed)


def latent_information(
    space: ParameterSpace, latent: Float[Tensor, " latent"], information: Float[Tensor, "size size"]
) -> tuple[Float[Tensor, "size latent"], Float[Tensor, "latent latent"]]:
    r"""Information about the latent numbers instead of the parameters.

    .. math:: J = \frac{\partial p}{\partial \ell}, \qquad F_\ell = J^T F J

    Args:
        space: of the parameters.
        latent: point :math:`\ell`.
        information: :math:`F` about the parameters there.

    Returns:
        :math:`J` and :math:`F_\ell`, which is symmetric to the last bit.
    """
    _, slopes = jacobian(space.to_parameters, latent)
    curvature = slopes.T @ information.to(slopes) @ slopes
    return slopes, (curvature + curvature.T) / 2


def _by_quadrature(problem: Problem, parameters: Tensor) -> FisherInformation:
    num_channels = len(problem.channels)

    def tabulate(p: Tensor) -> Tensor:
        density = problem.density(p)
        norm = density.grid.integrate(density.values)
        shapes = (density.values / norm.reshape(-1, *[1] * density.grid.num_dimensions)).flatten(1)
        rates = torch.zeros_like(norm) if density.expected_counts is None else torch.log(density.expected_counts)
        return torch.cat([shapes, rates.unsqueeze(1)], 1)

    value, slopes = jacobian(tabulate, parameters)
    _check_finite(problem, parameters, slopes)
    values, slopes, log_rate = value[:, :-1].double(), slopes[:, :-1].double(), slopes[:, -1].double()
    # Nodes without density cannot hold events: they carry no information instead of an infinite one.
    scores = torch.where(values.unsqueeze(-1) > 0, slopes / values.clamp_min(torch.finfo(values.dtype).tiny).sqrt().unsqueeze(-1), 0.0)
    volumes = _node_volumes(problem).expand(num_channels, -1)
    return FisherInformation(torch.einsum("ck,cki,ckj->cij", volumes, scores, scores), log_rate)


def _node_volumes(problem: Problem) -> Tensor:
    volumes = torch.ones(1, dtype=torch.float64)
    for weights in problem.grid.to("cpu", torch.float64).trapezoid_weights:
        volumes = torch.outer(volumes, weights).flatten()
    return volumes


def _check_finite(problem: Problem, parameters: Tensor, slopes: Tensor) -> None:
    bad = ~torch.isfinite(slopes).reshape(-1, slopes.shape[-1]).all(0)
    if bool(bad.any()):
        seen = {name: float(parameters[i]) for i, name in enumerate(problem.space.names) if bad[i]}
        raise TheoryError(
            f"the derivatives of the theory by {list(seen)} are not finite at {seen}.\n"
            "Take a point farther inside the ranges, or write the theory so that its derivative exists there."
        )


def _by_simulation(problem: Problem, parameters: Tensor, num_events: int, seed: int) -> FisherInformation:
    sample = _fixed_events(problem, parameters, num_events, seed)
    expected, slopes = jacobian(sample.weights, parameters)
    _check_finite(problem, parameters, slopes)
    values = sample.recorded_values(parameters)
    channels = [_binned_information(*parts) for parts in zip(values, expected, slopes, strict=True)]
    shape, log_rate = torch.stack([c[0] for c in channels]), torch.stack([c[1] for c in channels])
    return FisherInformation(shape, log_rate if sample.has_rates else torch.zeros_like(log_rate))


@dataclass(frozen=True, eq=False)
class _FixedEvents:
    """Truth events at fixed positions whose weights follow the parameters."""

    problem: Problem
    positions: Events
    detector_noise: Tensor
    reference: Tensor
    has_rates: bool

    def recorded(self, parameters: Tensor) -> Events:
        weights = _density_at(self.problem, parameters, self.positions.values) / self.reference
        nuisances = self.problem.space.nuisance_values(parameters)
        broadcast = {name: value[..., None, None] for name, value in nuisances.items()}
        events = Events(self.positions.values, self.positions.columns, weights)
        return self.problem.pipeline.detector(events, self.detector_noise, broadcast)

    def weights(self, parameters: Tensor) -> Tensor:
        return self.recorded(parameters).weights_or_ones().double()

    def recorded_values(self, parameters: Tensor) -> Tensor:
        with torch.no_grad():
            return self.recorded(parameters).select(self.problem.observables).values.double()


def _density_at(problem: Problem, parameters: Tensor, points: Tensor) -> Tensor:
    """Density of events ``[channel, num_events]``, with the expected number of a channel as its integral, or one without rates."""
    density = problem.density(parameters)
    norm = density.grid.integrate(density.values)
    rate = torch.ones_like(norm) if density.expected_counts is None else density.expected_counts
    return interpolate(density.values, density.grid, points) * (rate / norm).unsqueeze(-1)


def _fixed_events(problem: Problem, parameters: Tensor, num_events: int, seed: int) -> _FixedEvents:
    # Independent events of the exact sampler, whatever the problem trains with: stratified or approximate ones would bias the sums below.
    pipeline = problem.pipeline.with_sampler(Rosenblatt())
    noise = pipeline.draw_noise((), num_events, generator=RandomStream(seed).generator("information"), dtype=torch.float64)
    with torch.no_grad():
        density = problem.density(parameters)
        positions = pipeline.sampler(density, noise.sampler)
        reference = _density_at(problem, parameters, positions.values)
    return _FixedEvents(problem, positions, noise.detector, reference, density.expected_counts is not None)


def _binned_information(values: Tensor, weights: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Shape information of one recorded event ``[size, size]`` and the logarithmic derivative of the rate ``[size]``."""
    kept = weights > 0
    values, weights, slopes = values[kept], weights[kept], slopes[kept]
    if len(weights) == 0:
        return slopes.new_zeros(slopes.shape[1], slopes.shape[1]), slopes.new_zeros(slopes.shape[1])
    bins, num_bins = _bins_by_rank(values)
    total = weights.sum()
    log_rate = slopes.sum(0) / total
    centred = slopes - weights.unsqueeze(-1) * log_rate
    contents = weights.new_zeros(num_bins).index_add(0, bins, weights)
    squares = weights.new_zeros(num_bins).index_add(0, bins, weights.square())
    derivatives = slopes.new_zeros(num_bins, slopes.shape[-1]).index_add(0, bins, centred)
    # Products of different events only: an event times itself would add the variance of the simulation to the information.
    pairs = contents.square() - squares
    factor = torch.where(pairs > _ROUNDING * contents.square(), contents / pairs, 0.0)
    product = (derivatives.T @ (factor.unsqueeze(-1) * derivatives) - centred.T @ (factor[bins].unsqueeze(-1) * centred)) / total
    complete = centred.T @ (centred / weights.unsqueeze(-1)) / total
    effective = float(total.square() / weights.square().sum())
    return _significant((product + product.T) / 2, complete, math.sqrt(2 * num_bins) / effective), log_rate


def _significant(binned: Tensor, complete: Tensor, noise: float) -> Tensor:
    r"""Part of the binned information that stands out of the noise of the simulation.

    In coordinates where the information of the unobserved truth is one, what is left behind the detector has eigenvalues in [0, 1],
    all with the same noise.

    Args:
        binned: estimate from observables, ``[size, size]``.
        complete: information of truth and observables together, ``[size, size]``, which the former cannot exceed.
        noise: standard deviation of the eigenvalues.
    """
    scale = complete.diagonal().clamp_min(0).sqrt()
    inverse = torch.where(scale > 0, 1 / scale, 0.0)
    eigenvalues, vectors = torch.linalg.eigh(inverse[:, None] * complete * inverse)
    known = eigenvalues > _ROUNDING
    root, vectors = eigenvalues[known].sqrt(), vectors[:, known]
    whitening = inverse[:, None] * vectors / root
    shares, directions = torch.linalg.eigh(whitening.T @ binned @ whitening)
    shares = torch.where(shares > _SIGNIFICANCE * noise, shares.clamp(max=1), 0.0)
    back = scale[:, None] * (vectors * root) @ directions
    return (back * shares) @ back.T


def _bins_by_rank(values: Tensor) -> tuple[Tensor, int]:
    r"""Bin every event by its rank in the first column, then in the second within that slice, and so on; ``[num_events]``.

    Slice k of a column begins where :math:`(r + \frac{2}{\pi} \arcsin\sqrt{r}) / 2 = k / K` for the share r of the events below: slices
    are finer in the tails, where scores vary most from event to event, and hold nowhere more than twice the average.
    """
    num_events, columns = values.shape
    per_axis = max(2, round(min(_MAX_BINS, num_events / _EVENTS_PER_BIN) ** (1 / columns)))
    bins = torch.zeros(num_events, dtype=torch.long)
    for column in values.unbind(-1):
        by_value = torch.argsort(column, stable=True)
        order = by_value[torch.argsort(bins[by_value], stable=True)]
        counts = torch.bincount(bins)
        first = torch.cumsum(counts, 0) - counts
        fraction = (torch.arange(num_events) - first[bins[order]] + 0.5) / counts[bins[order]]
        slices = (per_axis * (fraction / 2 + torch.asin(fraction.sqrt()) / math.pi)).long().clamp(max=per_axis - 1)
        bins = bins.index_put((order,), bins[order] * per_axis + slices)
    return bins, per_axis**columns
