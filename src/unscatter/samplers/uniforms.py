"""Uniform numbers for samplers: independent, stratified, or a randomised Sobol sequence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from unscatter.errors import SettingsError


def plain(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Independent uniform numbers in [0, 1) of any shape."""
    return torch.rand(shape, generator=generator, device=device, dtype=dtype)


def stratified(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    r"""One first coordinate in each of N strata, in increasing order, :math:`u_{i1} = (i + v_i) / N`; other coordinates independent.

    Averages over *all* N events are unbiased and have a smaller variance; a single event or a leading part of them is not distributed as
    the density, because the events come in the order of their first coordinate.

    Args:
        shape: ``[..., num_events, dimensions]``.
        generator: random stream.
        device: where the numbers are made.
        dtype: their precision.
    """
    numbers = plain(shape, generator, device, dtype)
    num_events = shape[-2]
    first = numbers[..., 0]
    first.add_(torch.arange(num_events, device=device, dtype=dtype)).mul_(1 / max(num_events, 1))
    # (N - 1 + v) / N rounds up to one for many events.
    first.clamp_(max=1 - torch.finfo(dtype).eps / 2)
    return numbers


def sobol(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """A scrambled Sobol sequence, shifted modulo one by an independent random vector for every leading index.

    Averages over all events are unbiased; with a power of two events the error of smooth averages falls almost as 1/N.

    Args:
        shape: ``[..., num_events, dimensions]``.
        generator: random stream.
        device: where the numbers are made.
        dtype: their precision.

    Raises:
        SettingsError: more dimensions or points than the sequence has.
    """
    *batch, num_events, dimensions = shape
    if dimensions > SobolEngine.MAXDIM:
        raise SettingsError(
            f"points='sobol' has at most {SobolEngine.MAXDIM} dimensions, the grid has {dimensions}.\nUse Rosenblatt(points='plain')."
        )
    if num_events > 2**SobolEngine.MAXBIT:
        raise SettingsError(
            f"points='sobol' has at most 2**{SobolEngine.MAXBIT} points, {num_events} events were asked for.\n"
            "Use Rosenblatt(points='plain')."
        )
    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=device))
    # In float64, so that points stay below one before they are shifted.
    points = SobolEngine(dimensions, scramble=True, seed=seed).draw(num_events, dtype=torch.float64).to(device)
    shifts = torch.rand((*batch, 1, dimensions), generator=generator, device=device, dtype=torch.float64)
    return ((points + shifts) % 1).to(dtype).clamp_(max=1 - torch.finfo(dtype).eps / 2)
