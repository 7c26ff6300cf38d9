"""Streaming: batches from data that are larger than memory."""

from unscatter.events.streaming.blocks import Block, BlockTable, MemoryTable
from unscatter.events.streaming.channel import Channel
from unscatter.events.streaming.source import StreamedEvents
from unscatter.events.streaming.stored import WINDOW_BLOCKS, Inside, StoredEvents

__all__ = ["WINDOW_BLOCKS", "Block", "BlockTable", "Channel", "Inside", "MemoryTable", "StoredEvents", "StreamedEvents"]
