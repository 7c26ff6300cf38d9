"""Who takes part: ranks, their number, and where they run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from unscatter.errors import ExchangeError
from unscatter.exchange.environment import recognise


@dataclass(frozen=True, kw_only=True)
class World:
    """The ranks of one job, as one of them sees it.

    Example:
        >>> World().size
        1
    """

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Number of processes."""
    local_rank: int = 0
    """Number of this process among those of its node, from 0; with one GPU per process it is the number of the GPU."""
    local_size: int = 1
    """Number of processes on this node."""
    node: int = 0
    """Number of this node, from 0: ranks of the same node share memory."""
    address: str = "127.0.0.1"
    """Where the rendezvous listens: a name or address that all ranks can reach."""
    port: int = 0
    """Port of the rendezvous; 0 for any free one, possible in a world of one rank only."""
    hosts_rendezvous: bool = True
    """Whether this rank has to start the rendezvous; not where a launcher has done so."""
    launcher: str = "none"
    """Who started the ranks: ``none``, ``unscatter``, ``torchrun``, ``mpiexec``, ``srun`` or ``pbs``."""
    job: str = ""
    """Name of the job, the same on all ranks and different for jobs that run at the same time."""
    secret: str = ""
    """Known to the ranks of this job only; connections must prove that they know it."""

    def __post_init__(self) -> None:
        if not (self.size >= 1 and 0 <= self.rank < self.size):
            raise ExchangeError(f"rank {self.rank} of {self.size} is impossible: ranks are counted from 0 to the number of ranks less one.")
        if not (self.local_size >= 1 and 0 <= self.local_rank < self.local_size):
            raise ExchangeError(f"local rank {self.local_rank} of {self.local_size} on this node is impossible.")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> World:
        """The world as the launcher of this process describes it; of one rank without a launcher.

        Launchers and their variables are listed in :mod:`unscatter.exchange.environment`.

        Args:
            environ: the variables of this process.

        Raises:
            ExchangeError: variables contradict one another, or some are missing; the message names them and says what to set.

        Example:
            >>> world = World.from_environment({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"})
            >>> world.rank, world.size, world.launcher
            (1, 2, 'torchrun')
        """
        facts = recognise(environ)
        return cls() if facts is None else cls(**facts)
