"""Runs: kept as they go, stopped by signals, resumed bit for bit."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.errors import CheckpointError, EventsError, RunError, SettingsError
from unscatter.methods import Gan, GanSettings
from unscatter.methods.gan import DiscriminatorSettings, GeneratorSettings
from unscatter.pipeline import CurveFamily, Problem
from unscatter.problems import proxy2d
from unscatter.runs import RunDirectory, StopSignals, execute, resume
from unscatter.solve import Fit, SolveSettings

#: Two replicas, so that the bootstrap is resumed as well, and no rounds are judged.
SETTINGS = SolveSettings(steps=40, max_rounds=1, replicas=2, held_out=0.1, log_every=5, checkpoint_every=16, diagnose=False)
METHOD = Gan(GanSettings(num_events=64, discriminator=DiscriminatorSettings(hidden=(8,))))


class SignalAt:
    """Sends a signal to this process at a step; `stop_requested` is asked after every step."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.step, self.number, self.asked = step, number, 0

    def started(self, first_step: int, last_step: int) -> None:
        pass

    def progressed(self, record: Mapping[str, Any]) -> None:
        pass

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        pass

    def stop_requested(self) -> bool:
        self.asked += 1
        if self.asked == self.step:
            os.kill(os.getpid(), self.number)
        return False


@pytest.fixture(scope="module")
def problem() -> Problem:
    return proxy2d(nodes=17)


@pytest.fixture(scope="module")
def events(problem: Problem) -> dict[str, Events]:
    return problem.simulate(num_events=1000, seed=3)


@pytest.fixture(scope="module")
def whole(problem: Problem, events: dict[str, Events], tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, RunDirectory]:
    path = tmp_path_factory.mktemp("runs") / "whole"
    fit = execute(problem, events, path=path, method=METHOD, settings=SETTINGS, runcard_text="a: 1\n", resolved_text="a: 1\nb: 2\n")
    return fit, RunDirectory.open(path)


def metrics_without_time(run: RunDirectory) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in run.read_metrics()]


def assert_same_result(run: RunDirectory, whole: RunDirectory) -> None:
    """Bit for bit: results, metrics (but for the time) and the state of the last checkpoint."""
    for name in ("parameters", "replicas"):
        assert (run.result / f"{name}.parquet").read_bytes() == (whole.result / f"{name}.parquet").read_bytes()
    assert metrics_without_time(run) == metrics_without_time(whole)
    ours, theirs = run.load_checkpoint(), whole.load_checkpoint()
    assert ours.step == theirs.step
    assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in theirs.tensors)


def test_run_directory_holds_runcard_provenance_metrics_and_results(whole: tuple[Fit, RunDirectory]) -> None:
    fit, run = whole
    assert run.read_runcard() == "a: 1\n"
    assert run.read_runcard(resolved=True) == "a: 1\nb: 2\n"
    assert [entry["seeds"] for entry in run.read_provenance()] == [{"seed": 0}]
    assert [record["step"] for record in run.read_metrics()] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert run.read_result("parameters") == fit.parameters
    assert len(run.read_result("replicas")) == 2 * 5
    assert run.read_result("summary")["stop_reason"] == fit.stop_reason
    assert [file.name for file in run.checkpoint_files()] == ["step-000000032.safetensors", "step-000000040.safetensors"]


def test_samples_of_a_noise_fed_generator_are_kept(problem: Problem, events: dict[str, Events], tmp_path: Path) -> None:
    method = Gan(GanSettings(num_events=64, generator=GeneratorSettings(kind="network", batch=4)))
    settings = SETTINGS.model_copy(update={"steps": 2, "replicas": 1})
    fit = execute(problem, events, path=tmp_path / "fit", method=method, settings=settings)
    rows = RunDirectory.open(tmp_path / "fit").read_result("samples")
    assert len(rows) == fit.estimate.samples.shape[1]
    assert rows[3]["p2"] == pytest.approx(float(fit.estimate.samples[0, 3, 2]))


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")])
def test_interrupted_and_resumed_run_equals_the_uninterrupted_one(
    problem: Problem, events: dict[str, Events], tmp_path: Path, whole: tuple[Fit, RunDirectory], number: int, name: str
) -> None:
    path, before = tmp_path / "fit", signal.getsignal(number)
    fit = execute(problem, events, path=path, method=METHOD, settings=SETTINGS, observers=[SignalAt(22, number)])
    run = RunDirectory.open(path)
    assert (fit.stop_reason, fit.summary["interrupted_by"]) == ("interrupted", name)
    assert run.load_checkpoint().step == fit.num_steps
    assert 22 <= fit.num_steps <= 23, "the step in progress is finished, and no other one is begun"
    assert list(run.result.iterdir()) == []
    assert signal.getsignal(number) == before
    resume(path, problem, events, method=METHOD, settings=SETTINGS)
    assert_same_result(run, whole[1])
    assert [entry.get("resumed_from") for entry in run.read_provenance()] == [None, fit.num_steps]


def test_resume_from_an_earlier_checkpoint_drops_later_metrics(
    problem: Problem, events: dict[str, Events], tmp_path: Path, whole: tuple[Fit, RunDirectory]
) -> None:
    path = tmp_path / "fit"
    execute(problem, events, path=path, method=METHOD, settings=SETTINGS, observers=[SignalAt(27)])
    run = RunDirectory.open(path)
    assert [record["step"] for record in run.read_metrics()][-1] == 25
    resume(path, problem, events, method=METHOD, settings=SETTINGS, checkpoint="step-000000016.safetensors")
    assert_same_result(run, whole[1])


def test_run_interrupted_in_its_second_round_equals_the_uninterrupted_one(
    problem: Problem, events: dict[str, Events], tmp_path: Path
) -> None:
    # The share is so small that no round converges.
    settings = SETTINGS.model_copy(update={"steps": 12, "max_rounds": 2, "diagnose": True, "settle_share": 1e-9, "held_out": 0.0})
    fit = execute(problem, events, path=tmp_path / "whole", method=METHOD, settings=settings)
    assert (fit.num_steps, fit.stop_reason) == (24, "out of rounds")
    half = execute(problem, events, path=tmp_path / "fit", method=METHOD, settings=settings, observers=[SignalAt(17)])
    assert 12 < half.num_steps < 24
    resume(tmp_path / "fit", problem, events, method=METHOD, settings=settings)
    assert_same_result(RunDirectory.open(tmp_path / "fit"), RunDirectory.open(tmp_path / "whole"))


def test_finished_run_has_nothing_to_resume(problem: Problem, events: dict[str, Events], whole: tuple[Fit, RunDirectory]) -> None:
    with pytest.raises(RunError, match=r"has finished \(not judged\); there is nothing to resume"):
        resume(whole[1].path, problem, events, method=METHOD, settings=SETTINGS)


def test_existing_run_is_refused_before_any_work(problem: Problem, whole: tuple[Fit, RunDirectory]) -> None:
    before = {file: file.read_bytes() for file in whole[1].path.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match="holds a run already, and nothing is written over"):
        # Events that would be refused too, but later.
        execute(problem, {}, path=whole[1].path, method=METHOD, settings=SETTINGS)
    assert {file: file.read_bytes() for file in whole[1].path.rglob("*") if file.is_file()} == before


def test_input_that_a_fit_refuses_leaves_no_directory(problem: Problem, events: dict[str, Events], tmp_path: Path) -> None:
    outside = {"events": Events(torch.full((10, 2), 2.0), ("x", "y"))}
    with pytest.raises(EventsError, match="outside"):
        execute(problem, outside, path=tmp_path / "fit", method=METHOD, settings=SETTINGS)
    with pytest.raises(SettingsError, match="rates are 'on'"):
        execute(problem, events, path=tmp_path / "fit", method=Gan(GanSettings(rates="on")), settings=SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_of_other_settings_or_cut_short_is_refused(problem: Problem, events: dict[str, Events], tmp_path: Path) -> None:
    path = tmp_path / "fit"
    execute(problem, events, path=path, method=METHOD, settings=SETTINGS, observers=[SignalAt(20)])
    run = RunDirectory.open(path)
    metrics = run.metrics.read_bytes()
    wider = Gan(GanSettings(num_events=64, discriminator=DiscriminatorSettings(hidden=(9,))))
    with pytest.raises(CheckpointError, match="but these settings need"):
        resume(path, problem, events, method=wider, settings=SETTINGS)
    newest = run.checkpoint_files()[-1]
    newest.write_bytes(newest.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"cut short[\s\S]*step 16 is good.*unscatter resume .* --checkpoint step-000000016"):
        resume(path, problem, events, method=METHOD, settings=SETTINGS)
    assert run.metrics.read_bytes() == metrics


def test_checkpoint_of_other_parameters_is_refused_with_both_names(problem: Problem, events: dict[str, Events], tmp_path: Path) -> None:
    path, settings = tmp_path / "fit", SETTINGS.model_copy(update={"steps": 20, "checkpoint_every": 4})
    execute(problem, events, path=path, method=METHOD, settings=settings, observers=[SignalAt(5)])
    names = problem.space.names
    # As many, over the same ranges: only their names tell them apart.
    renamed = replace(problem.space, names=(f"new_{names[0]}", *names[1:]))
    with pytest.raises(CheckpointError, match=rf"fits the parameters \['{names[0]}', .* has \['new_{names[0]}', "):
        resume(path, replace(problem, space=renamed), events, method=METHOD, settings=settings)
    assert resume(path, problem, events, method=METHOD, settings=settings).num_steps == 20


def test_full_disk_is_one_error_and_leaves_what_was_written(
    problem: Problem, events: dict[str, Events], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "fit"
    original = RunDirectory.save_checkpoint

    def save(run: RunDirectory, step: int, *arguments: Any, **options: Any) -> Path:
        if step > 16:
            monkeypatch.setattr("unscatter.files.os.fsync", full)
        return original(run, step, *arguments, **options)

    monkeypatch.setattr(RunDirectory, "save_checkpoint", save)
    with pytest.raises(RunError, match="no space left"):
        execute(problem, events, path=path, method=METHOD, settings=SETTINGS)
    monkeypatch.undo()
    run = RunDirectory.open(path)
    assert run.load_checkpoint().step == 16
    assert json.loads(run.metrics.read_text().splitlines()[-1])["step"] == 30


def test_second_signal_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background of a shell
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.received is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_no_handlers_outside_of_the_main_thread() -> None:
    seen: list[Any] = []

    def enter() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_curves_and_data_over_theory_are_kept(problem: Problem, events: dict[str, Events], tmp_path: Path) -> None:
    t = torch.tensor([0.5, 1.0])
    line = CurveFamily("line", ("a",), t, lambda p: (p[..., 0:1] * t).unsqueeze(-2))
    settings = SETTINGS.model_copy(update={"steps": 2, "diagnose": True})
    fit = execute(replace(problem, curves=(line,)), events, path=tmp_path / "fit", method=METHOD, settings=settings)
    run = RunDirectory.open(tmp_path / "fit")
    assert len(fit.curves) == 2
    assert run.read_result("curves") == fit.curves
    assert run.read_result("slices") == fit.slices
    assert pq.read_table(run.result / "curves.parquet").to_pylist() == fit.curves
