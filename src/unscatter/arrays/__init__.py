"""Containers and shape aliases: grids, densities, events, random streams."""

from unscatter.arrays.density import Density
from unscatter.arrays.events import Events
from unscatter.arrays.grid import Grid
from unscatter.arrays.random import RandomStream

__all__ = ["Density", "Events", "Grid", "RandomStream"]
