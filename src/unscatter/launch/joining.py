"""How a rank takes part in its job: its device, its exchange, where it says how it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from unscatter.errors import SettingsError
from unscatter.exchange import Exchange, World
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
def take_part(world: World, section: Any, run: Path, environ: Mapping[str, str] = os.environ) -> Iterator[Rank]:
    """Be a rank of a job: the one place where the exchange is built from the world.

    Args:
        world: who takes part.
        section: ``exchange`` of the runcard; None where it has none.
        run: the run directory.
        environ: the variables of this process.

    Raises:
        ExchangeError: the ranks do not find one another, or run different runcards.
    """
    if world.size == 1:
        yield Rank(world)
        return
    take_device(world)
    exchange = build_exchange(world, section)
    early = environ.get("UNSCATTER_LOGS")
    statistics = dict if exchange is None else exchange.statistics
    health = HealthObserver(world, run, statistics=statistics, early=None if early is None else Path(early))
    well = False
    try:
        yield Rank(world, exchange, health)
        well = True
    finally:
        health.ended(well=well)
        if exchange is not None:
            exchange.close()


def build_exchange(world: World, section: Any) -> Exchange | None:
    """The exchange that a runcard names, among the ranks of a world."""
    return None


def take_device(world: World) -> None:
    """One process per GPU: make the GPU of this rank the one that 'cuda' means."""
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())


def exchange_name(section: Any) -> str:
    """Name of the exchange in the section of a runcard; empty where there is none."""
    return str(getattr(section, "name", ""))


def number_of_ranks(asked: int | None, section: Any) -> int:
    """Ranks to start: as asked, else as in the runcard, else one.

    Example:
        >>> number_of_ranks(None, None), number_of_ranks(4, None)
        (1, 4)
    """
    return int(asked or getattr(section, "ranks", None) or 1)


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
