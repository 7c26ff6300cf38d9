"""How each rank is: a small file per rank, written by the rank about once a second and read on request."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from unscatter.exchange import World
from unscatter.runs import RunDirectory

#: Seconds between two files of one rank; with many ranks fewer, for the sake of the file system that they share.
_INTERVAL_S, _RANKS_PER_S = 1.0, 64


@dataclass(frozen=True, kw_only=True)
class RankHealth:
    """How one rank was when it was last heard of."""

    rank: int
    """Which."""
    size: int
    """Ranks of the job."""
    host: str = ""
    """Where it runs."""
    pid: int = 0
    """Number of its process there."""
    phase: str = "preparing"
    """``preparing``, ``pilot``, ``fitting``, ``judging``, ``done`` or ``failed``."""
    step: int = 0
    """Steps that it has taken."""
    last_step: int = 0
    """Step at which the round ends."""
    heard: float = 0.0
    """When it wrote this, in seconds since 1970."""
    record: dict[str, Any] = field(default_factory=dict)
    """Its last metrics."""
    statistics: dict[str, float] = field(default_factory=dict)
    """Figures of its exchange, for instance the staleness in steps."""

    def write(self, directory: Path) -> None:
        """Write it in one piece; a directory that is not there is passed over."""
        path = directory / _file_name(self.rank)
        temporary = path.with_name(f".{path.name}.{self.pid}")
        # The directory of the logs moves once, and a full disk is told of by the metrics.
        with suppress(OSError):
            temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
            temporary.replace(path)


def read_health(directory: Path) -> list[RankHealth]:
    """How the ranks of a job were when they last wrote it, in their order; nothing of ranks that have not.

    What an earlier start with more ranks has left is passed over.

    Args:
        directory: with the logs of the job.

    Example:
        >>> import tempfile
        >>> logs = Path(tempfile.mkdtemp())
        >>> RankHealth(rank=1, size=2, step=40).write(logs)
        >>> [health.step for health in read_health(logs)]
        [40]
    """
    found = [health for file in directory.glob("rank*.json") if (health := _read(file)) is not None]
    size = max(found, key=lambda health: health.heard).size if found else 0
    return sorted((health for health in found if health.rank < size), key=lambda health: health.rank)


def _read(file: Path) -> RankHealth | None:
    try:
        return RankHealth(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _file_name(rank: int) -> str:
    return f"rank{rank}.json"


class HealthObserver:
    """Writes how this rank is, while a fit goes on.

    Args:
        world: which rank this is.
        run: the run directory, which need not exist yet.
        statistics: figures of the exchange.
        early: where to write before the run directory exists; nowhere when None.
    """

    def __init__(self, world: World, run: Path, *, statistics: Callable[[], Mapping[str, float]] = dict, early: Path | None = None) -> None:
        self._logs, self._early, self._statistics = RunDirectory(run).logs, early, statistics
        self._world, self._last_step, self._step, self._record = world, 0, 0, {}
        self._interval_s, self._written = max(_INTERVAL_S, world.size / _RANKS_PER_S), float("-inf")
        self._say("preparing")

    def piloted(self, steps_done: int, steps: int) -> None:
        """Say now and then how far the pilot is."""
        self._step, self._last_step = steps_done, steps
        self._say("pilot", now=steps_done == steps)

    def started(self, first_step: int, last_step: int) -> None:
        """A round begins."""
        self._step, self._last_step = first_step, last_step
        self._say("fitting")

    def progressed(self, record: Mapping[str, Any]) -> None:
        """Say now and then how far the fit is."""
        self._step, self._record = int(record["step"]), dict(record)
        at_end = self._step >= self._last_step
        self._say("judging" if at_end else "fitting", now=at_end)

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Nothing to say."""

    def stop_requested(self) -> bool:
        """Never."""
        return False

    def ended(self, *, well: bool) -> None:
        """The last word of this rank."""
        self._say("done" if well else "failed")

    def _say(self, phase: str, *, now: bool = True) -> None:
        if not now and time.monotonic() - self._written < self._interval_s:
            return
        self._written = time.monotonic()
        self._health(phase).write(self._logs if self._early is None or self._logs.is_dir() else self._early)

    def _health(self, phase: str) -> RankHealth:
        return RankHealth(
            rank=self._world.rank, size=self._world.size, host=socket.gethostname(), pid=os.getpid(), phase=phase, step=self._step,
            last_step=self._last_step, heard=time.time(), record=self._record, statistics=dict(self._statistics()),
        )  # fmt: skip
