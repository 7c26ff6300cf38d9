"""Containers that travel through the package: grids, densities, events, random streams.

Named axes of their tensors:

===============  ================================================================
axis             meaning
===============  ================================================================
``replica``      independent fits that train as one batched computation
``batch``        parameter samples that a generator proposes in one step
``channel``      one measured data set (proton target, neutron target, ...)
``nodes``        nodes of a grid, one axis per observable
``num_events``   events of one channel
``columns``      observables of one event
===============  ================================================================
"""

from unscatter.arrays.density import Density
from unscatter.arrays.events import Events
from unscatter.arrays.grid import Grid
from unscatter.arrays.random import RandomStream

__all__ = ["Density", "Events", "Grid", "RandomStream"]
