"""Sums of weights over all rows of a channel, with and without a bootstrap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unscatter.events.hashing import BootstrapKey
from unscatter.events.streaming.channel import Channel
from unscatter.events.streaming.rows import for_all_blocks


def weight_sums(channel: Channel) -> tuple[float, float]:
    """Sum of the weights and of their squares; the number of rows, twice, where there are none."""
    if not channel.table.has_weights:
        return float(channel.num_rows), float(channel.num_rows)

    def of_block(number: int) -> tuple[float, float]:
        weights = _weights(channel, number)
        return float(weights.sum()), float(np.square(weights).sum())

    sums = np.array(for_all_blocks(of_block, len(channel.counts))).sum(0)
    return float(sums[0]), float(sums[1])


def bootstrap_sums(channel: Channel, keys: Sequence[BootstrapKey]) -> np.ndarray:
    """Sum of the weights of every replica, ``[replica]``.

    Args:
        channel: whose rows.
        keys: of the replicas' bootstrap weights, ``[replica]``.
    """
    weighted = channel.table.has_weights

    def of_block(number: int) -> np.ndarray:
        first = int(channel.rows.starts[number]) + channel.rows.origin
        rows = np.arange(first, first + int(channel.counts[number]))
        seen = [key.weights(rows) for key in keys]
        if not weighted:
            return np.array([weights.sum(dtype=np.int64) for weights in seen], float)
        own = _weights(channel, number)
        return np.array([(own * weights).sum() for weights in seen])

    return np.array(for_all_blocks(of_block, len(channel.counts))).sum(0)


def _weights(channel: Channel, number: int) -> np.ndarray:
    """Weights of one block, ``[rows]`` of float64."""
    if channel.counts[number] == 0:
        return np.zeros(0)
    weights = channel.read(number).weights
    assert weights is not None
    copied = weights.astype(np.float64)
    channel.release(number)
    return copied
