"""Solve inverse problems from event data.

The names below are imported when they are first used, so that ``import unscatter`` costs nothing.  The loop itself is
:func:`unscatter.solve.solve`; it keeps the name of its package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unscatter.arrays import Density, Events, Grid
    from unscatter.detectors import Acceptance, Background, Cuts, Detector, Efficiency, Smearing, UserSmearing
    from unscatter.errors import UnscatterError
    from unscatter.events import keep_inside, read_events, write_events
    from unscatter.methods import Gan, GanSettings
    from unscatter.methods.gan import DiscriminatorSettings, GeneratorSettings
    from unscatter.pipeline import ParameterSpace, Pipeline, Problem
    from unscatter.problems import dis, proxy1d, proxy2d
    from unscatter.report import write_comparison, write_report
    from unscatter.runcards import Runcard, load_runcard, resume_run, start_run
    from unscatter.runs import RunDirectory, execute
    from unscatter.samplers import Rosenblatt
    from unscatter.solve import Fit, SolveSettings
    from unscatter.theories import FunctionTheory

#: Where each public name lives.
_HOMES = {
    "unscatter.arrays": ("Density", "Events", "Grid"),
    "unscatter.detectors": ("Acceptance", "Background", "Cuts", "Detector", "Efficiency", "Smearing", "UserSmearing"),
    "unscatter.errors": ("UnscatterError",),
    "unscatter.events": ("keep_inside", "read_events", "write_events"),
    "unscatter.methods": ("Gan", "GanSettings"),
    "unscatter.methods.gan": ("DiscriminatorSettings", "GeneratorSettings"),
    "unscatter.pipeline": ("ParameterSpace", "Pipeline", "Problem"),
    "unscatter.problems": ("dis", "proxy1d", "proxy2d"),
    "unscatter.report": ("write_comparison", "write_report"),
    "unscatter.runcards": ("Runcard", "load_runcard", "resume_run", "start_run"),
    "unscatter.runs": ("RunDirectory", "execute"),
    "unscatter.samplers": ("Rosenblatt",),
    "unscatter.solve": ("Fit", "SolveSettings"),
    "unscatter.theories": ("FunctionTheory",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Acceptance", "Background", "Cuts", "Density", "Detector", "DiscriminatorSettings", "Efficiency", "Events", "Fit",
    "FunctionTheory", "Gan", "GanSettings", "GeneratorSettings", "Grid", "ParameterSpace", "Pipeline", "Problem",
    "Rosenblatt", "RunDirectory", "Runcard", "Smearing", "SolveSettings", "UnscatterError", "UserSmearing", "dis", "execute",
    "keep_inside", "load_runcard", "proxy1d", "proxy2d", "read_events", "resume_run", "start_run", "write_comparison",
    "write_events", "write_report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'unscatter' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
