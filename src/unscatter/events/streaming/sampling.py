"""Some or all rows of a channel, read at once."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from unscatter.arrays.memory import check_memory
from unscatter.events.streaming.blocks import Block
from unscatter.events.streaming.channel import Channel
from unscatter.events.streaming.rows import for_all_blocks

#: Places of a large channel that a sample is taken from.
_PLACES = 256


class Sampled(NamedTuple):
    """Rows that were read."""

    values: np.ndarray
    """``[rows, columns]``"""
    weights: np.ndarray | None
    """``[rows]``, None where the channel has none."""
    numbers: np.ndarray
    """Of the rows, for the bootstrap, ``[rows]``."""


def sampled_rows(num_rows: int, wanted: int, seed: int, *, run: int, places: int = _PLACES) -> np.ndarray:
    """Numbers of a random sample of rows without repetition, ascending; each row has the same chance.

    Where there are more than ``places * run`` rows, they are cut into so many stretches of equal length, and the rows of each are taken
    from a run of consecutive ones at a random place of it: few blocks have to be read, and a sorted file is covered from end to end.

    Args:
        num_rows: how many there are.
        wanted: how many to choose; at most ``num_rows``.
        seed: of the random numbers.
        run: length of the runs, for instance that of a block.
        places: number of stretches.

    Example:
        >>> sampled_rows(10, 10, seed=1, run=10).tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    random = np.random.Generator(np.random.PCG64(seed))
    if num_rows <= places * run:
        return np.sort(random.choice(num_rows, wanted, replace=False, shuffle=False))
    edges = [num_rows * place // places for place in range(places + 1)]
    shares = [wanted * place // places for place in range(places + 1)]
    chosen = [_from_run(first, last, b - a, run, random) for (first, last), (a, b) in zip(pairwise(edges), pairwise(shares), strict=True)]
    return np.sort(np.concatenate(chosen))


def _from_run(first: int, last: int, wanted: int, run: int, random: np.random.Generator) -> np.ndarray:
    """Rows between ``first`` and ``last`` from a run at a random place; it goes on at the beginning where it meets the end."""
    length = last - first
    inside = random.choice(min(length, max(run, wanted)), wanted, replace=False, shuffle=False)
    return first + (random.integers(length) + inside) % length


def read_rows(channel: Channel, numbers: np.ndarray, dtype: np.dtype) -> Sampled:
    """Read rows by their ascending numbers; of blocks without any of them nothing is read."""
    starts = channel.rows.starts
    edges = np.searchsorted(numbers, starts)
    blocks = np.flatnonzero(np.diff(edges))

    def read(index: int) -> Block:
        block = int(blocks[index])
        positions = numbers[edges[block] : edges[block + 1]] - starts[block]
        found = _copied(channel.read(block).take(positions), dtype)
        channel.release(block)
        return found

    return _joined(for_all_blocks(read, len(blocks)), numbers + channel.rows.origin)


def read_all(channel: Channel, dtype: np.dtype) -> Sampled:
    """Read all rows of a channel in their order.

    Raises:
        SettingsError: they do not fit into memory.
    """
    num_rows, width = channel.num_rows, len(channel.table.columns) + 1
    what = f"{num_rows:,} events of channel '{channel.name}' at once (a sample of them: max_events=100_000)"
    check_memory({what: 2 * num_rows * width * dtype.itemsize}, "reading all events")

    def read(number: int) -> Block:
        found = _copied(channel.read(number), dtype)
        channel.release(number)
        return found

    return _joined(for_all_blocks(read, len(channel.counts)), np.arange(num_rows) + channel.rows.origin)


def _copied(block: Block, dtype: np.dtype) -> Block:
    weights = None if block.weights is None else block.weights.astype(dtype)
    return Block(tuple(column.astype(dtype) for column in block.columns), weights)


def _joined(blocks: list[Block], numbers: np.ndarray) -> Sampled:
    values = np.concatenate([np.stack(block.columns, -1) for block in blocks])
    weights = [block.weights for block in blocks if block.weights is not None]
    return Sampled(values, np.concatenate(weights) if weights else None, numbers)
