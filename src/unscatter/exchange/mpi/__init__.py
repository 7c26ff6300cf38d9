"""Exchanges through MPI windows."""

from unscatter.exchange.mpi.rma import Rma

__all__ = ["Rma"]
