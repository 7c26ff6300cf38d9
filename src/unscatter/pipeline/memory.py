"""Memory that problems need at least: estimates from below, so that nothing is refused that would fit."""

from __future__ import annotations

import math
from collections.abc import Mapping

from unscatter.arrays import Grid
from unscatter.arrays.memory import check_memory

#: A density and its running integral, from which events are drawn.
_DENSITY_ARRAYS = 2
#: The blocks of simulated events, and the one tensor that they are joined in.
_SIMULATION_ARRAYS = 2


def density_need(grid: Grid, num_channels: int, *, sets: int = 1, item_size: int = 4) -> dict[str, int]:
    """Bytes for the densities of ``sets`` sets of parameters, by what asks for them.

    Example:
        >>> import torch
        >>> density_need(Grid.from_axes({"x": torch.linspace(0, 1, 1000)}), 2, sets=3)
        {'3 x densities of 2 x 1000 nodes': 48000}
    """
    nodes = " x ".join(map(str, (num_channels, *grid.shape)))
    times = f"{sets} x densities" if sets > 1 else "densities"
    return {f"{times} of {nodes} nodes": _DENSITY_ARRAYS * sets * num_channels * math.prod(grid.shape) * item_size}


def check_simulation(grid: Grid, num_channels: int, num_events: Mapping[str, int], num_columns: int) -> None:
    """Refuse pseudo-data in double precision that cannot fit.

    Raises:
        SettingsError: not enough memory is available.
    """
    total = sum(num_events.values())
    events = {f"{total:,} events with {num_columns} columns": _SIMULATION_ARRAYS * total * num_columns * 8}
    check_memory(density_need(grid, num_channels, item_size=8) | events, "the simulation")
