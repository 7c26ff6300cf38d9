"""The loop, its settings, and what it returns."""

from unscatter.solve.fit import Fit
from unscatter.solve.loop import as_source, solve
from unscatter.solve.observers import Observer, Observers
from unscatter.solve.settings import SolveSettings

__all__ = ["Fit", "Observer", "Observers", "SolveSettings", "as_source", "solve"]
