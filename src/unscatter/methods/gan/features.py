"""What the discriminator sees of an event: whitened columns and their logarithms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.errors import SettingsError


@dataclass(frozen=True, eq=False)
class Features:
    r"""One fixed affine transform of columns and logarithms, fitted once on measured events and applied to both sides.

    .. math:: \phi = \Sigma^{-1/2} \left( (e, \ln \max(e, \epsilon)) - m \right)

    Fitting it on each side separately would hide differences of location and scale from the discriminator.

    Args:
        logarithms: positions of the columns whose logarithm is a feature.
        floor: :math:`\epsilon`, one per logarithm and channel, ``[channel, logarithms]``: half the smallest measured value.
        mean: :math:`m`, ``[channel, features]``.
        whitening: :math:`\Sigma^{-1/2}`, ``[channel, features, features]``.
    """

    logarithms: tuple[int, ...]
    floor: Tensor
    mean: Tensor
    whitening: Tensor

    @classmethod
    def fit(cls, events: Events, logarithms: bool | tuple[str, ...]) -> Features:
        """Fit the transform on measured events ``[replica, channel, num_events, columns]``, all replicas together.

        Raises:
            SettingsError: the logarithm of a column that is not positive was asked for.
        """
        values = events.values.detach().to(torch.float64).movedim(1, 0).flatten(1, 2)
        _check_spread(values, events.columns)
        chosen = _logarithm_columns(values, events.columns, logarithms)
        floor = values[..., list(chosen)].amin(1) / 2 if chosen else values.new_zeros(len(values), 0)
        raw = _augment(values, chosen, floor.unsqueeze(1))
        mean = raw.mean(1)
        centred = raw - mean.unsqueeze(1)
        covariance = centred.mT @ centred / raw.shape[1]
        return cls(chosen, floor.float(), mean.float(), _inverse_root(covariance).float())

    @property
    def num_features(self) -> int:
        r"""Columns of :math:`\phi`."""
        return self.mean.shape[-1]

    def __call__(self, events: Events) -> Tensor:
        """Features of events ``[..., channel, num_events, columns]``."""
        raw = _augment(events.values, self.logarithms, self.floor.unsqueeze(1))
        return (raw - self.mean.unsqueeze(1)) @ self.whitening

    def to(self, device: torch.device | str) -> Features:
        """The same transform on another device."""
        return Features(self.logarithms, self.floor.to(device), self.mean.to(device), self.whitening.to(device))


def _check_spread(values: Tensor, columns: tuple[str, ...]) -> None:
    for channel, spread in enumerate(values.amax(1) - values.amin(1)):
        for name, width in zip(columns, spread, strict=True):
            if not width > 0:
                raise SettingsError(
                    f"column '{name}' of channel {channel} has the same value in all measured events, so nothing can be learnt from it.\n"
                    f"Leave it out of the problem's observables: observables={tuple(c for c in columns if c != name)}."
                )


def _logarithm_columns(values: Tensor, columns: tuple[str, ...], wanted: bool | tuple[str, ...]) -> tuple[int, ...]:
    positive = [bool((values[..., i] > 0).all()) for i in range(len(columns))]
    if isinstance(wanted, bool):
        return tuple(i for i, p in enumerate(positive) if p and wanted)
    for name in wanted:
        if name not in columns:
            raise SettingsError(f"discriminator.logarithms names the column '{name}', but the events have {list(columns)}.")
        if not positive[columns.index(name)]:
            smallest = float(values[..., columns.index(name)].min())
            raise SettingsError(f"discriminator.logarithms names the column '{name}', whose smallest measured value is {smallest:g}.")
    return tuple(columns.index(name) for name in wanted)


def _augment(values: Tensor, logarithms: tuple[int, ...], floor: Tensor) -> Tensor:
    if not logarithms:
        return values
    return torch.cat([values, torch.log(torch.maximum(values[..., list(logarithms)], floor))], -1)


def _inverse_root(covariance: Tensor) -> Tensor:
    """Inverse square root of the covariance; directions with less than 1e-4 of a column's variance are not blown up to one."""
    scale = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(covariance.dtype).tiny).sqrt()
    correlation = covariance / scale.unsqueeze(-1) / scale.unsqueeze(-2)
    eigenvalues, vectors = torch.linalg.eigh(correlation)
    floored = eigenvalues.clamp_min(1e-4)
    root = vectors @ torch.diag_embed(floored.rsqrt()) @ vectors.mT
    return root / scale.unsqueeze(-1)
