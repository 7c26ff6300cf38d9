"""What the ranks of whole fits do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from unscatter.exchange.build import build_exchange
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.settings import ExchangeSettings
from unscatter.methods import Gan, GanSettings
from unscatter.problems import proxy2d
from unscatter.runs import execute, resume
from unscatter.solve import SolveSettings

SETTINGS = SolveSettings(steps=120, max_rounds=1, held_out=0.2, diagnose=False, checkpoint_every=40, log_every=20, seed=3)
METHOD = Gan(GanSettings(num_events=256))


@dataclass
class Pace:
    """Watches a rank, and lets something happen to it at a step.

    Args:
        rank: of this process.
        events: by rank and step: ``kill``, ``pause`` or ``stop``.
        delay_s: what every step costs on top.
    """

    rank: int
    events: Mapping[tuple[int, int], str] = field(default_factory=dict)
    delay_s: float = 0.0
    step: int = 0
    stopped: bool = False

    def started(self, first_step: int, last_step: int) -> None:
        self.step = first_step

    def progressed(self, record: Mapping[str, Any]) -> None:
        pass

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        pass

    def stop_requested(self) -> bool:
        """Asked once per step."""
        self.step += 1
        time.sleep(self.delay_s)
        match self.events.get((self.rank, self.step)):
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "pause":
                time.sleep(1.0)
            case "stop":
                self.stopped = True
        return self.stopped


def fit(
    rendezvous: Rendezvous, path: str, options: dict[str, Any], events: Mapping[tuple[int, int], str] | None = None, *, go_on: bool = False
) -> dict[str, Any]:
    """A fit of one rank, from its beginning or from its checkpoint."""
    exchange = build_exchange(ExchangeSettings(timeout_s=20, silence_s=1.0, straggler_s=1.0, **options), rendezvous)
    problem = proxy2d(nodes=17)
    data = problem.simulate(num_events=9000, seed=1)
    pace = Pace(exchange.rank, events or {}, 0.01 if events else 0.0)
    function = resume if go_on else execute
    try:
        found = function(
            problem=problem, events=data, path=Path(path), method=METHOD, settings=SETTINGS, observers=[pace], exchange=exchange
        )
        return {
            "parameters": found.estimate.parameters.double().numpy(),
            "steps": found.num_steps,
            "reason": found.stop_reason,
            "summary": {name: value for name, value in found.summary.items() if name in ("num_ranks", "exchange")},
            "leads": exchange.leads,
        }
    finally:
        exchange.close()
