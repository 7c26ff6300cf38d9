"""Shape aliases of the arrays that travel through the package.

Named axes, as jaxtyping understands them (checked at run time under pytest):

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

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

#: Density values at the nodes of a grid, ``[..., channel, *nodes]``.
NodeValues = Float[Tensor, "..."]

#: Expected number of events per channel, ``[..., channel]``.
Counts = Float[Tensor, "*batch channel"]

#: Columns of events, ``[..., num_events, columns]``.
EventValues = Float[Tensor, "*batch num_events columns"]

#: Weights of events, ``[..., num_events]``.
EventWeights = Float[Tensor, "*batch num_events"]

#: Uniform random numbers in [0, 1), ``[..., num_events, dimensions]``.
Uniforms = Float[Tensor, "*batch num_events dimensions"]
