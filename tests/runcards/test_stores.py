"""Runcards whose events are in stores: fits, resume, ranks, cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unscatter.arrays import Events
from unscatter.errors import ColumnError, EventsError, RunError, StoreError
from unscatter.events import EventSource, SplittableSource, StreamedEvents, write_events
from unscatter.events.store import EventStore, manifest_path, write_store
from unscatter.problems import proxy2d
from unscatter.runcards import load_runcard, resume_run, start_run
from unscatter.runcards.runcard import Job
from unscatter.runs import RunDirectory
from unscatter.solve import as_source

CARD = """
problem: {name: proxy2d, nodes: 17}
events: {events: {path: store, window_blocks: 4}}
method: {num_events: 64, discriminator: {hidden: [8]}}
solve: {steps: 12, max_rounds: 2, replicas: 3, log_every: 4, checkpoint_every: 5, held_out: 0.1, diagnose: false}
"""

DIS = """
problem:
  name: dis
  beams: {electron_energy_GeV: 18, hadron_energy_GeV: 275}
  channels: {proton: {target: proton, luminosity_inv_pb: 4.1, exchange: photon}}
  nodes: [13, 9]
  Q2_range: [10, 9000]
  y_range: [0.01, 0.95]
  detector: ideal
events: {proton: store}
solve: {replicas: 2}
"""


class Stop:
    """Asks for a stop after some records."""

    def __init__(self, records: int) -> None:
        self.left = records

    def started(self, first_step, last_step): ...
    def checkpoint(self, step, tensors, scalars): ...

    def progressed(self, record) -> None:
        self.left -= 1

    def stop_requested(self) -> bool:
        return self.left <= 0


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A runcard whose events are in a store, beside a file with the same events."""
    events = proxy2d(nodes=17).simulate(num_events=5000, seed=3)["events"].to(dtype=torch.float32)
    columns = {name: events.column(name).numpy() for name in events.columns}
    write_store(tmp_path / "store", [columns], rows_per_block=256, blocks_per_shard=4)
    write_events(events, tmp_path / "file.parquet")
    (tmp_path / "card.yaml").write_text(CARD)
    return tmp_path / "card.yaml"


def _training(job: Job, fractions: tuple[float, float]) -> EventSource:
    source = as_source(job.problem, job.events, job.settings)
    assert isinstance(source, SplittableSource)
    return source.split(fractions, 5)[0]


def _final(run: Path) -> dict[str, torch.Tensor]:
    return RunDirectory.open(run).load_checkpoint(None).tensors


def test_resumed_fit_from_a_store_is_bit_identical_to_an_uninterrupted_one(card: Path, tmp_path: Path) -> None:
    start_run(load_runcard(card), path=tmp_path / "whole")
    first = start_run(load_runcard(card), path=tmp_path / "halves", observers=[Stop(2)])
    assert first.stop_reason == "interrupted"
    resume_run(tmp_path / "halves")
    whole, halves = _final(tmp_path / "whole"), _final(tmp_path / "halves")
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_fit_from_a_store_records_its_waiting_and_the_digest_of_the_manifest(card: Path, tmp_path: Path) -> None:
    start_run(load_runcard(card, ["solve.diagnose=true"]), path=tmp_path / "run")
    run = RunDirectory.open(tmp_path / "run")
    assert all(0 <= record["waited_share"] < 1 for record in run.read_metrics())
    assert 0 < run.read_result("summary")["waited_share"] < 1
    assert set(run.read_provenance()[0]["files"]) == {"events.events"}
    assert load_runcard(card).input_files()["events.events"] == manifest_path(tmp_path / "store")


def test_run_is_not_resumed_with_another_store(card: Path, tmp_path: Path) -> None:
    start_run(load_runcard(card), path=tmp_path / "run", observers=[Stop(1)])
    (tmp_path / "store").rename(tmp_path / "old")
    write_store(tmp_path / "store", [{"x": np.full(5000, 0.5, np.float32), "y": np.full(5000, 0.5, np.float32)}])
    with pytest.raises(RunError, match="has changed since the run"):
        resume_run(tmp_path / "run")


def test_store_and_file_give_the_same_events_weights_and_counts(card: Path) -> None:
    streamed, in_memory = (
        _training(job, (0.9, 0.1))
        for job in (load_runcard(card).build(), load_runcard(card, [f"events.events.path={card.parent / 'file.parquet'}"]).build())
    )
    assert isinstance(streamed, StreamedEvents)
    assert torch.equal(streamed.counts, in_memory.counts)
    for replica in range(3):
        one, other = streamed.of_channel("events", replica), in_memory.of_channel("events", replica)
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.weights_or_ones(), other.weights_or_ones())


def test_short_form_names_the_store_alone(card: Path) -> None:
    job = load_runcard(card, [f"events.events={card.parent / 'store'}"]).build()
    assert as_source(job.problem, job.events, job.settings).counts.shape == (3, 1)


def test_columns_of_a_store_may_be_renamed_and_computed(tmp_path: Path) -> None:
    x = np.linspace(0.1, 0.9, 500, dtype=np.float32)
    write_store(tmp_path / "store", [{"a": x, "b": x * 2}], rows_per_block=64)
    text = "problem: {name: proxy2d, nodes: 17}\nevents: {events: {path: store, columns: {x: a, y: b / 2}}}\n"
    (tmp_path / "card.yaml").write_text(text)
    job = load_runcard(tmp_path / "card.yaml").build()
    events = as_source(job.problem, job.events, job.settings).of_channel("events")
    assert torch.equal(events.column("x"), torch.from_numpy(x))
    assert torch.equal(events.column("y"), torch.from_numpy(x))


def test_events_outside_the_grid_are_an_error_or_dropped_where_that_is_asked_for(tmp_path: Path) -> None:
    x = np.linspace(0.1, 1.9, 500, dtype=np.float32)
    write_store(tmp_path / "store", [{"x": x, "y": np.full(500, 0.5, np.float32)}], rows_per_block=64)
    (tmp_path / "card.yaml").write_text("problem: {name: proxy2d, nodes: 17}\nevents: {events: store}\n")
    with pytest.raises(EventsError, match=r"'x' reaches from 0.1 to 1.9.*\n.*path: store, keep_inside: true"):
        load_runcard(tmp_path / "card.yaml").build()
    (tmp_path / "card.yaml").write_text("problem: {name: proxy2d, nodes: 17}\nevents: {events: {path: store, keep_inside: true}}\n")
    job = load_runcard(tmp_path / "card.yaml").build()
    high = job.problem.grid.high[0]
    kept = as_source(job.problem, job.events, job.settings).of_channel("events").column("x")
    assert kept.tolist() == [value for value in x.tolist() if value <= high]


def test_missing_column_and_damaged_block_are_one_error(card: Path, tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match="no column 'z'"):
        load_runcard(card, ["events.events.columns={x: z, y: y}"]).build()
    shard = tmp_path / "store" / "shards" / "00002.arrow"
    damaged = bytearray(shard.read_bytes())
    damaged[EventStore.open(tmp_path / "store").manifest.layout.body(1) + 100] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"block [0-9] of the shard '.*00002.arrow' \(rows [0-9]+ to [0-9]+ of the store\) is damaged"):
        start_run(load_runcard(card), path=tmp_path / "run")


def test_dis_events_of_a_store_are_cut_as_those_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(DIS)
    problem = load_runcard(tmp_path / "card.yaml", ["events={simulate: {num_events: 3000}}"]).build_problem()
    made = problem.simulate(num_events=3000, seed=1)["proton"].to(dtype=torch.float32)
    # A third of the events leave the acceptance, and must be cut again.
    values = made.values.clone()
    x, Q2 = made.index("x"), made.index("Q2")
    values[::3, x] *= 2.0 / values[::3, Q2]
    values[::3, Q2] = 2.0
    events = Events(values, made.columns)
    write_events(events, tmp_path / "file.parquet")
    write_store(tmp_path / "store", [{name: events.column(name).numpy() for name in events.columns}], rows_per_block=128)
    kept = []
    for source in ("file.parquet", "store"):
        job = load_runcard(tmp_path / "card.yaml", [f"events.proton={tmp_path / source}"]).build()
        kept.append(_training(job, (0.8, 0.2)).of_channel("proton", 1))
    assert 0 < kept[0].num_events < 0.8 * 3000
    assert torch.equal(kept[0].values, kept[1].values)
    assert torch.equal(kept[0].weights_or_ones(), kept[1].weights_or_ones())
