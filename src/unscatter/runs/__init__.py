"""Run directories: layout, metrics, checkpoints, resume, provenance."""

from unscatter.runs.checkpoints import Checkpoint
from unscatter.runs.directory import RunDirectory
from unscatter.runs.execute import RunObserver, StopSignals, execute, open_unfinished, resume
from unscatter.runs.provenance import collect_provenance

__all__ = [
    "Checkpoint", "RunDirectory", "RunObserver", "StopSignals", "collect_provenance", "execute", "open_unfinished", "resume",
]  # fmt: skip
