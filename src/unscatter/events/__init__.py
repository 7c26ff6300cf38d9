"""Events: reading and writing files, checks, splits, and the sources that methods draw their batches from."""

from unscatter.events.expressions import Expression
from unscatter.events.locations import find_files
from unscatter.events.memory import InMemoryEvents, StackedEvents
from unscatter.events.protocol import EventSource, MovableSource, ShardedSource, SharedSource, SplittableSource, WaitingSource
from unscatter.events.reading import column_names, read_events, read_parameters
from unscatter.events.recipe import Prepared, Recipe
from unscatter.events.splitting import split
from unscatter.events.streaming import Inside, MemoryTable, StoredEvents, StreamedEvents
from unscatter.events.validation import check_events, check_inside, keep_inside
from unscatter.events.writing import write_events

__all__ = [
    "EventSource",
    "Expression",
    "InMemoryEvents",
    "Inside",
    "MemoryTable",
    "MovableSource",
    "Prepared",
    "Recipe",
    "ShardedSource",
    "SharedSource",
    "SplittableSource",
    "StackedEvents",
    "StoredEvents",
    "StreamedEvents",
    "WaitingSource",
    "check_events",
    "check_inside",
    "column_names",
    "find_files",
    "keep_inside",
    "read_events",
    "read_parameters",
    "split",
    "write_events",
]  # fmt: skip
