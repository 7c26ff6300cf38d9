"""Closure tests end to end: one tiny test of each level, going on with one, and what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from unscatter.arrays import RandomStream
from unscatter.errors import RunError, SettingsError
from unscatter.runcards import Runcard, load_runcard
from unscatter.runcards.closure import fit_card, fit_path, run_closure
from unscatter.runs import RunDirectory
from unscatter.solve import as_source

CARD = """
problem: {name: proxy2d, nodes: 17}
events: {simulate: {num_events: 2000}}
method: {num_events: 128, discriminator: {hidden: [8]}}
solve: {steps: 20, max_rounds: 1, replicas: 3, diagnose: false, held_out: 0.0}
"""


def card(*overrides: str, text: str = CARD) -> Runcard:
    return load_runcard(text, overrides)


def result(folder: Path, name: str) -> Any:
    return json.loads((folder / "result" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("closure") / "level2"
    run_closure(card(), level=2, num_fits=2, path=folder, seed=5)
    return folder


def test_every_fit_is_a_run_with_its_own_seeds(done: Path) -> None:
    settings = [yaml.safe_load(RunDirectory.open(fit_path(done, number)).read_runcard(resolved=True)) for number in (0, 1)]
    seeds = [(own["events"]["simulate"]["seed"], own["solve"]["seed"]) for own in settings]
    assert len({seed for pair in seeds for seed in pair}) == 4
    assert [(row["events_seed"], row["solve_seed"]) for row in result(done, "fits")] == seeds
    assert seeds[0][0] == RandomStream(5, ("closure",)).integer("events", 0) % 2**31


def test_tables_are_the_estimators_of_the_runs(done: Path) -> None:
    truth = torch.tensor(card().build_problem().truth, dtype=torch.float64)
    fits = []
    for number in (0, 1):
        rows = RunDirectory.open(fit_path(done, number)).read_result("replicas")
        fits.append(torch.tensor([row["value"] for row in rows], dtype=torch.float64).reshape(3, 5))
    replicas = torch.stack(fits)
    bias = (replicas.mean(1) - truth).square().mean(0)
    variance = replicas.var(1).mean(0)
    groups = result(done, "groups")
    assert [row["name"] for row in groups] == ["p0", "p1", "p2", "p3", "p4", None]
    assert [row["bias"] for row in groups[:5]] == pytest.approx(bias.tolist(), rel=1e-6)
    assert [row["variance"] for row in groups[:5]] == pytest.approx(variance.tolist(), rel=1e-6)
    assert groups[5]["ratio"] == pytest.approx(float((bias / variance).mean().sqrt()), rel=1e-6)
    inside = (replicas.mean(1) - truth).abs() < replicas.std(1)
    assert groups[5]["coverage"] == pytest.approx(float(inside.double().mean()))
    for name in ("groups", "quantities", "fits"):
        assert pq.read_table(done / "result" / f"{name}.parquet").num_rows == len(result(done, name))
    assert result(done, "summary")["stop_reasons"] == {"not judged": 2}


def test_going_on_adds_fits_and_leaves_the_others_alone(done: Path) -> None:
    files = {file: file.read_bytes() for number in (0, 1) for file in sorted(fit_path(done, number).rglob("*")) if file.is_file()}
    before = result(done, "fits")
    run_closure(card(), level=2, num_fits=3, path=done, seed=5)
    assert {file: file.read_bytes() for file in files} == files
    after = result(done, "fits")
    assert [row["run"] for row in after] == ["fit-000", "fit-001", "fit-002"]
    assert after[:2] == before


def test_a_fit_that_was_killed_is_done_again_or_gone_on_with(tmp_path: Path) -> None:
    whole = run_closure(card("solve.checkpoint_every=10"), level=2, num_fits=2, path=tmp_path / "whole", seed=1)
    broken = tmp_path / "broken"
    run_closure(card("solve.checkpoint_every=10"), level=2, num_fits=2, path=broken, seed=1)
    # The first fit has nothing but its beginning, the second a checkpoint in the middle.
    for number in (0, 1):
        run = RunDirectory.open(fit_path(broken, number))
        for file in run.result.iterdir():
            file.unlink()
        for file in run.checkpoint_files()[-1 - (number == 0) :]:
            file.unlink()
    again = run_closure(card("solve.checkpoint_every=10"), level=2, num_fits=2, path=broken, seed=1)
    assert whole.tables is not None
    assert again.tables is not None
    assert again.tables.groups == whole.tables.groups
    assert (broken / "fit-000.killed-1" / "run.json").is_file()
    assert len(RunDirectory.open(fit_path(broken, 1)).read_provenance()) == 2


def test_levels_differ_by_fluctuations_and_bootstrap() -> None:
    cards = [fit_card(card("solve.held_out=0.1"), level, seed=3, number=1) for level in (0, 1, 2)]
    facts = [(own.events.simulate.fluctuations, own.solve.bootstrap, own.solve.held_out) for own in cards]  # pyright: ignore[reportAttributeAccessIssue]
    assert facts == [(False, False, 0.0), (True, False, 0.1), (True, True, 0.1)]
    level_0, level_1, level_2 = (own.build() for own in cards)
    assert torch.equal(level_1.events["events"].values, level_2.events["events"].values)
    counts = [as_source(job.problem, job.events, job.settings).counts[:, 0].tolist() for job in (level_0, level_1, level_2)]
    assert counts[0] == pytest.approx([2000.0] * 3)
    assert counts[1] == [2000.0] * 3
    assert len(set(counts[2])) == 3


def test_level_0_compares_densities_with_those_of_a_grid(tmp_path: Path) -> None:
    text = """
problem:
  name: dis
  nodes: [13, 9]
  channels: {proton: {target: proton, luminosity_inv_pb: 0.03, exchange: photon}}
  truth_pdf: example:NNPDF31_lo_as_0130_excerpt
events: {simulate: {}}
method: {num_events: 64, discriminator: {hidden: [8]}}
solve: {steps: 5, max_rounds: 1, replicas: 2, diagnose: false, pilot_steps: 10}
"""
    run_closure(card(text=text), level=0, num_fits=1, path=tmp_path / "level0")
    groups = result(tmp_path / "level0", "groups")
    assert "parameters" not in {row["group"] for row in groups}
    assert {row["name"] for row in groups if row["group"].startswith("parton densities at Q = 1.65")} >= {"g", "u", "dbar", None}
    assert all(row["ratio"] > 0 and 0 <= row["coverage"] <= 1 for row in groups)
    digests = RunDirectory.open(fit_path(tmp_path / "level0", 0)).read_provenance()[0]["files"]
    assert set(digests) == {"problem.truth_pdf"}


def test_one_replica_is_judged_by_its_bound(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_closure(card("solve.replicas=1", "solve.diagnose=true"), level=1, num_fits=1, path=tmp_path / "one")
    rows = RunDirectory.open(fit_path(tmp_path / "one", 0)).read_result("parameters")
    for own, row in zip(result(tmp_path / "one", "quantities"), rows, strict=True):
        assert own["variance"] == pytest.approx(row["bound"] ** 2)
        assert own["distance"] == pytest.approx(abs(row["value"] - row["truth"]) / row["bound"])


FILES = "problem: {name: proxy2d}\nevents: {events: data.parquet}\nsolve: {replicas: 3}\n"
UNKNOWN = """
problem: {name: dis, nodes: [13, 9], parametrisation: {kind: nodes}}
events: {simulate: {}}
solve: {replicas: 3}
"""


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ((), {"level": 3}, "the level of a closure test is 0, 1 or 2, got 3"),
        ((), {"num_fits": 0}, "needs at least one fit"),
        ((), {"seed": -1}, "a seed that is not negative"),
        (("solve.replicas=1",), {}, "level 2 compares the spread of replicas.*'solve.replicas' is 1"),
        (("events.simulate.num_events=null",), {}, "has no luminosity, so the number of events must be given"),
        (("problem.luminosity=1000",), {}, "fixes the numbers of events, but the fit uses them as rates"),
    ],
)
def test_tests_that_make_no_sense_are_refused_before_anything_is_written(
    tmp_path: Path, changes: tuple[str, ...], arguments: dict[str, int], message: str
) -> None:
    given = {"level": 2, "num_fits": 1, "seed": 0} | arguments
    with pytest.raises(SettingsError, match=message):
        run_closure(card(*changes), path=tmp_path / "new", level=given["level"], num_fits=given["num_fits"], seed=given["seed"])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("text", "message"), [(FILES, "'events' of the runcard names files"), (UNKNOWN, "has no known truth")])
def test_real_events_and_an_unknown_truth_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        run_closure(card(text=text), level=2, num_fits=1, path=tmp_path / "new")


def test_directories_of_other_tests_are_left_alone(done: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a closure test with another 'seed'"):
        run_closure(card(), level=2, num_fits=2, path=done, seed=6)
    with pytest.raises(RunError, match="another 'level'"):
        run_closure(card(), level=1, num_fits=2, path=done, seed=5)
    with pytest.raises(RunError, match="another 'solve'"):
        run_closure(card("solve.steps=21"), level=2, num_fits=2, path=done, seed=5)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        run_closure(card(), level=2, num_fits=2, path=tmp_path)
    (tmp_path / "note.txt").unlink()
    (tmp_path / "closure.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        run_closure(card(), level=2, num_fits=2, path=tmp_path)


DIS = "problem: {name: dis, nodes: [13, 9], truth_pdf: example:NNPDF31_lo_as_0130_excerpt}\nevents: {simulate: {}}\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("problem.truth={uv_b: 0.5}", "'truth' and 'truth_pdf' contradict one another"),
        ("events.simulate.parameters={uv_b: 0.5}", "'problem.truth_pdf' and 'events.simulate.parameters' contradict"),
    ],
)
def test_two_truths_contradict_one_another(change: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_runcard(DIS, [change])


def test_a_truth_grid_that_is_missing_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no '.*none'"):
        load_runcard(DIS, [f"problem.truth_pdf={tmp_path / 'none'}"]).build_problem()
