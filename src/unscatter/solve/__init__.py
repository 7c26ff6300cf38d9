"""The loop, its settings, and what it returns."""

from unscatter.solve.fit import Fit
from unscatter.solve.loop import solve
from unscatter.solve.observers import Observer, Observers
from unscatter.solve.settings import SolveSettings
from unscatter.solve.sources import Compared, EventsGiven, as_source, count_compared

__all__ = ["Compared", "EventsGiven", "Fit", "Observer", "Observers", "SolveSettings", "as_source", "count_compared", "solve"]
