"""Streaming: batches from data that are larger than memory."""

from unscatter.events.streaming.blocks import Block, BlockTable, MemoryTable
from unscatter.events.streaming.source import WINDOW_BLOCKS, StreamedEvents

__all__ = ["WINDOW_BLOCKS", "Block", "BlockTable", "MemoryTable", "StreamedEvents"]
