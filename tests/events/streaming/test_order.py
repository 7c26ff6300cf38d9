"""Patterns, windows and samples: distributions and bookkeeping."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from unscatter.arrays import RandomStream
from unscatter.events.streaming.pattern import merge_pattern, merge_some
from unscatter.events.streaming.sampling import sampled_rows
from unscatter.events.streaming.windows import WindowKey, WindowOrder, epoch_windows

STREAM = RandomStream(5)


def _chi2(counts: Counter[tuple[int, ...]], cells: int, drawn: int) -> float:
    expected = drawn / cells
    return sum((counts[key] - expected) ** 2 / expected for key in counts) + (cells - len(counts)) * expected


def test_every_permutation_is_equally_likely() -> None:
    random, drawn = torch.Generator().manual_seed(1), 12_000
    counts = Counter(tuple(merge_pattern(2, 2, random).permutation.tolist()) for _ in range(drawn))
    # 24 permutations: 23 degrees of freedom, five standard deviations.
    assert len(counts) == 24
    assert _chi2(counts, 24, drawn) < 23 + 5 * (2 * 23) ** 0.5


def test_every_permutation_of_blocks_that_are_not_full_is_equally_likely() -> None:
    random, drawn = torch.Generator().manual_seed(2), 12_000
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(drawn):
        pattern = merge_pattern(2, 3, random)
        rows = pattern.within.reshape(-1)[merge_some(pattern, [1, 3])] + 3 * (merge_some(pattern, [1, 3]) // 3)
        counts[tuple(rows.tolist())] += 1
    assert set(counts) == set(itertools.permutations([0, 3, 4, 5]))
    assert _chi2(counts, 24, drawn) < 23 + 5 * (2 * 23) ** 0.5


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any), st.integers(1, 5), st.integers(1, 40), st.integers(0, 20))
def test_pieces_tile_the_batch_and_stay_inside_their_windows(counts: list[int], window: int, num_events: int, step: int) -> None:
    order = WindowOrder(np.array(counts), window, "p")
    at = 0
    for piece in order.pieces(step, num_events, STREAM):
        windows = order.epoch(STREAM, piece.key.epoch)
        assert piece.at == at
        assert 0 < piece.num_events <= windows.num_rows(piece.key.window) - piece.first
        position = piece.key.epoch * order.num_rows + int(windows.starts[piece.key.window]) + piece.first
        assert position == step * num_events + at
        at += piece.num_events
    assert at == num_events


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any), st.integers(1, 5))
def test_windows_of_an_epoch_hold_every_block_that_has_rows_once(counts: list[int], window: int) -> None:
    windows = epoch_windows(np.array(counts), window, torch.Generator().manual_seed(3))
    found = [windows.blocks_of(w) for w in range(windows.num_windows)]
    assert sorted(block for blocks in found for block in blocks) == [b for b, count in enumerate(counts) if count]
    assert [windows.num_rows(w) for w in range(windows.num_windows)] == [sum(counts[b] for b in blocks) for blocks in found]


@given(st.integers(1, 400), st.integers(1, 50), st.integers(1, 12), st.data())
def test_sample_has_distinct_rows(num_rows: int, run: int, places: int, data: st.DataObject) -> None:
    wanted = data.draw(st.integers(0, num_rows))
    rows = sampled_rows(num_rows, wanted, 1, run=run, places=places)
    assert len(set(rows.tolist())) == wanted
    assert wanted == 0 or (rows.min() >= 0 and rows.max() < num_rows)
    assert (np.diff(rows) > 0).all()


def test_each_row_has_the_same_chance_to_be_sampled_and_a_sorted_file_is_covered() -> None:
    seen = np.zeros(200)
    for seed in range(4000):
        rows = sampled_rows(200, 20, seed, run=7, places=10)
        # Twenty rows in ten stretches of twenty: two in each.
        assert (np.bincount(rows // 20, minlength=10) == 2).all()
        seen[rows] += 1
    # Each row is in a tenth of the samples: binomial.
    assert abs(seen - 400).max() < 5 * (4000 * 0.1 * 0.9) ** 0.5


def test_windows_of_an_epoch_begin_at_different_places_of_their_circles() -> None:
    order = WindowOrder(np.full(40, 100), 4, "p")
    turns = [order.turn(WindowKey(STREAM, epoch, window)) for epoch in range(2) for window in range(10)]
    assert all(0 <= turn < 400 for turn in turns)
    # Twenty numbers out of 400: half a pair meets by chance.
    assert len(set(turns)) > 15


def test_epochs_have_windows_of_other_blocks() -> None:
    order = WindowOrder(np.full(40, 100), 4, "p")
    first, second = (set(order.epoch(STREAM, epoch).blocks_of(0)) for epoch in (0, 1))
    assert first != second
