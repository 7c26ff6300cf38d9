"""Events of a store: columns, ranges, weights, order."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from unscatter.arrays import RandomStream
from unscatter.errors import ColumnError, EventsError
from unscatter.events import Inside, StoredEvents, StreamedEvents
from unscatter.events.recipe import Recipe
from unscatter.events.store import write_store


def _store(path: Path, num_rows: int = 1000, **columns: np.ndarray) -> Path:
    random = np.random.default_rng(1)
    made = {"x": random.random(num_rows, dtype=np.float32), "y": random.random(num_rows, dtype=np.float32)} | columns
    weight = "w" if "w" in columns else None
    write_store(path, [made], rows_per_block=16, blocks_per_shard=8, weight=weight)
    return path


def _all(stored: StoredEvents, replica: int | None = None) -> torch.Tensor:
    return StreamedEvents({"p": stored}).of_channel("p", replica).values


def test_path_store_and_stored_events_stream_the_same(tmp_path: Path) -> None:
    path = _store(tmp_path / "store")
    stored = StoredEvents(path)
    batches = [StreamedEvents({"p": value}).batch(3, 50, RandomStream(1)).values for value in (path, str(path), stored, stored.opened)]
    assert all(torch.equal(batch, batches[0]) for batch in batches)


def test_recipe_renames_computes_and_cuts_and_ranges_cut_after_it(tmp_path: Path) -> None:
    path = _store(tmp_path / "store")
    x, y = _all(StoredEvents(path)).T
    assert torch.equal(_all(StoredEvents(path, Recipe(columns={"a": "y"}))), y[:, None])
    found = _all(StoredEvents(path, Recipe(columns={"a": "x * 2"}, cuts=["y > 0.5"]), Inside([0.2], [1.0], ["a"])))
    expected = 2 * x[y > 0.5]
    assert torch.equal(found[:, 0], expected[(expected >= 0.2) & (expected <= 1.0)])


def test_ranges_that_cut_nothing_by_the_manifest_cost_no_pass(tmp_path: Path) -> None:
    stored = StoredEvents(_store(tmp_path / "store"), inside=Inside([0.0], [1.0], ["x"]))
    assert stored.channel("p").table.select is None
    assert StoredEvents(stored.opened, inside=Inside([0.5], [1.0], ["x"])).channel("p").table.select is not None
    assert stored.lies_inside([0.0, 0.0], [1.0, 1.0], ["x", "y"])
    assert not stored.lies_inside([0.5], [1.0], ["y"])


def test_weights_of_a_store_are_used_and_a_recipe_may_give_others(tmp_path: Path) -> None:
    weights = np.linspace(0.5, 1.5, 1000, dtype=np.float32)
    path = _store(tmp_path / "store", w=weights)
    own = StreamedEvents({"p": path}).of_channel("p")
    assert own.columns == ("x", "y")
    assert torch.equal(own.weights_or_ones(), torch.from_numpy(weights))
    computed = StreamedEvents({"p": StoredEvents(path, Recipe(columns=["x"], weight="w * 2"))}).of_channel("p")
    assert torch.equal(computed.weights_or_ones(), torch.from_numpy(weights) * 2)
    kept = StreamedEvents({"p": StoredEvents(path, Recipe(columns=["x"], cuts=["y > 0.5"]))})
    chosen = own.column("y") > 0.5
    assert torch.equal(kept.of_channel("p").weights_or_ones(), own.weights_or_ones()[chosen])
    assert kept.counts[0, 0] == pytest.approx(float(own.weights_or_ones()[chosen].double().sum()))


def test_negative_and_zero_weights_and_missing_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match="'w' in .* are negative, the smallest is -1"):
        StoredEvents(_store(tmp_path / "negative", w=np.full(1000, -1, np.float32)))
    with pytest.raises(EventsError, match="all weights 'w' .* are zero"):
        StoredEvents(_store(tmp_path / "zero", w=np.zeros(1000, np.float32)))
    path = _store(tmp_path / "store")
    with pytest.raises(ColumnError, match="'z'"):
        StoredEvents(path, Recipe(columns=["z"]))
    with pytest.raises(ColumnError, match="no column 'z'"):
        StoredEvents(path).channel("p", ("x", "z"))


def test_sorted_store_gives_a_warning_that_names_the_way_out_and_a_shuffled_one_none(tmp_path: Path) -> None:
    ordered = np.sort(np.random.default_rng(2).random(1000, dtype=np.float32))
    with pytest.warns(UserWarning, match=r"block means of the column 'x' vary .*\n.*unscatter ingest .* --shuffle 1"):
        StoredEvents(_store(tmp_path / "sorted", x=ordered)).warn_if_sorted("p")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        StoredEvents(_store(tmp_path / "shuffled")).warn_if_sorted("p")
        # A window that holds everything mixes everything.
        StoredEvents(tmp_path / "sorted", window_blocks=63).warn_if_sorted("p")
        StoredEvents(tmp_path / "sorted", Recipe(columns=["y"])).warn_if_sorted("p")
    assert heard == []
    # But ranks get consecutive rows.
    with pytest.warns(UserWarning, match="each of the 2 ranks gets another kind of events"):
        StoredEvents(tmp_path / "sorted", window_blocks=63).warn_if_sorted("p", num_ranks=2)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_that_is_mapped_does_not_grow_with_the_store(tmp_path: Path) -> None:
    columns = {name: np.random.default_rng(1).random(1_600_000, dtype=np.float32) for name in "abcd"}
    store = write_store(tmp_path / "store", [columns], rows_per_block=4096, blocks_per_shard=64)

    def mapped() -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile"))
        return int(line.split()[1]) * 1024

    before = mapped()
    for number in np.random.default_rng(2).permutation(store.num_blocks).tolist():
        store.check(number)
        store.release(number)
    # Of 25 MB; a map that keeps what was mapped around the blocks keeps most of it.
    assert mapped() - before < 1_000_000
