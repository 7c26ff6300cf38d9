from __future__ import annotations

import numpy as np
import pytest

from unscatter.events.store.shuffling import MAX_BUCKETS, num_buckets, scatter, shuffle


@pytest.mark.parametrize("buckets", [1, 7, 300])
def test_scattered_rows_keep_their_order_inside_a_bucket(buckets: int) -> None:
    table = np.arange(20_000.0).reshape(-1, 2)
    rows, counts = scatter(table, 5_000, seed=3, buckets=buckets)
    assert counts.sum() == len(table)
    for part in np.split(rows, counts.cumsum()[:-1]):
        assert (np.diff(part[:, 0]) > 0).all()
    np.testing.assert_array_equal(np.sort(rows[:, 0]), table[:, 0])


def test_the_bucket_of_a_row_does_not_depend_on_how_rows_are_read() -> None:
    table = np.arange(1000.0)[:, None]
    whole, counts = scatter(table, 0, seed=1, buckets=5)
    parts = [scatter(table[first : first + 300], first, seed=1, buckets=5) for first in range(0, 1000, 300)]
    for bucket, expected in enumerate(np.split(whole, counts.cumsum()[:-1])):
        found = np.concatenate([np.split(rows, per.cumsum()[:-1])[bucket] for rows, per in parts])
        np.testing.assert_array_equal(found, expected)


def test_buckets_have_equal_shares() -> None:
    _, counts = scatter(np.zeros((100_000, 1)), 0, seed=9, buckets=10)
    # Binomial, standard deviation 95.
    assert abs(counts - 10_000).max() < 500


def test_every_order_of_a_bucket_is_equally_likely() -> None:
    orders = [tuple(shuffle(np.arange(3)[:, None], seed, 0)[:, 0].tolist()) for seed in range(1200)]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == 6
    # Chi-square with five degrees of freedom: 25.7 is exceeded once in ten thousand.
    assert ((counts - 200) ** 2 / 200).sum() < 25.7


def test_the_number_of_buckets_is_bounded() -> None:
    assert num_buckets([(1, 100)]) == 1
    assert num_buckets([(10**15, None)]) == MAX_BUCKETS
    assert np.iinfo(np.uint16).max + 1 >= MAX_BUCKETS
