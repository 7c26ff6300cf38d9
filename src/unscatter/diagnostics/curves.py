"""Bands of curves: how well a fit knows them, and whether the events or the prior say so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from unscatter.diagnostics.bounds import CramerRao, latent_covariance, ranges_of
from unscatter.errors import ShapeError
from unscatter.pipeline import CurveFamily, Problem, jacobian

#: Share of the information at which the events have halved the error of the prior: from here on they set the band.
_EVENT_DRIVEN = 0.75
#: The same in units of the prior's information, 1 / (1 - share) - 1: eigenvalues above this belong to combinations that the events set.
_DETERMINED = 3.0
#: Share of a slope that may lie along directions that the events do not see before a curve counts as undetermined.
_INVOLVED = 1e-3
#: Relative size of a prior error that is rounding: the curve does not depend on the parameters there.
_ROUNDING = 1e-12
#: Sets of parameters whose curves are computed together, and samples that stand for all those of a noise-fed generator.
_SETS_AT_ONCE, _SAMPLES = 64, 16

#: What sets the width of a band: the events, the prior, nothing (neither of the two fixes the curve), or the theory, which leaves no
#: freedom there; None where no bound was computed.
Driver = Literal["events", "prior", "nothing", "theory"] | None


@dataclass(frozen=True)
class CurvePoint:
    r"""One point of one curve.

    Args:
        family: name of the :class:`~unscatter.pipeline.CurveFamily`.
        curve: name of the curve.
        abscissa: :math:`t`.
        value: mean of the curve over the replicas.
        error: spread of the curve over the replicas, or the bound for a single fit; None where undetermined.
        bound: smallest possible error, from events and prior, to first order; None where undetermined.
        prior_error: error of the prior alone, :math:`\sigma_0`; None without a prior.
        data_share: :math:`1 - \sigma^2 / \sigma_0^2` with the bound as :math:`\sigma`: zero where the events say nothing, one where they
            say everything.
        driven_by: what sets the width of the band, see :data:`Driver`; ``events`` where they at least halve the prior's error.
        truth: the curve at the truth, where that is known.
    """

    family: str
    curve: str
    abscissa: float
    value: float | None
    error: float | None
    bound: float | None
    prior_error: float | None
    data_share: float | None
    driven_by: Driver
    truth: float | None


@dataclass(frozen=True, eq=False)
class LinearBand:
    r"""Errors of the curves of a family to first order, all ``[curve, points]``.

    .. math:: \sigma^2 = g^T C g, \qquad \sigma_0^2 = \sigma_\ell^2\, |g|^2, \qquad g = \partial f / \partial \ell

    Args:
        error: from events and prior; ``inf`` where undetermined.
        prior: from the prior alone; NaN without a prior.
        share: of the information that comes from the events.
        drivers: what sets the error, for each curve and point.
    """

    error: Tensor
    prior: Tensor
    share: Tensor
    drivers: list[list[Driver]]


def curve_points(problem: Problem, samples: Tensor, bound: CramerRao | None) -> list[CurvePoint]:
    """All curves of a problem with their bands.

    Args:
        problem: with curves.
        samples: fitted parameters, ``[replica, sample, size]``; the curve of a replica is the mean over its samples.
        bound: at the central parameters, whose information is used again; without it only the spread of the replicas is known.

    Raises:
        ShapeError: a family's function does not return ``[..., curve, points]``.
        TheoryError: no gradient reaches the parameters through a family's function.

    Example:
        >>> from dataclasses import replace
        >>> from unscatter.diagnostics import cramer_rao
        >>> from unscatter.problems import proxy1d
        >>> line = CurveFamily(
        ...     "line", ("rising",), torch.linspace(0, 1, 3), lambda p: (p[..., 1:2] * torch.linspace(0, 1, 3))[..., None, :]
        ... )
        >>> problem = replace(proxy1d(), curves=(line,))
        >>> bound = cramer_rao(problem, None, 100_000, rates=False)
        >>> [f"{point.error:.3f}" for point in curve_points(problem, bound.parameters[None, None], bound)]
        ['0.000', '0.009', '0.017']
    """
    return [point for family in problem.curves for point in _points(problem, family, samples, bound)]


def linear_band(problem: Problem, family: CurveFamily, bound: CramerRao) -> LinearBand:
    """Errors of curves from the bound of the parameters.

    Args:
        problem: with or without a prior.
        family: whose curves.
        bound: of the parameters of this problem.

    Raises:
        TheoryError: no gradient reaches the parameters through the family's function.
    """
    value, slopes = jacobian(family.function, bound.parameters)
    value, slopes = value.double(), slopes.double()
    if problem.prior_width is None:
        return _band_without_prior(problem, bound, slopes)
    by_latent, covariance = latent_covariance(problem, bound.parameters, bound.information)
    slopes = slopes @ by_latent
    error = _propagated(slopes, covariance)
    prior = problem.prior_width * slopes.norm(dim=-1)
    is_fixed = prior <= _ROUNDING * value.abs()
    share = torch.where(is_fixed, 0.0, 1 - (error / torch.where(is_fixed, 1.0, prior)).square()).clamp(0, 1)
    return LinearBand(error, prior, share, _drivers(is_fixed, share >= _EVENT_DRIVEN, "prior"))


def determined_combinations(problem: Problem, bound: CramerRao) -> tuple[int, int]:
    r"""How many independent combinations of the parameters the events determine, and of how many.

    These are the eigenvectors of :math:`\sigma^2 J^T F J`, the information of the events in units of the prior's, with eigenvalues above
    3: along them the events at least halve the prior's error.  Without a prior all those are determined that are not null.
    """
    if problem.prior_width is None:
        return problem.space.latent_size - len(bound.null_directions), problem.space.latent_size
    _, covariance = latent_covariance(problem, bound.parameters, bound.information)
    shares = torch.linalg.eigvalsh(covariance) / problem.prior_width**2
    return int((shares < 1 / (1 + _DETERMINED)).sum()), len(shares)


def leading_directions(problem: Problem, bound: CramerRao, *, count: int = 3) -> list[str]:
    r"""The combinations of parameters that the events know best, told by the curves that they move.

    With :math:`e` a unit eigenvector of the events' information in units of the prior's, :math:`(g \cdot e)^2 / |g|^2` is the share of a
    curve's prior variance that comes from moving along it; each family names the curve and the point where that is largest.

    Args:
        problem: with curves and a prior; without a prior there is no unit to compare combinations in, and nothing is said.
        bound: of the parameters of this problem.
        count: at most so many combinations, the best known first.
    """
    if problem.prior_width is None:
        return []
    by_latent, covariance = latent_covariance(problem, bound.parameters, bound.information)
    variances, vectors = torch.linalg.eigh(covariance)
    slopes = [jacobian(family.function, bound.parameters)[1].double() @ by_latent for family in problem.curves]
    known = min(count, determined_combinations(problem, bound)[0])
    moved = [[_most_moved(family, g, vectors[:, k]) for family, g in zip(problem.curves, slopes, strict=True)] for k in range(known)]
    errors = (100 * variances.sqrt() / problem.prior_width).tolist()
    return [
        f"the combination seen most in {', '.join(texts)}: to {error:.2g} % of the prior's error"
        for texts, error in zip(moved, errors, strict=False)
    ]


def _most_moved(family: CurveFamily, slopes: Tensor, direction: Tensor) -> str:
    size = slopes.square().sum(-1)
    share = torch.where(size > 0, (slopes @ direction).square() / torch.where(size > 0, size, 1.0), 0.0)
    curve, point = divmod(int(share.argmax()), share.shape[1])
    name, unit = _name_and_unit(family.abscissa_label)
    return f"{family.curves[curve]} near {name} = {float(family.abscissa[point]):.2g}{unit} ({family.name})"


def curve_sentences(family: CurveFamily, points: Iterable[CurvePoint]) -> list[str]:
    """Where the events set the bands of a family, one text for all curves that share it.

    Args:
        family: whose points are picked.
        points: from :func:`curve_points`.

    Example:
        >>> family = CurveFamily("lines", ("a", "b"), torch.tensor([0.1, 0.2, 0.4]), lambda p: p, abscissa_label="x")
        >>> def point(curve, x, driver):
        ...     return CurvePoint("lines", curve, x, 1.0, 0.1, 0.1, 0.2, 0.5, driver, None)
        >>> drivers = {"a": ("prior", "events", "events"), "b": ("prior", "prior", "prior")}
        >>> curve_sentences(family, [point(c, x, d) for c in "ab" for x, d in zip((0.1, 0.2, 0.4), drivers[c])])
        ['a: events for x > 0.2', 'b: prior everywhere']
    """
    own = [point for point in points if point.family == family.name and point.driven_by is not None]
    texts: dict[str, list[str]] = {}
    for curve, group in groupby(own, key=lambda point: point.curve):
        texts.setdefault(_ranges_text(list(group), family.abscissa_label), []).append(curve)
    return [f"{', '.join(curves)}: {text}" for text, curves in texts.items()]


def _points(problem: Problem, family: CurveFamily, samples: Tensor, bound: CramerRao | None) -> list[CurvePoint]:
    curves = _replica_curves(family, samples)
    value, nothing = curves.mean(0), torch.full_like(curves[0], math.nan)
    known = problem.true_curves(family)
    truth = nothing if known is None else known
    band = None if bound is None else linear_band(problem, family, bound)
    spread = curves.std(0) if len(curves) > 1 else nothing if band is None else band.error
    error, prior, share = (nothing,) * 3 if band is None else (band.error, band.prior, band.share)
    numbers = torch.stack([value, spread, error, prior, share, truth], -1).tolist()
    return [
        _point(family, curve, float(t), numbers[i][j], None if band is None else band.drivers[i][j])
        for i, curve in enumerate(family.curves)
        for j, t in enumerate(family.abscissa)
    ]


def _point(family: CurveFamily, curve: str, abscissa: float, numbers: Sequence[float], driver: Driver) -> CurvePoint:
    value, spread, error, prior, share, truth = (number if math.isfinite(number) else None for number in numbers)
    return CurvePoint(family.name, curve, abscissa, value, spread, error, prior, share, driver, truth)


def _replica_curves(family: CurveFamily, samples: Tensor) -> Tensor:
    """Mean over samples, ``[replica, curve, points]``, float64."""
    chosen = torch.linspace(0, samples.shape[1] - 1, min(_SAMPLES, samples.shape[1])).long()
    few = samples[:, chosen].detach().double().cpu()
    return _evaluated(family, few.flatten(0, 1)).unflatten(0, few.shape[:2]).mean(1)


def _evaluated(family: CurveFamily, parameters: Tensor) -> Tensor:
    with torch.no_grad():
        parts = [family.function(part).double() for part in parameters.split(_SETS_AT_ONCE)]
    expected = (len(family.curves), len(family.abscissa))
    for part, given in zip(parts, parameters.split(_SETS_AT_ONCE), strict=True):
        if part.shape != (len(given), *expected):
            raise ShapeError(
                f"the function of the curves '{family.name}' returned the shape {tuple(part.shape)} for parameters of the shape "
                f"{tuple(given.shape)}; it must be {(len(given), *expected)}: one row per curve, one column per point of the abscissa."
            )
    return torch.cat(parts)


def _band_without_prior(problem: Problem, bound: CramerRao, slopes: Tensor) -> LinearBand:
    is_fixed = (slopes == 0).all(-1)
    unknown = _along_null_directions(problem, bound, slopes) & ~is_fixed
    error = torch.where(unknown, math.inf, _propagated(slopes, bound.covariance.to(slopes)))
    share = torch.where(unknown | is_fixed, 0.0, torch.ones_like(error))
    return LinearBand(error, torch.full_like(error, math.nan), share, _drivers(is_fixed, ~unknown, "nothing"))


def _along_null_directions(problem: Problem, bound: CramerRao, slopes: Tensor) -> Tensor:
    """Whether a curve changes along a direction that the events do not see, in coordinates where parameters compare."""
    if not bound.null_directions:
        return torch.zeros(slopes.shape[:-1], dtype=torch.bool)
    ranges, point = ranges_of(problem.space.bijection), bound.parameters
    unit = torch.where(torch.isfinite(ranges), ranges, torch.where(point == 0, 1.0, point.abs())).to(slopes)
    null = torch.stack([direction.vector.to(slopes) for direction in bound.null_directions], -1) / unit[:, None]
    basis, _ = torch.linalg.qr(null)
    scaled = slopes * unit
    return (scaled @ basis).norm(dim=-1) > _INVOLVED * scaled.norm(dim=-1)


def _propagated(slopes: Tensor, covariance: Tensor) -> Tensor:
    return torch.einsum("cpi,ij,cpj->cp", slopes, covariance, slopes).clamp_min(0).sqrt()


def _drivers(is_fixed: Tensor, by_events: Tensor, otherwise: Driver) -> list[list[Driver]]:
    def driver(fixed: bool, events: bool) -> Driver:
        return "theory" if fixed else "events" if events else otherwise

    return [[driver(*pair) for pair in zip(*rows, strict=True)] for rows in zip(is_fixed.tolist(), by_events.tolist(), strict=True)]


def _ranges_text(points: Sequence[CurvePoint], label: str) -> str:
    """What drives a curve, and where; points that the theory fixes belong to either side."""
    free = [point for point in points if point.driven_by != "theory"]
    others = {point.driven_by for point in free} - {"events"}
    if not free:
        return "fixed by the theory everywhere"
    if len(others) == len({point.driven_by for point in free}):
        return "prior everywhere" if "prior" in others else "undetermined everywhere"
    if not others:
        return "events everywhere"
    runs = [list(group) for driver, group in groupby(free, key=lambda point: point.driven_by) if driver == "events"]
    return "events " + " and ".join(_range_text(run, free, label) for run in runs)


def _range_text(run: Sequence[CurvePoint], free: Sequence[CurvePoint], label: str) -> str:
    name, unit = _name_and_unit(label)
    low, high = (f"{point.abscissa:.2g}" for point in (run[0], run[-1]))
    if run[0] is run[-1]:
        return f"at {name} = {low}{unit}"
    if run[0] is free[0]:
        return f"for {name} < {high}{unit}"
    if run[-1] is free[-1]:
        return f"for {name} > {low}{unit}"
    return f"for {low} < {name} < {high}{unit}"


def _name_and_unit(label: str) -> tuple[str, str]:
    """``("t", " s")`` for the label ``t [s]``."""
    name, _, unit = (label or "t").partition(" [")
    return name, f" {unit.rstrip(']')}" if unit else ""
