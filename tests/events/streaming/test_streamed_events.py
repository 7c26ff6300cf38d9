"""Streamed events: epochs, replicas, splits, shards and bootstrap, for any sizes; in-memory events are the reference."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unscatter.arrays import Events, RandomStream
from unscatter.errors import ColumnError, EventsError, NoEventsLeftError, SettingsError
from unscatter.events import EventSource, InMemoryEvents, MovableSource, ShardedSource
from unscatter.events.streaming import Block, MemoryTable, StreamedEvents
from unscatter.events.streaming.batches import Batch
from unscatter.events.streaming.channel import Channel, PreparedTable
from unscatter.events.streaming.placing import Placement
from unscatter.events.streaming.reading_ahead import WindowReader

STREAM = RandomStream(11)

# Hypothesis dislikes threads that outlive an example: the checks of types that the tests add use the same random numbers as it does.
FRACTIONS = (0.7, 0.3)


def _numbered(num_events: int, *, weighted: bool = False) -> Events:
    """Events that can be told apart: the first column is the row's number, the second its negative."""
    number = torch.arange(num_events, dtype=torch.float32)
    weights = 0.5 + torch.rand(num_events, generator=torch.Generator().manual_seed(1)) if weighted else None
    return Events(torch.stack([number, -number], -1), ("i", "minus_i"), weights)


def _streamed(channels: dict[str, Events], rows_per_block: int, **options) -> StreamedEvents:
    return StreamedEvents({name: MemoryTable(events, rows_per_block) for name, events in channels.items()}, **options)


def _rows(source: EventSource, replica: int, channel: int, num_rows: int, batch: int) -> list[float]:
    steps = range(-(-num_rows // batch))
    return torch.cat([source.batch(step, batch, STREAM).values[replica, channel, :, 0] for step in steps])[:num_rows].tolist()


def _weight_of_event(events: Events) -> dict[float, float]:
    return dict(zip(events.column("i").reshape(-1).tolist(), events.weights_or_ones().reshape(-1).tolist(), strict=True))


class Counting(MemoryTable):
    """Remembers which blocks were read."""

    def __init__(self, events: Events, rows_per_block: int) -> None:
        super().__init__(events, rows_per_block)
        self.seen: list[int] = []
        self.held: set[int] = set()
        self.most_held = 0

    def read(self, number: int, columns: tuple[str, ...]) -> Block:
        self.seen.append(number)
        self.held.add(number)
        self.most_held = max(self.most_held, len(self.held))
        return super().read(number, columns)

    def release(self, number: int) -> None:
        self.held.discard(number)


sizes = st.integers(1, 300)
blocks = st.integers(1, 70)
windows = st.integers(1, 6)


@settings(deadline=None, max_examples=25)
@given(sizes, blocks, windows, st.integers(1, 90), st.integers(1, 4))
def test_every_event_is_used_exactly_once_per_epoch_and_replica(n: int, rows: int, window: int, batch: int, replicas: int) -> None:
    source = _streamed({"p": _numbered(n)}, rows, replicas=replicas, window_blocks=window)
    for replica in range(replicas):
        used = _rows(source, replica, 0, 3 * n, batch)
        for epoch in range(3):
            assert sorted(used[epoch * n : (epoch + 1) * n]) == list(range(n))
    source.close()


@settings(deadline=None, max_examples=25)
@given(sizes, blocks, windows, st.integers(1, 60), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_batch_is_a_pure_function_of_its_arguments_so_that_a_resumed_fit_needs_only_the_step(
    n: int, rows: int, window: int, batch: int, steps: list[int]
) -> None:
    options = {"replicas": 2, "bootstrap": True, "seed": 3, "window_blocks": window}
    walked = _streamed({"p": _numbered(n)}, rows, **options)
    expected = [walked.batch(step, batch, STREAM) for step in range(max(steps) + 1)]
    fresh = _streamed({"p": _numbered(n)}, rows, **options)
    for step in steps:
        found = fresh.batch(step, batch, STREAM)
        assert torch.equal(found.values, expected[step].values)
        assert torch.equal(found.weights_or_ones(), expected[step].weights_or_ones())
    walked.close()
    fresh.close()


@settings(deadline=None, max_examples=15)
@given(st.integers(20, 300), blocks, windows, st.integers(1, 5), st.booleans(), st.booleans())
def test_split_and_bootstrap_give_the_events_and_weights_of_those_in_memory(
    n: int, rows: int, window: int, replicas: int, weighted: bool, bootstrap: bool
) -> None:
    channels = {"p": _numbered(n, weighted=weighted), "n": _numbered(n // 2 + 10)}
    options = {"replicas": replicas, "bootstrap": bootstrap, "seed": 4}
    streamed = _streamed(channels, rows, window_blocks=window, **options).split(FRACTIONS, 9)
    for mine, its in zip(streamed, InMemoryEvents(channels, **options).split(FRACTIONS, 9), strict=True):
        assert mine.exposure == its.exposure
        torch.testing.assert_close(mine.counts, its.counts)
        torch.testing.assert_close(mine.effective_counts, its.effective_counts)
        for c, name in enumerate(channels):
            whole = its.of_channel(name, replicas - 1)
            assert torch.equal(mine.of_channel(name, replicas - 1).values, whole.values)
            assert torch.equal(mine.of_channel(name, replicas - 1).weights_or_ones(), whole.weights_or_ones())
            batch = mine.batch(0, whole.num_events, STREAM)
            one = Events(batch.values[-1, c], batch.columns, batch.weights_or_ones()[-1, c])
            assert _weight_of_event(one) == _weight_of_event(whole)
        mine.close()


@settings(deadline=None, max_examples=15)
@given(st.integers(10, 300), blocks, windows, st.integers(1, 7))
def test_shards_are_disjoint_balanced_to_one_and_keep_the_weights_of_their_rows(n: int, rows: int, window: int, num_ranks: int) -> None:
    whole = _streamed({"p": _numbered(n)}, rows, window_blocks=window, replicas=2, bootstrap=True, seed=4)
    by_event = _weight_of_event(whole.of_channel("p", 1))
    shards = [whole.shard(rank, num_ranks) for rank in range(num_ranks)]
    lengths = [shard.of_channel("p").num_events for shard in shards]
    assert max(lengths) - min(lengths) <= 1
    together: dict[float, float] = {}
    for shard, length in zip(shards, lengths, strict=True):
        batch = shard.batch(0, length, STREAM)
        together |= _weight_of_event(Events(batch.values[1], batch.columns, batch.weights_or_ones()[1]))
        assert shard.exposure == 1 / num_ranks
        shard.close()
    assert together == by_event
    torch.testing.assert_close(sum(shard.counts for shard in shards), whole.counts)


@settings(deadline=None, max_examples=12)
@given(st.integers(40, 300), blocks, st.integers(1, 3), st.integers(2, 4))
def test_cuts_come_before_split_and_shards_as_in_memory(n: int, rows: int, replicas: int, num_ranks: int) -> None:
    def even(events: Events, first_row: int = 0) -> Events:
        keep = events.column("i") % 2 == 0
        if not bool(keep.any()):
            raise NoEventsLeftError("none")
        return Events(events.values[keep], events.columns)

    table = PreparedTable("p", MemoryTable(_numbered(n), rows), ("i",), select=even)
    options = {"replicas": replicas, "bootstrap": True, "seed": 2}
    mine = StreamedEvents({"p": Channel(table)}, window_blocks=3, **options).split(FRACTIONS, 9)[0]
    its = InMemoryEvents({"p": even(_numbered(n)).select(("i",))}, **options).split(FRACTIONS, 9)[0]
    whole = _weight_of_event(its.of_channel("p", 0))
    assert _weight_of_event(mine.of_channel("p", 0)) == whole
    shards = [mine.shard(rank, num_ranks).of_channel("p", 0) for rank in range(num_ranks)]
    assert {event: weight for shard in shards for event, weight in _weight_of_event(shard).items()} == whole


def test_source_is_what_fits_ask_for() -> None:
    source = _streamed({"p": _numbered(10), "n": _numbered(7)}, 4, replicas=3)
    assert isinstance(source, EventSource)
    assert isinstance(source, ShardedSource)
    assert isinstance(source, MovableSource)
    batch = source.batch(1, 5, STREAM)
    assert batch.values.shape == (3, 2, 5, 2)
    assert torch.equal(batch.column("i"), -batch.column("minus_i"))
    assert source.counts.tolist() == [[10, 7]] * 3


def test_replicas_that_share_a_window_do_not_share_batches() -> None:
    batch = _streamed({"p": _numbered(1000)}, 100, replicas=3).batch(0, 100, STREAM).column("i")[:, 0]
    for a, b in itertools.combinations(range(3), 2):
        assert not set(batch[a].tolist()) & set(batch[b].tolist())


def test_channels_epochs_and_streams_are_shuffled_independently() -> None:
    source = _streamed({"p": _numbered(500), "n": _numbered(500)}, 50, window_blocks=20)
    first, second = (source.batch(step, 500, STREAM).column("i")[0] for step in (0, 1))
    other = source.batch(0, 500, RandomStream(12)).column("i")[0]
    for a, b in [(first[0], first[1]), (first[0], second[0]), (first[0], other[0])]:
        # The expected number of fixed points of a random permutation is one.
        assert int((a == b).sum()) < 8


def test_epochs_of_a_single_block_are_not_turns_of_one_circle() -> None:
    source = _streamed({"p": _numbered(50)}, 50)
    one, other = (source.batch(epoch, 50, STREAM).column("i")[0, 0].tolist() for epoch in (0, 1))
    assert all(one[turn:] + one[:turn] != other for turn in range(50))


def test_windows_mix_all_of_their_blocks() -> None:
    source = _streamed({"p": _numbered(6400)}, 100, window_blocks=16)
    window = source.batch(0, 1600, STREAM).column("i")[0, 0]
    halves = [set((part // 100).int().tolist()) for part in window.chunk(2)]
    assert len(halves[0] | halves[1]) == 16
    assert halves[0] == halves[1]
    assert abs(np.corrcoef(np.arange(1600), (window % 100).numpy())[0, 1]) < 5 / 40


def test_shard_reads_no_block_of_another_rank() -> None:
    table = Counting(_numbered(1000), 10)
    shard = StreamedEvents({"p": table}, window_blocks=3, bootstrap=True).shard(1, 4)
    assert shard.counts.shape == (1, 1)
    for step in range(10):
        shard.batch(step, 60, STREAM)
    assert set(table.seen) == set(range(25, 50))


def test_blocks_are_released_so_that_memory_stays_flat() -> None:
    table = Counting(_numbered(1000), 10)
    source = StreamedEvents({"p": table}, window_blocks=3)
    for step in range(30):
        source.batch(step, 60, STREAM)
    # Two windows are filled at a time.
    assert table.most_held <= 2 * 3
    source.sample(200)
    source.of_channel("p")
    assert table.most_held <= 2 * 3


def test_split_counts_without_reading_a_block() -> None:
    table = Counting(_numbered(1000), 10)
    train, _ = StreamedEvents({"p": table}).split(FRACTIONS, 1)
    assert train.counts[0, 0] == InMemoryEvents({"p": _numbered(1000)}).split(FRACTIONS, 1)[0].counts[0, 0]
    assert table.seen == []


def test_sample_repeats_nothing_and_is_the_same_for_all_replicas() -> None:
    source = _streamed({"p": _numbered(100), "n": _numbered(70)}, 16, replicas=2, bootstrap=True)
    sample = source.sample(1000)
    assert sample.values.shape == (2, 2, 70, 2)
    assert len(set(sample.column("i")[0, 0].tolist())) == 70
    assert torch.equal(sample.values[0], sample.values[1])
    by_event = _weight_of_event(source.of_channel("p", 1))
    assert sample.weights is not None
    assert all(by_event[i] == w for i, w in _weight_of_event(Events(sample.values[1, 0], sample.columns, sample.weights[1, 0])).items())


def test_as_measured_has_one_replica_without_bootstrap() -> None:
    source = _streamed({"p": _numbered(100, weighted=True)}, 16, replicas=3, bootstrap=True, seed=2).as_measured()
    assert source.num_replicas == 1
    assert _weight_of_event(source.of_channel("p", 0)) == _weight_of_event(_numbered(100, weighted=True))


def test_weights_are_ones_where_only_another_channel_has_them() -> None:
    batch = _streamed({"p": _numbered(5), "n": _numbered(5, weighted=True)}, 2).batch(0, 5, STREAM)
    assert batch.weights is not None
    assert batch.weights[0, 0].tolist() == [1.0] * 5
    assert batch.weights[0, 1].tolist() != [1.0] * 5


def test_source_that_was_moved_gives_the_same_batches() -> None:
    source, moved = (_streamed({"p": _numbered(100)}, 16, replicas=2, bootstrap=True, window_blocks=2) for _ in range(2))
    moved.batch(0, 30, STREAM)
    moved.move_to("cpu")
    for step in range(5):
        assert torch.equal(moved.batch(step, 30, STREAM).values, source.batch(step, 30, STREAM).values)


def test_windows_that_are_copied_to_a_device_give_the_same_events_and_weights() -> None:
    # The way of a GPU without one: windows are merged into a buffer and copied, and the rows' numbers stay in main memory.
    source = _streamed({"p": _numbered(100, weighted=True)}, 16, replicas=3, bootstrap=True, window_blocks=3)
    (channel,) = source._channels
    made = []
    for placement in (Placement("cpu"), Placement("cpu", copies=True)):
        reader = WindowReader(channel, source._layout, 3)
        reader.place(placement)
        for step in range(9):
            batch = Batch(source._layout, (3, 1, 12), torch.device("cpu"), placed=placement.copies)
            for piece in reader.order.pieces(step, 12, STREAM):
                batch.take(0, piece, reader.get(piece.key))
            made.append(batch.events(source.columns, [source._keys("p")]))
        reader.close()
    for one, other, whole in zip(made[:9], made[9:], (source.batch(step, 12, STREAM) for step in range(9)), strict=True):
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.values, whole.values)
        assert torch.equal(one.weights_or_ones(), other.weights_or_ones())
        assert torch.equal(one.weights_or_ones(), whole.weights_or_ones())


def test_closed_source_has_no_threads_and_begins_again_when_asked() -> None:
    def own_threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "closing" in thread.name]

    source = _streamed({"closing": _numbered(100)}, 10)
    batch = source.batch(3, 30, STREAM)
    assert own_threads()
    source.close()
    assert own_threads() == []
    assert torch.equal(source.batch(3, 30, STREAM).values, batch.values)
    source.close()


def test_time_spent_waiting_is_counted() -> None:
    source = _streamed({"p": _numbered(100)}, 10)
    assert source.waited_s == 0
    source.batch(0, 10, STREAM)
    assert source.waited_s > 0


def test_error_of_a_block_reaches_the_step_and_the_next_one() -> None:
    class Broken(MemoryTable):
        def read(self, number: int, columns: tuple[str, ...]) -> Block:
            raise EventsError(f"block {number} is damaged")

    source = StreamedEvents({"p": Broken(_numbered(100), 10)})
    for _ in range(2):
        with pytest.raises(EventsError, match="block [0-9] is damaged"):
            source.batch(0, 10, STREAM)


def test_unusable_channels_and_settings_are_refused() -> None:
    with pytest.raises(EventsError, match="no channels"):
        StreamedEvents({})
    with pytest.raises(ColumnError, match=r"'n' has the columns \['i'\], but channel 'p' has \['i', 'minus_i'\]"):
        _streamed({"p": _numbered(3), "n": _numbered(3).select(("i",))}, 2)
    source = _streamed({"p": _numbered(3)}, 2)
    with pytest.raises(SettingsError, match="step -1"):
        source.batch(-1, 1, STREAM)
    with pytest.raises(EventsError, match="no channel 'q'"):
        source.of_channel("q")
    with pytest.raises(EventsError, match="3 events, too few for 4 ranks"):
        source.shard(0, 4)
    with pytest.raises(EventsError, match="no events"):
        source.split((0.999, 0.001), 1)


def test_all_events_of_a_channel_that_memory_cannot_hold_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unscatter.arrays.memory.available_memory", lambda device="cpu": 1000)
    source = _streamed({"p": _numbered(300)}, 50)
    with pytest.raises(SettingsError, match="max_events=100_000"):
        source.of_channel("p")
    assert source.of_channel("p", max_events=10).num_events == 10
