"""The Cramer-Rao bound of a problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unscatter.diagnostics.identifiability import Direction, describe_direction, sparse_basis
from unscatter.errors import ParameterError, SettingsError
from unscatter.pipeline import Bijection, Box, Problem, Product, Simplex, fisher_information, latent_information

#: Eigenvalues of the information with unit diagonal: zero to rounding (even where a theory computes in single precision) and nearly zero.
_NULL = 1e-10
_WEAK = 1e-6
#: Share of a null direction that a parameter must have to be called undetermined.
_INVOLVED = 1e-3
#: Share of the prior's error above which a parameter is said to be driven by the prior: the events have less than three quarters of the
#: information.
_PRIOR_DRIVEN = 0.5
#: Information of one event about a change of a parameter by its whole range that is rounding of single precision.
_NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class CramerRao:
    r"""What a number of events can tell about the parameters at best.

    .. math:: \mathrm{cov}(\hat p) \ge F^{-1}

    Args:
        names: one name per parameter.
        parameters: where the bound holds, ``[size]``.
        information: :math:`F`, ``[size, size]``.
        covariance: pseudo-inverse of the information of the parameters that are not fixed, ``[size, size]``; it is the covariance of the
            determined parameters and of determined combinations.
        sigma: smallest possible standard deviation, ``[size]``: ``inf`` where a parameter is not determined, zero where it is fixed.
        null_directions: along these the data do not change at all.
        weak_directions: along these the data change so little that the ranges of the parameters say more, or nearly not at all.
        fixed: names of the parameters that were held fixed.
    """

    names: tuple[str, ...]
    parameters: Tensor
    information: Tensor
    covariance: Tensor
    sigma: Tensor
    null_directions: tuple[Direction, ...]
    weak_directions: tuple[Direction, ...]
    fixed: tuple[str, ...] = ()

    @property
    def relative(self) -> Tensor:
        """Standard deviation over the size of the parameter, ``[size]``; ``inf`` for a parameter that is zero."""
        relative = self.sigma / self.parameters.abs()
        return torch.where(self.sigma == 0, 0.0, relative)

    @property
    def determined(self) -> Tensor:
        """Which parameters have a finite bound, ``[size]``."""
        return torch.isfinite(self.sigma)

    def lines(self) -> list[str]:
        """One line per parameter and per null or weak direction, for people."""
        width = max(map(len, self.names))
        rows = [
            f"{name:<{width}}  {value:12.6g}  {self._error_text(i)}"
            for i, (name, value) in enumerate(zip(self.names, self.parameters.tolist(), strict=True))
        ]
        return rows + [direction.text for direction in self.null_directions + self.weak_directions]

    def _error_text(self, index: int) -> str:
        if self.names[index] in self.fixed:
            return "fixed"
        sigma = float(self.sigma[index])
        return f"+- {sigma:.3g}" if math.isfinite(sigma) else "not determined"


def cramer_rao(
    problem: Problem,
    parameters: Sequence[float | int] | Mapping[str, float | int] | Tensor | None,
    counts: float | int | Mapping[str, float | int] | Tensor,
    *,
    rates: bool | None = None,
    fixed: Sequence[str] = (),
    num_events: int = 200_000,
    seed: int = 0,
) -> CramerRao:
    r"""Cramer-Rao bound of a measurement, with the directions that stay unknown in words.

    Args:
        problem: any problem.
        parameters: where to evaluate, one per name of the space; the truth when None.
        counts: recorded events per channel, ``[channel]`` or ``{channel: number}``, or one number for each of them.
        rates: whether the numbers of events count as measured beside the shapes; None for wherever the theory gives expected counts.
        fixed: names of parameters that are known from elsewhere.
        num_events: simulated events per channel where the detector is not ideal.
        seed: of that simulation.

    Raises:
        ParameterError: the parameters do not fit the space, or ``fixed`` names one that does not exist.
        SettingsError: counts do not fit the channels or are negative, or rates are asked for that the theory does not give.
        TheoryError: no gradient reaches the parameters, or a derivative is not finite.

    References:
        H. Cramer, Mathematical Methods of Statistics (1946), 32.3; extended likelihood: R. Barlow, Nucl. Instrum. Meth. A 297 (1990) 496.

    Example:
        >>> from unscatter.problems import proxy1d
        >>> bound = cramer_rao(proxy1d(), None, 100_000, rates=False)
        >>> [direction.text for direction in bound.null_directions]
        ['p0 and p3 only as a ratio']
        >>> [f"{sigma:.3f}" for sigma in bound.sigma.tolist()]
        ['inf', '0.017', '0.047', 'inf', '0.054', '0.403']
    """
    point = problem.parameters_or_truth(parameters).detach().cpu()
    names = problem.space.names
    if unknown := [name for name in fixed if name not in names]:
        raise ParameterError(f"'fixed' names {unknown}, but the parameters are {list(names)}.")
    information = _total_information(problem, point, counts, rates, num_events, seed)
    free = torch.tensor([name not in fixed for name in names])
    ranges = ranges_of(problem.space.bijection)
    if problem.prior_width is not None:
        if fixed:
            raise SettingsError(f"problem '{problem.name}' has a prior, with which no parameter can be held fixed: leave 'fixed' out.")
        return _with_prior(problem, point, information, problem.prior_width)
    units = torch.where(torch.isfinite(ranges), ranges, torch.where(point == 0, 1.0, point.abs()))
    scaled = _Scaled.of(information, free, floor=_NOTHING * float(_counts(problem.channels, counts).sum()) / units.square())
    null = scaled.null_directions()
    sigma = scaled.sigma(null)
    null_directions = tuple(
        Direction(_normalised(v), describe_direction(names, point, v)) for v in _in_words_basis(null, point, problem.space.bijection)
    )
    return CramerRao(
        names=names,
        parameters=point,
        information=information,
        covariance=scaled.covariance(),
        sigma=sigma,
        null_directions=null_directions,
        weak_directions=tuple(_weak_directions(names, scaled, sigma, ranges)),
        fixed=tuple(fixed),
    )


def _with_prior(problem: Problem, point: Tensor, information: Tensor, width: float) -> CramerRao:
    r"""The bound together with the prior, :math:`J (J^T F J + \sigma^{-2})^{-1} J^T` with :math:`J = \partial p / \partial \ell`.

    Nothing is undetermined then; parameters whose error is more than half of the prior's are named instead.
    """
    slopes, covariance = latent_covariance(problem, point, information)
    whole = slopes @ covariance @ slopes.T
    sigma = whole.diagonal().clamp_min(0).sqrt()
    prior = width * slopes.norm(dim=1)
    driven = [name for name, s, p in zip(problem.space.names, sigma, prior, strict=True) if float(s) > _PRIOR_DRIVEN * float(p)]
    text = f"the prior, not the events, sets most of the error of {', '.join(driven)}"
    involved = torch.tensor([float(name in driven) for name in problem.space.names], dtype=sigma.dtype)
    directions = (Direction(_normalised(involved), text),) if driven else ()
    return CramerRao(problem.space.names, point, information, whole, sigma, (), directions)


def latent_covariance(problem: Problem, point: Tensor, information: Tensor) -> tuple[Tensor, Tensor]:
    r"""How parameters follow latent numbers, and the covariance of these from events and prior.

    .. math:: J = \frac{\partial p}{\partial \ell}, \qquad C = \left(J^T F J + \sigma^{-2}\right)^{-1}

    Args:
        problem: with a prior of width :math:`\sigma`.
        point: parameters, ``[size]``.
        information: :math:`F` of the events, ``[size, size]``.

    Returns:
        :math:`J`, ``[size, latent_size]``, and :math:`C`, ``[latent_size, latent_size]``.
    """
    assert problem.prior_width is not None
    slopes, curvature = latent_information(problem.space, problem.space.to_latent(point.double()), information)
    prior = torch.eye(len(curvature), dtype=slopes.dtype) / problem.prior_width**2
    return slopes, torch.linalg.inv(curvature + prior)


def _total_information(
    problem: Problem,
    point: Tensor,
    counts: float | int | Mapping[str, float | int] | Tensor,
    rates: bool | None,
    num_events: int,
    seed: int,
) -> Tensor:
    with torch.no_grad():
        has_rates = problem.density(point).expected_counts is not None
    if rates and not has_rates:
        raise SettingsError(
            f"rates=True, but the theory of '{problem.name}' gives no expected counts.\nGive the theory a luminosity, or use rates=False."
        )
    information = fisher_information(problem, point, num_events=num_events, seed=seed)
    return information.total(_counts(problem.channels, counts), rates=has_rates if rates is None else rates)


def _counts(channels: tuple[str, ...], counts: float | int | Mapping[str, float | int] | Tensor) -> Tensor:
    if isinstance(counts, Mapping):
        if set(counts) != set(channels):
            raise SettingsError(f"'counts' must name the channels {list(channels)}, got {sorted(counts)}.")
        counts = torch.tensor([float(counts[channel]) for channel in channels])
    values = torch.as_tensor(counts, dtype=torch.float64).detach().cpu()
    if values.ndim and values.shape != (len(channels),):
        raise SettingsError(f"'counts' needs one number per channel {list(channels)}, got the shape {tuple(values.shape)}.")
    if not bool((torch.isfinite(values) & (values >= 0)).all()):
        raise SettingsError(f"'counts' must be finite and not negative, got {values.tolist()}.")
    return values.expand(len(channels))


@dataclass(frozen=True, eq=False)
class _Scaled:
    r"""Information in coordinates where its diagonal is one, so that its eigenvalues compare parameters of any unit."""

    scale: Tensor
    eigenvalues: Tensor
    vectors: Tensor
    free: Tensor

    @classmethod
    def of(cls, information: Tensor, free: Tensor, floor: Tensor) -> _Scaled:
        """Scale the information of the free parameters; entries of the diagonal up to ``floor`` count as zero."""
        informative = (information.diagonal() > floor)[free]
        kept = torch.where(informative[:, None] & informative, information[free][:, free], 0.0)
        # A parameter without any information keeps its unit; its row is zero and gives an eigenvalue of zero.
        scale = torch.where(informative, 1 / kept.diagonal().clamp_min(torch.finfo(kept.dtype).tiny).sqrt(), 1.0)
        eigenvalues, vectors = torch.linalg.eigh(scale[:, None] * kept * scale)
        return cls(scale, eigenvalues, vectors, free)

    @property
    def is_null(self) -> Tensor:
        return self.eigenvalues <= _NULL

    def null_directions(self) -> Tensor:
        """Changes of the parameters, ``[count, size]``."""
        return self._unscaled(self.vectors[:, self.is_null])

    def direction(self, index: int) -> Tensor:
        return self._unscaled(self.vectors[:, [index]])[0]

    def _unscaled(self, columns: Tensor) -> Tensor:
        directions = columns.new_zeros(columns.shape[1], len(self.free))
        directions[:, self.free] = (self.scale[:, None] * columns).T
        return directions

    def covariance(self) -> Tensor:
        known = ~self.is_null
        root = self.scale[:, None] * self.vectors[:, known] / self.eigenvalues[known].sqrt()
        covariance = root.new_zeros(len(self.free), len(self.free))
        index = self.free.nonzero().flatten()
        covariance[index[:, None], index] = root @ root.T
        return (covariance + covariance.T) / 2

    def sigma(self, null: Tensor) -> Tensor:
        sigma = self.covariance().diagonal().clamp_min(0).sqrt()
        unknown = torch.zeros_like(self.free)
        unknown[self.free] = self.vectors[:, self.is_null].square().sum(1).sqrt() > _INVOLVED
        return torch.where(unknown, math.inf, sigma)


def _in_words_basis(null: Tensor, point: Tensor, bijection: Bijection) -> Tensor:
    """Null directions with as few parameters each as possible."""
    if len(null) < 2:
        return null
    # Elimination in relative coordinates, where ratios and products are ones; parameters that are zero keep their unit.
    scale = torch.where(point == 0, 1.0, point.abs())
    return sparse_basis(null / scale) * scale


def _weak_directions(names: tuple[str, ...], scaled: _Scaled, sigma: Tensor, ranges: Tensor) -> list[Direction]:
    found = []
    for index, eigenvalue in enumerate(scaled.eigenvalues.tolist()):
        vector = scaled.direction(index)
        if _NULL < eigenvalue <= _WEAK:
            found.append(Direction(_normalised(vector), f"nearly no information along {_combination(names, vector)}"))
    for i in (torch.isfinite(sigma) & (sigma > ranges)).nonzero().flatten().tolist():
        unit = torch.zeros_like(sigma)
        unit[i] = 1.0
        text = f"{names[i]} is weakly determined: its error {float(sigma[i]):.3g} exceeds its range of {float(ranges[i]):.3g}"
        found.append(Direction(unit, text))
    return found


def _combination(names: tuple[str, ...], vector: Tensor) -> str:
    normalised = _normalised(vector)
    kept = [i for i in normalised.abs().argsort(descending=True).tolist() if abs(float(normalised[i])) > 0.01]
    return " ".join(f"{float(normalised[i]):+.3g} {names[i]}" for i in kept)


def _normalised(vector: Tensor) -> Tensor:
    vector = vector / vector.norm()
    return vector * torch.sign(vector[vector.abs().argmax()])


def ranges_of(bijection: Bijection) -> Tensor:
    """Width of the range of each parameter, ``[size]``; infinite where there is none or none is known.

    Example:
        >>> ranges_of(Product((Box((0.0, 0.0), (3.0, math.inf)), Simplex(2)))).tolist()
        [3.0, inf, 1.0, 1.0]
    """
    match bijection:
        case Box():
            return torch.tensor([high - low for low, high in zip(bijection.low, bijection.high, strict=True)], dtype=torch.float64)
        case Simplex():
            return torch.ones(bijection.size, dtype=torch.float64)
        case Product():
            return torch.cat([ranges_of(block) for block in bijection.blocks])
        case _:
            return torch.full((bijection.size,), math.inf, dtype=torch.float64)
