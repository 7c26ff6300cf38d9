"""Event sources: epochs, replicas, bootstrap and splits."""

from __future__ import annotations

import math
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unscatter.arrays import Events, RandomStream
from unscatter.errors import ColumnError, EventsError, SettingsError, ShapeError
from unscatter.events import EventSource, InMemoryEvents, StackedEvents, memory, split
from unscatter.events.hashing import BootstrapKey, poisson_weights, poisson_weights_by_search, row_uniforms, splitmix64
from unscatter.events.order import stretches

STREAM = RandomStream(11)


def _numbered(num_events: int, first: int = 0) -> Events:
    """Events that can be told apart: the first column is the row's number, the second its negative."""
    number = torch.arange(first, first + num_events, dtype=torch.float32)
    return Events(torch.stack([number, -number], -1), ("i", "minus_i"))


def _stacked(sizes: list[int]) -> StackedEvents:
    return StackedEvents({"p": [_numbered(n, 1000 * r) for r, n in enumerate(sizes)], "n": [_numbered(n + 1) for n in sizes]})


SOURCES = {
    "shared": lambda: InMemoryEvents({"p": _numbered(10), "n": _numbered(7)}, replicas=3),
    "bootstrapped": lambda: InMemoryEvents({"p": _numbered(10), "n": _numbered(7)}, replicas=3, bootstrap=True, seed=4),
    "stacked": lambda: _stacked([10, 7, 12]),
}
every_source = pytest.mark.parametrize("name", SOURCES)


def _rows(source: EventSource, replica: int, channel: int, num_rows: int, batch: int) -> list[float]:
    """Numbers of the rows that the first steps use, until ``num_rows`` are together."""
    steps = range(-(-num_rows // batch))
    rows = [source.batch(step, batch, STREAM).values[replica, channel, :, 0] for step in steps]
    return torch.cat(rows)[:num_rows].tolist()


@every_source
@pytest.mark.parametrize("batch", [1, 3, 25])
def test_every_event_is_used_exactly_once_per_epoch(name: str, batch: int) -> None:
    source = SOURCES[name]()
    for replica in range(source.num_replicas):
        for c, channel in enumerate(source.channels):
            every_row = sorted(source.of_channel(channel, replica).column("i").tolist())
            used = _rows(source, replica, c, 3 * len(every_row), batch)
            epochs = [used[i : i + len(every_row)] for i in range(0, len(used), len(every_row))]
            assert [sorted(epoch) for epoch in epochs] == [every_row] * 3
            assert epochs[0] != epochs[1]


@every_source
def test_batch_is_a_pure_function_of_step_size_and_stream(name: str) -> None:
    source, fresh = SOURCES[name](), SOURCES[name]()
    walked = [source.batch(step, 4, STREAM) for step in range(6)]
    source.batch(2, 4, RandomStream(12))
    for step in (5, 0, 3):
        again, alone = source.batch(step, 4, STREAM), fresh.batch(step, 4, STREAM)
        assert torch.equal(again.values, walked[step].values)
        assert torch.equal(alone.values, walked[step].values)
        assert torch.equal(alone.weights_or_ones(), walked[step].weights_or_ones())
    assert not torch.equal(source.batch(0, 4, RandomStream(12)).values, walked[0].values)


@every_source
def test_batch_has_the_promised_shape_and_whole_rows(name: str) -> None:
    source = SOURCES[name]()
    assert isinstance(source, EventSource)
    batch = source.batch(1, 5, STREAM)
    assert batch.values.shape == (3, 2, 5, 2)
    assert batch.columns == source.columns == ("i", "minus_i")
    assert source.channels == ("p", "n")
    assert torch.equal(batch.column("i"), -batch.column("minus_i"))


@every_source
def test_source_survives_pickling(name: str) -> None:
    source = SOURCES[name]()
    batch = source.batch(1, 5, STREAM)
    assert torch.equal(pickle.loads(pickle.dumps(source)).batch(1, 5, STREAM).values, batch.values)


def test_replicas_that_share_events_do_not_share_batches() -> None:
    source = InMemoryEvents({"p": _numbered(1000)}, replicas=3)
    batch = source.batch(0, 100, STREAM).column("i")[:, 0]
    assert not set(batch[0].tolist()) & set(batch[1].tolist())
    assert not set(batch[0].tolist()) & set(batch[2].tolist())


def test_fast_gathers_equal_those_of_a_device() -> None:
    rows = torch.randint(0, 50, (3, 2, 8)).numpy()
    values, own = torch.rand(50, 2), torch.randint(0, 9, (3, 50), dtype=torch.uint8)
    assert torch.equal(memory.take(values, rows), memory.take_by_torch(values, rows))
    for dtype in (torch.float32, torch.float64):
        taken = memory.take_own(own, rows, dtype)
        assert torch.equal(taken, memory.take_own_by_torch(own, rows, dtype))
        assert taken[2, 1, 3] == own[2, rows[2, 1, 3]]


def test_channels_and_epochs_are_permuted_independently() -> None:
    source = InMemoryEvents({"p": _numbered(500), "n": _numbered(500)})
    first = source.batch(0, 500, STREAM).column("i")[0]
    second = source.batch(1, 500, STREAM).column("i")[0]
    for a, b in [(first[0], first[1]), (first[0], second[0])]:
        # The expected number of fixed points of a random permutation is one.
        assert int((a == b).sum()) < 8


@given(st.integers(0, 40), st.integers(1, 30), st.integers(1, 12))
def test_stretches_tile_the_batch_and_stay_inside_their_epochs(step: int, num_events: int, length: int) -> None:
    at, position = 0, step * num_events
    for stretch in stretches(step, num_events, length):
        assert (stretch.at, stretch.epoch * length + stretch.first) == (at, position)
        assert 0 < stretch.num_events <= length - stretch.first
        at, position = at + stretch.num_events, position + stretch.num_events
    assert at == num_events


def test_counts_are_the_numbers_of_events_or_the_sums_of_weights() -> None:
    assert InMemoryEvents({"p": _numbered(10), "n": _numbered(7)}, replicas=2).counts.tolist() == [[10, 7], [10, 7]]
    assert _stacked([10, 7, 12]).counts.tolist() == [[10, 11], [7, 8], [12, 13]]
    weighted = Events(torch.rand(4, 1), ("x",), torch.tensor([0.5, 0.25, 1.0, 2.0]))
    assert InMemoryEvents({"p": weighted}).counts.tolist() == [[3.75]]


def test_bootstrap_weights_follow_their_rows_and_sum_to_the_counts() -> None:
    source = InMemoryEvents({"p": _numbered(50), "n": _numbered(30)}, replicas=2, bootstrap=True, seed=4)
    for replica in range(2):
        for c, channel in enumerate(source.channels):
            events = source.of_channel(channel, replica)
            assert events.weights is not None
            by_row = dict(zip(events.column("i").tolist(), events.weights.tolist(), strict=True))
            batch = source.batch(0, len(by_row), STREAM)
            assert batch.weights is not None
            used = zip(batch.column("i")[replica, c].tolist(), batch.weights[replica, c].tolist(), strict=True)
            assert dict(used) == by_row
            assert source.counts[replica, c] == sum(by_row.values())


def test_bootstrap_differs_between_replicas_channels_and_seeds() -> None:
    def weights(seed: int, channel: str, replica: int) -> list[float]:
        source = InMemoryEvents({"p": _numbered(100), "n": _numbered(100)}, replicas=2, bootstrap=True, seed=seed)
        return source.of_channel(channel, replica).weights_or_ones().tolist()

    assert weights(1, "p", 0) == weights(1, "p", 0)
    assert weights(1, "p", 0) not in [weights(1, "p", 1), weights(1, "n", 0), weights(2, "p", 0)]


def test_bootstrap_of_a_row_does_not_depend_on_the_other_rows() -> None:
    short, long = (InMemoryEvents({"p": _numbered(n)}, bootstrap=True, seed=4).of_channel("p", 0).weights_or_ones() for n in (40, 100))
    assert torch.equal(short, long[:40])


def test_bootstrap_multiplies_the_weights_that_the_events_have() -> None:
    plain = _numbered(60)
    weighted = Events(plain.values, plain.columns, torch.full((60,), 0.5))
    a, b = (InMemoryEvents({"p": e}, bootstrap=True, seed=4).of_channel("p", 0).weights_or_ones() for e in (plain, weighted))
    assert torch.equal(b, a / 2)


@pytest.mark.parametrize("mirrored", [False, True])
def test_bootstrap_weights_are_poisson_distributed_with_mean_one(mirrored: bool) -> None:
    num_rows = 200_000
    weights = Counter(poisson_weights(5, np.arange(num_rows), mirrored=mirrored).tolist())
    for k in range(6):
        expected = num_rows * math.exp(-1) / math.factorial(k)
        assert abs(weights[k] - expected) < 4.5 * math.sqrt(expected)


@pytest.mark.parametrize("mirrored", [False, True])
def test_bootstrap_weights_by_table_are_those_of_the_search(mirrored: bool) -> None:
    # A million rows meet cells of the table with an edge of the distribution inside 250 times or so.
    rows = np.arange(1_000_000)
    assert np.array_equal(poisson_weights(8, rows, mirrored=mirrored), poisson_weights_by_search(8, rows, mirrored=mirrored))


def test_replicas_of_a_pair_mirror_one_another_and_pairs_are_independent() -> None:
    rows, stream = np.arange(200_000), RandomStream(3)
    weights = np.stack([BootstrapKey.of(stream, replica, "p").weights(rows) for replica in range(6)]).astype(float)
    expected = np.kron(np.eye(3), np.array([[1, -2 / math.e], [-2 / math.e, 1]]))
    assert np.abs(np.corrcoef(weights) - expected).max() < 5 / math.sqrt(len(rows))


def test_weights_of_a_replica_do_not_depend_on_how_many_there_are() -> None:
    few, many = (InMemoryEvents({"p": _numbered(50)}, replicas=n, bootstrap=True, seed=4) for n in (3, 8))
    for replica in range(3):
        assert torch.equal(few.of_channel("p", replica).weights_or_ones(), many.of_channel("p", replica).weights_or_ones())


def test_splitmix64_gives_the_published_sequence() -> None:
    # Output of Vigna's splitmix64.c for the seed 1234567, as listed at rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert splitmix64(1234567, np.arange(5)).tolist() == published
    assert splitmix64(1234567, np.array([4, 2])).tolist() == [published[4], published[2]]


def test_row_uniforms_are_uniform_and_uncorrelated() -> None:
    u = row_uniforms(3, np.arange(100_000))
    assert 0 <= u.min() <= u.max() < 1
    counts = np.histogram(u, 50, (0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 49 + 5 * math.sqrt(98)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 5 / math.sqrt(len(u))


def test_weights_are_ones_where_only_another_channel_has_them() -> None:
    weighted = Events(torch.rand(4, 2), ("i", "minus_i"), torch.full((4,), 3.0))
    batch = InMemoryEvents({"p": _numbered(5), "n": weighted}).batch(0, 4, STREAM)
    assert batch.weights is not None
    assert batch.weights[0].tolist() == [[1.0] * 4, [3.0] * 4]


def test_sample_repeats_nothing_and_ends_with_the_smallest_data_set() -> None:
    source = _stacked([10, 7, 12])
    sample = source.sample(100)
    assert sample.values.shape == (3, 2, 7, 2)
    assert len(set(sample.column("i")[0, 0].tolist())) == 7
    assert torch.equal(sample.values, _stacked([10, 7, 12]).sample(100).values)


def test_events_of_a_channel_come_in_the_order_of_the_data() -> None:
    source = _stacked([10, 7, 12])
    assert source.of_channel("p", 1).column("i").tolist() == list(range(1000, 1007))
    assert len(set(source.of_channel("p", 1, max_events=4).column("i").tolist()) & set(range(1000, 1007))) == 4
    with pytest.raises(EventsError, match=r"no channel 'q'.*\['p', 'n'\]"):
        source.of_channel("q")
    with pytest.raises(EventsError, match="no replica 3"):
        source.of_channel("p", 3)


def test_stacked_tensor_is_taken_apart_into_replicas() -> None:
    values, weights = torch.rand(3, 20, 2), torch.rand(3, 20)
    source = StackedEvents({"p": Events(values, ("x", "y"), weights)})
    assert source.num_replicas == 3
    assert torch.equal(source.of_channel("p", 2).values, values[2])
    assert torch.equal(source.of_channel("p", 2).weights_or_ones(), weights[2])
    torch.testing.assert_close(source.counts[:, 0], weights.double().sum(1))


def test_split_gives_every_row_to_one_part_and_moves_none_when_rows_are_added() -> None:
    parts = split(_numbered(1000), [0.6, 0.3, 0.1], 3)
    rows = [set(part.column("i").tolist()) for part in parts]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 1000
    longer = split(_numbered(1500), [0.6, 0.3, 0.1], 3)
    for part, grown in zip(rows, longer, strict=True):
        assert part == {i for i in grown.column("i").tolist() if i < 1000}
    assert rows[0] != set(split(_numbered(1000), [0.6, 0.3, 0.1], 4)[0].column("i").tolist())


def test_sizes_of_the_parts_follow_the_fractions_within_binomial_errors() -> None:
    for fraction, part in zip([0.6, 0.3, 0.1], split(_numbered(20_000), [0.6, 0.3, 0.1], 3), strict=True):
        assert abs(part.num_events - 20_000 * fraction) < 4.5 * math.sqrt(20_000 * fraction * (1 - fraction))


@every_source
def test_parts_of_a_source_know_their_exposure(name: str) -> None:
    source = SOURCES[name]()
    train, test = source.split([0.5, 0.5], seed=2)
    assert train.exposure == test.exposure == 0.5
    assert (train.channels, train.columns, train.num_replicas) == (source.channels, source.columns, source.num_replicas)
    for replica in range(source.num_replicas):
        both = torch.cat([part.of_channel("p", replica).column("i") for part in (train, test)])
        assert sorted(both.tolist()) == sorted(source.of_channel("p", replica).column("i").tolist())
    assert (train.batch(0, 4, STREAM).weights is None) == (name != "bootstrapped")


def test_impossible_fractions_and_empty_parts_are_errors() -> None:
    for fractions in ([0.5, 0.6], [1.5, -0.5], []):
        with pytest.raises(SettingsError, match="'fractions' must be positive and add up to 1"):
            split(_numbered(10), fractions, 1)
    with pytest.raises(EventsError, match="3 events are too few to split: the part with the fraction 1e-06 is empty"):
        split(_numbered(3), [1 - 1e-6, 1e-6], 1)


def test_channels_that_do_not_fit_together_are_errors() -> None:
    other = Events(torch.rand(3, 2), ("minus_i", "i"))
    with pytest.raises(ColumnError, match=r"channel 'n' has the columns .*\n.*events.select\(\['i', 'minus_i'\]\)"):
        InMemoryEvents({"p": _numbered(3), "n": other})
    with pytest.raises(ShapeError, match=r"same number of replicas, got \{'p': 1, 'n': 2\}"):
        StackedEvents({"p": [_numbered(3)], "n": [_numbered(3)] * 2})
    with pytest.raises(ShapeError, match="float64"):
        InMemoryEvents({"p": _numbered(3), "n": _numbered(3).to(dtype=torch.float64)})
    with pytest.raises(ShapeError, match="use InMemoryEvents"):
        StackedEvents({"p": _numbered(3)})
    with pytest.raises(ShapeError, match=r"\[num_events, columns\]"):
        InMemoryEvents({"p": Events(torch.rand(2, 3, 1), ("x",))})


def test_unusable_events_are_refused_with_channel_and_replica() -> None:
    with pytest.raises(EventsError, match="channel 'p', replica 1"):
        StackedEvents({"p": [_numbered(3), _numbered(0)]})
    with pytest.raises(EventsError, match="NaN or infinite"):
        InMemoryEvents({"p": Events(torch.tensor([[float("nan")]]), ("x",))})
    with pytest.raises(EventsError, match="at least one channel"):
        InMemoryEvents({})
    with pytest.raises(SettingsError, match="'replicas' must be at least 1, got 0"):
        InMemoryEvents({"p": _numbered(3)}, replicas=0)
    with pytest.raises(SettingsError, match="step -1"):
        InMemoryEvents({"p": _numbered(3)}).batch(-1, 4, STREAM)


def test_events_without_a_replica_are_as_measured() -> None:
    """Tests and comparisons look at the data, not at a bootstrap of them."""
    events = _numbered(50)
    assert InMemoryEvents({"p": events}, replicas=2, bootstrap=True, seed=1).of_channel("p").weights is None
    weighted = Events(events.values, events.columns, torch.arange(50.0))
    source = InMemoryEvents({"p": weighted}, replicas=2, bootstrap=True, seed=1)
    assert torch.equal(source.of_channel("p").weights_or_ones(), torch.arange(50.0))


def test_split_of_too_few_events_names_the_channel() -> None:
    source = InMemoryEvents({"proton": Events(torch.rand(500, 1), ("x",)), "neutron": Events(torch.rand(1, 1), ("x",))})
    with pytest.raises(EventsError, match="1 event of channel 'neutron' is too few to split"):
        source.split((0.5, 0.5), 1)
