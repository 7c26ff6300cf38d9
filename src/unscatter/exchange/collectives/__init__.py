"""Synchronous exchanges over torch.distributed: all ranks do the same step together, and hold the same bits after it."""

from unscatter.exchange.collectives.allreduce import AllReduce
from unscatter.exchange.collectives.grouped import Grouped
from unscatter.exchange.collectives.local_steps import LocalSteps
from unscatter.exchange.collectives.quorum import Quorum
from unscatter.exchange.collectives.ring import RingAllReduce

__all__ = ["AllReduce", "Grouped", "LocalSteps", "Quorum", "RingAllReduce"]
