"""Formats of files of events: one module each, behind one protocol."""

from unscatter.events.formats.opening import open_events
from unscatter.events.formats.protocol import Chunk, EventReader

__all__ = ["Chunk", "EventReader", "open_events"]
