"""Samplers: from densities at the nodes of a grid to events, with gradients.

:class:`Rosenblatt` is exact and the default; :class:`Loits` is the published sampler, for comparison.
"""

from unscatter.samplers.loits import Loits
from unscatter.samplers.protocol import Sampler
from unscatter.samplers.rosenblatt import Rosenblatt, sample

__all__ = ["Loits", "Rosenblatt", "Sampler", "sample"]
