"""Shuffle quality: what order of a sorted store is left in the windows of a stream.

A store of one sorted column is streamed for many epochs, and so is a shuffled one.  Each line is a mean of squared differences between two
samples, in units of what it is for rows drawn at random without replacement: 1 where no order is left.  Errors are from the scatter
between epochs, which are independent; windows of one epoch share a pattern.

halves    first and second half of a window: rows of a window, so sigma^2 of the window.
batches   neighbouring batches of a window, likewise.
windows   neighbouring windows.  One of w blocks holds w slices of a sorted column, however well it is mixed, so the unit is that of blocks
          drawn at random without replacement, 2 sigma_b^2 / w with the variance sigma_b^2 of the block means.
rows      the same difference in units of that for rows drawn at random, 2 sigma^2 / n: what the finite window costs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from unscatter.arrays import RandomStream
from unscatter.events import StoredEvents, StreamedEvents
from unscatter.events.store import EventStore, write_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=512)
    parser.add_argument("--rows-per-block", type=int, default=1024)
    parser.add_argument("--window-blocks", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        values = np.random.default_rng(1).random(arguments.blocks * arguments.rows_per_block, dtype=np.float32)
        for order in ("sorted", "shuffled"):
            column = np.sort(values) if order == "sorted" else values
            store = write_store(Path(directory) / order, [{"x": column}], rows_per_block=arguments.rows_per_block)
            print(f"{order} store: {store.num_rows:,} rows in {store.num_blocks} blocks, 'order' of its manifest {order_of(store):.3g}")
            for window_blocks in arguments.window_blocks:
                report(store, window_blocks, arguments.epochs)


def order_of(store: EventStore) -> float:
    order = store.manifest.summary("x").order
    assert order is not None
    return order


def report(store: EventStore, window_blocks: int, epochs: int) -> None:
    found: dict[str, list[float]] = {"halves": [], "batches": [], "windows": [], "rows": []}
    for windows in windows_of_epochs(store, window_blocks, epochs):
        found["halves"].append(mean([squared_difference(*window.reshape(2, -1)) for window in windows]))
        found["batches"].append(mean([squared_difference(*pair) for window in windows for pair in window.reshape(-1, 2, PAIRED)]))
        squares = np.square(np.diff(windows.mean(1, dtype=np.float64)[: len(windows) // 2 * 2].reshape(-1, 2)))
        found["windows"].append(squares.mean() / (2 * block_variance(store) / window_blocks))
        found["rows"].append(squares.mean() / (2 * windows.var() / windows.shape[1]))
    lines = "   ".join(f"{name} {np.mean(v):.3f} +- {np.std(v, ddof=1) / np.sqrt(len(v)):.3f}" for name, v in found.items())
    print(f"  windows of {window_blocks:3} blocks, {epochs} epochs:   {lines}")


#: Events of the batches that are compared.
PAIRED = 256


def windows_of_epochs(store: EventStore, window_blocks: int, epochs: int) -> Iterator[np.ndarray]:
    """The events of each window in the order in which a fit uses them, one epoch at a time: ``[windows, events]``."""
    source = StreamedEvents({"x": StoredEvents(store)}, window_blocks=window_blocks)
    size = window_blocks * store.rows_per_block
    per_epoch = store.num_rows // size
    for epoch in range(epochs):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        yield np.stack([source.batch(step, size, RandomStream(3)).values[0, 0, :, 0].numpy() for step in steps])


def squared_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Of the means of two samples drawn from the rows of both without replacement, in units of its expectation."""
    both = np.concatenate([one, other])
    return float((one.mean(dtype=np.float64) - other.mean(dtype=np.float64)) ** 2 / (2 * both.var(ddof=1, dtype=np.float64) / len(one)))


def block_variance(store: EventStore) -> float:
    """Variance of the block means."""
    return float(np.var([store.block(number)["x"].mean(dtype=np.float64) for number in range(store.num_blocks)], ddof=1))


if __name__ == "__main__":
    main()
