"""From densities to expected numbers of events."""

from __future__ import annotations

from torch import Tensor

from unscatter.arrays import Grid
from unscatter.errors import SettingsError


def check_luminosity(luminosity: tuple[float, ...] | None, channels: tuple[str, ...]) -> None:
    """Refuse a luminosity that does not fit the channels.

    Raises:
        SettingsError: not one value per channel, or a value that is not positive.
    """
    if luminosity is None:
        return
    if len(luminosity) != len(channels):
        raise SettingsError(
            f"'luminosity' needs one value per channel {list(channels)}, got {len(luminosity)}: {list(luminosity)}.\n"
            f"Write for example luminosity=({', '.join(['1.0'] * len(channels))},)."
        )
    if not all(value > 0 for value in luminosity):
        raise SettingsError(f"'luminosity' must be positive in every channel, got {dict(zip(channels, luminosity, strict=True))}.")


def expected_counts(values: Tensor, grid: Grid, luminosity: tuple[float, ...] | None) -> Tensor | None:
    r"""Expected events per channel, :math:`\mu_c = L_c \int \rho_c`, or None without a luminosity.

    Args:
        values: densities at the nodes, ``[..., channel, *nodes]``.
        grid: the nodes.
        luminosity: :math:`L_c`, one per channel.

    Returns:
        ``[..., channel]``.
    """
    if luminosity is None:
        return None
    return grid.integrate(values) * values.new_tensor(luminosity)
