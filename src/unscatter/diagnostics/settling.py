"""Whether averaged parameters have come to rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unscatter.errors import SettingsError, ShapeError


@dataclass(frozen=True)
class Settled:
    """Whether the two halves of the averaged tail agree.

    Args:
        passes: every determined parameter agrees.
        worst: index of the parameter that moved most in units of its error; None where no parameter has an error.
        value: how far it moved, in units of its error.
        share: how far it may move.
        name: name of the worst parameter, where names were given.
    """

    passes: bool
    worst: int | None
    value: float
    share: float
    name: str | None = None


def settled(
    history: Float[Tensor, "record replica size"],
    sigma: Float[Tensor, " size"] | None = None,
    *,
    share: float = 0.5,
    names: Sequence[str] = (),
) -> Settled:
    r"""Compare both halves of the averaged tail with the errors of the parameters.

    .. math:: d_i = \sqrt{\langle (\bar p^{(2)}_{ri} - \bar p^{(1)}_{ri})^2 \rangle_r} \Big/ \sigma_i \le \text{share}

    Root mean square over the replicas r, since independent wanderings of many replicas would cancel in their mean.

    Args:
        history: averages over the first and the second half, ``[2, replica, size]``; of more records the first half is compared with
            the rest.
        sigma: errors of the parameters; the spread of the replicas in the second half when None.  Entries that are zero or not finite
            (fixed or undetermined parameters) are left out.
        share: how far a parameter may move in units of its error.
        names: of the parameters, for the result.

    Raises:
        ShapeError: fewer than two records, or no sigma and a single replica.
        SettingsError: ``share`` is not positive.

    Example:
        >>> settled(torch.tensor([[[1.0, 2.0]], [[1.1, 2.0]]]), torch.tensor([1.0, 1.0])).passes
        True
    """
    if not share > 0:
        raise SettingsError(f"'share' must be positive, got {share:g}.")
    if len(history) < 2:
        raise ShapeError(f"'history' needs two records or more to be compared, got the shape {tuple(history.shape)}.")
    half = len(history) // 2
    before, after = history[:half].double().mean(0), history[half:].double().mean(0)
    if sigma is None:
        if len(after) < 2:
            raise ShapeError("a single replica has no spread: give 'sigma', for example cramer_rao(problem, parameters, counts).sigma.")
        sigma = after.std(0)
    moved = (after - before).square().mean(0).sqrt().cpu()
    sigma = sigma.double().cpu()
    usable = torch.isfinite(sigma) & (sigma > 0)
    if not bool(usable.any()):
        return Settled(passes=True, worst=None, value=0.0, share=share)
    distance = torch.where(usable, moved / torch.where(usable, sigma, 1.0), -math.inf)
    # A history that is not finite has not settled; argmax puts NaN first.
    worst = int(distance.argmax())
    value = float(distance[worst])
    return Settled(passes=value <= share, worst=worst, value=value, share=share, name=names[worst] if names else None)
