"""How a rank takes part in its job: its device, its exchange, where it says how it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from unscatter.errors import SettingsError
from unscatter.exchange import Exchange, ExchangeSettings, World, join_exchange
from unscatter.launch.health import HealthObserver


@dataclass(frozen=True, eq=False)
class Rank:
    """What this process is in its job.

    Args:
        world: who takes part.
        exchange: how the generator is shared; None for a single process.
        health: to be told how the fit goes on; None for a single process.
    """

    world: World
    exchange: Exchange | None = None
    health: HealthObserver | None = field(default=None)

    @property
    def alone(self) -> bool:
        """Whether there is nobody else."""
        return self.world.size == 1

    @property
    def leads(self) -> bool:
        """Whether this rank prints and writes down the result."""
        return self.world.rank == 0 if self.exchange is None else self.exchange.leads


@contextmanager
def take_part(
    world: World, settings: ExchangeSettings, run: Path, *, same: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> Iterator[Rank]:
    """Be a rank of a job: the one place where the exchange is built from the world.

    Args:
        world: who takes part.
        settings: which exchange.
        run: the run directory.
        same: what has to be the same on all ranks, by name.
        environ: the variables of this process.

    Raises:
        ExchangeError: the ranks do not find one another.
        DisagreementError: they run different runcards or versions.
    """
    if world.size == 1:
        yield Rank(world)
        return
    take_device(world)
    exchange = join_exchange(settings, world, same=same)
    early = environ.get("UNSCATTER_LOGS")
    health = HealthObserver(world, run, statistics=exchange.statistics, early=None if early is None else Path(early))
    well = False
    try:
        yield Rank(world, exchange, health)
        well = True
    finally:
        health.ended(well=well)
        exchange.close()


def take_device(world: World) -> None:
    """One process per GPU: make the GPU of this rank the one that 'cuda' means."""
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())


def refuse_ranks(world: World, asked: int) -> None:
    """Refuse to start ranks from within a rank.

    Raises:
        SettingsError: this process is a rank of another number of ranks.
    """
    if world.size > 1 and world.size != asked:
        raise SettingsError(
            f"this process is rank {world.rank} of {world.size} already, started by {world.launcher}: it cannot start {asked} ranks.\n"
            f"Leave '--ranks' out, or start one process without {world.launcher}."
        )
