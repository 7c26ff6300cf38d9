r"""Adversarial losses on scores of measured and synthetic events.

All take scores :math:`d` and weights :math:`w` as ``[replica, channel, num_events]``, the weights with mean one per replica and
channel, and return one loss per replica and channel.  :math:`\langle\cdot\rangle` is the mean over events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Loss(Protocol):
    """One pair of losses of the two players."""

    @property
    def curvature(self) -> float:
        r"""Generator loss near the solution over the log-likelihood ratio per event; weighs the rate term against it."""
        ...

    def discriminator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """What the discriminator minimises."""
        ...

    def generator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """What the generator minimises."""
        ...


@dataclass(frozen=True)
class Relativistic:
    r"""Scores are compared pair by pair.

    .. math:: L_D = \langle w w' \,\mathrm{softplus}(d' - d)\rangle, \qquad L_G = \langle w w'\,\mathrm{softplus}(d - d')\rangle

    with :math:`d` measured and :math:`d'` synthetic.

    References:
        Jolicoeur-Martineau, arXiv:1807.00734; Huang et al., arXiv:2501.05441 (with penalties on both sides).
    """

    curvature: float = 0.5

    def discriminator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """Push measured scores above synthetic ones."""
        return (w_measured * w_synthetic * functional.softplus(synthetic - measured)).mean(-1)

    def generator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """Push synthetic scores above measured ones."""
        return (w_measured * w_synthetic * functional.softplus(measured - synthetic)).mean(-1)


@dataclass(frozen=True)
class NonSaturating:
    r"""Logistic classification; the generator maximises its events' chance to pass as measured.

    .. math:: L_D = \langle w\,\mathrm{softplus}(-d)\rangle + \langle w'\,\mathrm{softplus}(d')\rangle, \qquad
              L_G = \langle w'\,\mathrm{softplus}(-d')\rangle

    References:
        Goodfellow et al., arXiv:1406.2661.
    """

    curvature: float = 0.5

    def discriminator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """Classify."""
        return (w_measured * functional.softplus(-measured)).mean(-1) + (w_synthetic * functional.softplus(synthetic)).mean(-1)

    def generator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """Be taken for measured."""
        return (w_synthetic * functional.softplus(-synthetic)).mean(-1)


@dataclass(frozen=True)
class LeastSquares:
    r"""Scores are regressed to one and zero.

    .. math:: L_D = \langle w (d - 1)^2\rangle + \langle w' d'^2\rangle, \qquad L_G = \langle w' (d' - 1)^2\rangle

    References:
        Mao et al., arXiv:1611.04076.
    """

    curvature: float = 0.25

    def discriminator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """Regress."""
        return (w_measured * (measured - 1).square()).mean(-1) + (w_synthetic * synthetic.square()).mean(-1)

    def generator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """Pull the synthetic scores to one."""
        return (w_synthetic * (synthetic - 1).square()).mean(-1)


@dataclass(frozen=True)
class Wasserstein:
    r"""Difference of the mean scores of a discriminator whose slope the penalty holds near one.

    .. math:: L_D = \langle w' d'\rangle - \langle w d\rangle, \qquad L_G = -\langle w' d'\rangle

    References:
        Gulrajani et al., arXiv:1704.00028.
    """

    curvature: float = 0.5

    def discriminator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """Pull the mean scores apart."""
        return (w_synthetic * synthetic).mean(-1) - (w_measured * measured).mean(-1)

    def generator(self, measured: Tensor, synthetic: Tensor, w_measured: Tensor, w_synthetic: Tensor) -> Tensor:
        """Raise the mean score of the synthetic events."""
        return -(w_synthetic * synthetic).mean(-1)


LOSSES: dict[str, Loss] = {
    "relativistic": Relativistic(),
    "nonsaturating": NonSaturating(),
    "least-squares": LeastSquares(),
    "wasserstein-gp": Wasserstein(),
}


def zero_centred_penalty(gradient: Tensor, weights: Tensor) -> Tensor:
    r"""Zero-centred penalty :math:`\frac12 \langle w\,|\nabla d|^2 \rangle`.

    It vanishes at the solution, so it damps the game without moving its equilibrium.

    Args:
        gradient: of the scores by the features, ``[replica, channel, num_events, features]``.
        weights: ``[replica, channel, num_events]``.

    References:
        Mescheder, Geiger, Nowozin, arXiv:1801.04406.
    """
    return (weights * gradient.square().sum(-1)).mean(-1) / 2


def unit_penalty(gradient: Tensor, weights: Tensor) -> Tensor:
    r"""Penalty :math:`\langle w\,(|\nabla d| - 1)^2 \rangle` on points between measured and synthetic events.

    References:
        Gulrajani et al., arXiv:1704.00028, eq. (3).
    """
    # The root of zero has no derivative; the tiny number keeps it finite and changes nothing that could be seen.
    norm = (gradient.square().sum(-1) + torch.finfo(gradient.dtype).tiny).sqrt()
    return (weights * (norm - 1).square()).mean(-1)


def poisson_loss(expected_counts: Tensor, observed_counts: Tensor) -> Tensor:
    r"""Poisson log-likelihood of the numbers of events, up to a constant, :math:`\sum_c \mu_c - N_c \ln \mu_c`.

    Written as :math:`N_c (r_c - \ln r_c)` with :math:`r_c = \mu_c / N_c`, so that single precision suffices.

    Args:
        expected_counts: :math:`\mu_c`, ``[replica, batch, channel]``.
        observed_counts: :math:`N_c`, ``[replica, channel]``.

    Returns:
        ``[replica]``, mean over the batch.
    """
    observed = observed_counts.unsqueeze(1)
    ratio = expected_counts / observed
    return (observed * (ratio - torch.log(ratio))).sum(-1).mean(-1)
