"""Windows that are filled by threads while the fit uses the ones before."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from unscatter.arrays import RandomStream
from unscatter.events.streaming.channel import Channel
from unscatter.events.streaming.filling import WindowFiller
from unscatter.events.streaming.pattern import MergePattern, merge_pattern
from unscatter.events.streaming.placing import Placed, Placement
from unscatter.events.streaming.records import RecordLayout
from unscatter.events.streaming.windows import WindowKey, WindowOrder

#: Windows that are filled ahead of the one in use, and threads that do it.
_AHEAD = 2
#: Windows whose blocks the operating system is told to fetch ahead of the one in use: they lie in its cache, not in our memory.
_FETCHED_AHEAD = 4


@dataclass(frozen=True, eq=False)
class Window:
    """One window's records.

    Args:
        records: in main memory, block after block, ``[slots * capacity, width]``.
        order: which of them, in their random order, ``[rows]``.
        turn: where the circle that replicas go round starts.
        placed: the same on a device, where batches are made there.
    """

    records: np.ndarray
    order: np.ndarray
    turn: int
    placed: Placed | None = None


class WindowReader:
    """Windows of one channel, filled ahead of their use.

    What a window holds is a pure function of its key; reading ahead only makes it come sooner.

    Args:
        channel: where the rows come from.
        layout: of the records.
        window_blocks: blocks per window.
    """

    def __init__(self, channel: Channel, layout: RecordLayout, window_blocks: int) -> None:
        self.order = WindowOrder(channel.counts, window_blocks, channel.name)
        self.waited_s = 0.0
        self._channel, self._layout = channel, layout
        self._placement = Placement("cpu")
        self._threads: ThreadPoolExecutor | None = None
        self._fetcher: ThreadPoolExecutor | None = None
        self._fetched: tuple[WindowKey, ...] = ()
        self._fillers: deque[WindowFiller] = deque()
        self._buffers: deque[np.ndarray] = deque()
        self._filling: dict[WindowKey, Future[Window]] = {}
        self._current: tuple[WindowKey | None, Window | None] = (None, None)
        self._patterns: dict[tuple[RandomStream, int], MergePattern] = {}
        self._drawing = threading.Lock()

    def place(self, placement: Placement) -> None:
        """Windows are put somewhere else from now on."""
        self._forget(())
        self._current = (None, None)
        self._placement = placement

    def close(self) -> None:
        """Stop reading ahead, and give the memory of the windows back; the next window that is asked for begins again."""
        for threads in (self._threads, self._fetcher):
            if threads is not None:
                threads.shutdown(cancel_futures=True)
        self._threads = self._fetcher = None
        self._forget(())
        self._current, self._fetched = (None, None), ()
        self._buffers.clear()
        self._fillers.clear()

    def get(self, key: WindowKey) -> Window:
        """One window, which stays valid until another one is asked for; waits until it is filled."""
        if key == self._current[0] and self._current[1] is not None:
            return self._current[1]
        self._current = (None, None)
        began = time.perf_counter()
        future = self._filling.get(key) or self._begin(key)
        try:
            window = future.result()
        except BaseException:
            self._forget(())
            raise
        finally:
            self.waited_s += time.perf_counter() - began
        self._look_ahead(key)
        self._placement.wait(window.placed)
        self._current = (key, window)
        return window

    def _begin(self, key: WindowKey) -> Future[Window]:
        """A window that nobody has read ahead, as the first one: all of its blocks are fetched at once."""
        self._fetch([key])
        return self._start(key)

    def _look_ahead(self, key: WindowKey) -> None:
        wanted = [key]
        for _ in range(_AHEAD):
            wanted.append(self.order.after(wanted[-1]))
        self._forget(wanted)
        for other in wanted:
            if other not in self._filling:
                self._start(other)
        for _ in range(_FETCHED_AHEAD - _AHEAD):
            wanted.append(self.order.after(wanted[-1]))
        self._fetch(wanted[1:])

    def _fetch(self, keys: list[WindowKey]) -> None:
        """Have the blocks of these windows brought into the system's cache, as far as that was not asked for before."""
        if self._fetcher is None:
            self._fetcher = ThreadPoolExecutor(1, f"fetch {self._channel.name}")
        for key in keys:
            if key not in self._fetched:
                blocks = self.order.epoch(key.stream, key.epoch).blocks_of(key.window)
                self._fetcher.submit(self._channel.table.table.expect, blocks)
        self._fetched = tuple(keys)

    def _forget(self, wanted: tuple[WindowKey, ...] | list[WindowKey]) -> None:
        """Let go of all other windows; their memory is used again."""
        for key in [key for key in self._filling if key not in wanted]:
            self._filling.pop(key).add_done_callback(self._take_back)

    def _take_back(self, future: Future[Window]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._buffers.append(future.result().records)

    def _start(self, key: WindowKey) -> Future[Window]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_AHEAD, f"read-ahead {self._channel.name}")
        blocks = self.order.epoch(key.stream, key.epoch).blocks_of(key.window)
        self._filling[key] = self._threads.submit(self._fill, key, blocks, self.order.turn(key))
        return self._filling[key]

    def _fill(self, key: WindowKey, blocks: tuple[int, ...], turn: int) -> Window:
        pattern = self._pattern(key)
        filler, records = self._take_filler(), self._take_buffer()
        order = filler.fill(self._channel.read_numbered, blocks, pattern, records.reshape(*pattern.within.shape, -1))
        for block in blocks:
            self._channel.release(block)
        self._fillers.append(filler)
        return Window(records, order, turn, self._placement.put(records, order, self._layout))

    def _take_filler(self) -> WindowFiller:
        try:
            return self._fillers.pop()
        except IndexError:
            return WindowFiller(self._layout, self.order.capacity)

    def _take_buffer(self) -> np.ndarray:
        try:
            return self._buffers.pop()
        except IndexError:
            return self._layout.empty(self.order.slots * self.order.capacity)

    def _pattern(self, key: WindowKey) -> MergePattern:
        """The pattern of an epoch; its windows differ by their blocks and by where their circle starts."""
        epoch = (key.stream, key.epoch)
        with self._drawing:
            if epoch not in self._patterns:
                if len(self._patterns) > 1:
                    self._patterns.pop(next(iter(self._patterns)))
                random = key.stream.generator("pattern", key.epoch, self._channel.name)
                self._patterns[epoch] = merge_pattern(self.order.slots, self.order.capacity, random)
            return self._patterns[epoch]
