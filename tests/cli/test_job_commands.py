"""Jobs of several ranks as a user meets them: options, what is passed on, what is shown, errors in a narrow terminal."""

from __future__ import annotations

import io
import json
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from unscatter.cli import local_jobs
from unscatter.cli.app import app
from unscatter.cli.local_jobs import Following, speaker
from unscatter.cli.progress import PlainLines
from unscatter.cli.rank_display import LateFile, rank_display
from unscatter.exchange import ExchangeSettings, NoExchange, World
from unscatter.launch import JobEnd, JobLogs, JobSettings, joining
from unscatter.launch.health import HealthObserver, RankHealth, read_health
from unscatter.launch.joining import Rank, take_part
from unscatter.launch.variables import JobVariables
from unscatter.runcards import load_runcard
from unscatter.runs import RunDirectory

CARD = """
problem: {name: proxy2d, nodes: 17}
events: {simulate: {num_events: 500}}
method: {num_events: 64, discriminator: {hidden: [8]}}
solve: {steps: 6, max_rounds: 1, log_every: 2, held_out: 0.0, diagnose: false}
"""


def call(*arguments: str, width: int = 60, environ: Mapping[str, str] | None = None) -> Result:
    environ = {"COLUMNS": str(width), "TERM": "dumb", "NO_COLOR": "1", **(environ or {})}
    return CliRunner().invoke(app, arguments, env=environ, prog_name="unscatter")


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "card.yaml"
    path.write_text(CARD)
    return path


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Jobs that would have been started."""
    started: list[dict[str, Any]] = []

    def run_job(command: list[str], settings: JobSettings, **options: Any) -> JobEnd:
        started.append({"command": command, "settings": settings, **options})
        return JobEnd(code=0, codes=(0,) * settings.num_ranks, logs=Path("logs"))

    monkeypatch.setattr(local_jobs, "run_job", run_job)
    return started


def test_ranks_of_one_machine_fit_and_stop_together_with_a_log_and_a_health_each(card: Path) -> None:
    def stop_when_fitting() -> None:
        metrics = [Path("fit/metrics.jsonl"), Path("fit/logs/rank1.json")]
        while not all(file.is_file() for file in metrics):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_fitting, daemon=True).start()
    result = call("solve", "card.yaml", "--run", "fit", "--ranks", "2", "-s", "solve.steps=1000000", width=100)
    assert (result.exit_code, result.stdout) == (143, ""), result.output
    # The launcher begins to show the fit a moment after it has begun.
    assert len(re.findall(r"^step \d+ of 1000000$", result.stderr, re.MULTILINE)) == 1, "one display for all ranks"
    assert result.stderr.count("Stopped by SIGTERM after step") == 1, "one rank speaks for all"
    run = RunDirectory.open("fit")
    assert run.load_checkpoint().step > 0
    assert [health.phase for health in read_health(run.logs)] == ["done", "done"]
    for rank in range(2):
        assert "step 0 of 1000000" in run.log(rank).read_text()
    assert "Stopped by SIGTERM" in run.log(0).read_text()
    assert "codes of the ranks: [143, 0]" in (run.logs / "launcher.log").read_text()
    assert list(Path().glob(".*")) == []
    assert call("health", "fit").exit_code == 0


def test_ranks_are_started_with_the_same_command_as_one_process(card: Path, jobs: list[dict[str, Any]]) -> None:
    assert call("solve", "card.yaml", "-s", "solve.steps=7", "--run", "fit", "-r", "3", "-q").exit_code == 0
    (job,) = jobs
    assert job["command"] == [
        sys.executable, "-m", "unscatter.cli", "solve", "card.yaml", "--set", "solve.steps=7", "--run", "fit", "--quiet",
    ]  # fmt: skip
    assert (job["settings"].num_ranks, job["settings"].survives, job["run"]) == (3, True, Path("fit"))
    assert job["settings"].orderly == {0, 3, 130, 143}


def test_ranks_that_share_nothing_fit_the_same_events_with_seeds_and_runs_of_their_own(card: Path) -> None:
    result = call("solve", "card.yaml", "--run", "fit", "--ranks", "2", "--exchange", "none", "-s", "solve.seed=5", width=100)
    assert result.exit_code == 0, result.output
    assert "unscatter compare fit/rank0 fit/rank1" in result.stderr
    runs = [RunDirectory.open(f"fit/rank{rank}") for rank in range(2)]
    seeds = [yaml.safe_load(run.read_runcard(resolved=True)) for run in runs]
    assert [(seed["solve"]["seed"], seed["events"]["simulate"]["seed"]) for seed in seeds] == [(5, 1), (6, 1)]
    results = [run.read_result("parameters") for run in runs]
    assert [row["value"] for row in results[0]] != [row["value"] for row in results[1]]
    assert [run.read_result("summary")["num_ranks"] for run in runs] == [1, 1]
    assert [health.phase for health in read_health(runs[0].logs)] == ["done", "done"]


def test_ranks_that_share_nothing_may_take_as_long_as_they_like(card: Path, jobs: list[dict[str, Any]]) -> None:
    assert call("solve", "card.yaml", "--run", "fit", "-r", "3", "--exchange", "none", "-q").exit_code == 0
    (job,) = jobs
    assert (job["settings"].survives, job["settings"].end_s, job["run"]) == (True, math.inf, Path("fit/rank0"))


def test_a_fit_that_shares_nothing_is_resumed_by_itself(card: Path) -> None:
    card.write_text(CARD.replace("steps: 6", "steps: 1000000") + "exchange: {name: none, ranks: 2}\n")
    run = RunDirectory.create("fit")
    text = load_runcard(card).resolved
    run.write_runcard(text, text)
    result = call("resume", "fit", "--ranks", "2")
    assert result.exit_code == 2
    assert "Resume each of them by itself: unscatter resume fit" in words(result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "missing.yaml"], "missing.yaml"),
        (["solve", "card.yaml", "-s", "solve.stepz=7"], "stepz"),
        (["solve", "card.yaml", "--run", "taken"], "not empty"),
        (["resume", "taken"], "is not a run directory"),
    ],
)
def test_what_one_process_refuses_is_refused_before_any_rank_is_started(
    card: Path, jobs: list[dict[str, Any]], arguments: list[str], message: str
) -> None:
    (card.parent / "taken").mkdir()
    (card.parent / "taken" / "file").touch()
    result = call(*arguments, "--ranks", "2")
    assert (result.exit_code, jobs) == (2, [])
    assert message in words(result.stderr)


def test_rank_of_another_launcher_cannot_start_ranks(card: Path, jobs: list[dict[str, Any]]) -> None:
    environ = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    result = call("solve", "card.yaml", "--ranks", "2", environ=environ)
    assert (result.exit_code, jobs) == (2, [])
    assert "rank 1 of 3 already, started by torchrun" in words(result.stderr)
    assert "Leave '--ranks' out" in words(result.stderr)


def test_variables_that_contradict_one_another_are_one_message(card: Path) -> None:
    result = call("solve", "card.yaml", environ={"RANK": "1"})
    assert result.exit_code == 2
    assert "RANK=1 is set, but WORLD_SIZE is not" in words(result.stderr)


def test_number_of_ranks_below_one_is_refused(card: Path) -> None:
    result = call("solve", "card.yaml", "--ranks", "0")
    assert result.exit_code == 2
    assert "--ranks" in result.stderr


@pytest.mark.parametrize(("code", "way_on"), [(-9, "unscatter resume fit --ranks 2"), (2, "")])
def test_rank_that_died_is_told_with_a_way_on(
    card: Path, monkeypatch: pytest.MonkeyPatch, code: int, way_on: str
) -> None:  # fmt: skip
    def run_job(*_: Any, **__: Any) -> JobEnd:
        (card.parent / "fit" / "checkpoints").mkdir(parents=True)
        (card.parent / "fit" / "checkpoints" / "step-000000004.safetensors").touch()
        failure = "rank 1 of 2 died. The last lines of rank1.log:\n  [/] as they are"
        return JobEnd(code=abs(code), codes=(0, code), failure=failure, failed_rank=1, logs=Path("logs"))

    monkeypatch.setattr(local_jobs, "run_job", run_job)
    result = call("solve", "card.yaml", "--run", "fit", "--ranks", "2")
    assert result.exit_code == abs(code)
    assert "Error: rank 1 of 2 died. The last lines of rank1.log:\n  [/] as they are" in result.stderr
    assert ("resume" in result.stderr) == bool(way_on)
    assert way_on in words(result.stderr)


def run_with(*ranks: RankHealth) -> RunDirectory:
    run = RunDirectory.create("fit")
    for health in ranks:
        health.write(run.logs)
    return run


def test_health_shows_each_rank_in_a_narrow_terminal(card: Path) -> None:
    now = time.time()
    run_with(
        RankHealth(rank=0, size=2, host="node1", phase="fitting", step=1840, heard=now - 1, statistics={"staleness": 2.5}),
        RankHealth(rank=1, size=2, host="node2", phase="fitting", step=1829, heard=now - 2, statistics={"staleness": 13}),
    )
    result = call("health", "fit")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 60
    lines = [line.split() for line in result.stdout.splitlines() if line.strip() and not line.startswith(" ─")]
    assert lines[0] == ["rank", "host", "phase", "step", "behind", "staleness", "heard"]
    assert lines[1][:6] == ["0", "node1", "fitting", "1840", "0", "2.5"]
    assert lines[2][:6] == ["1", "node2", "fitting", "1829", "11", "13"]


def test_health_shows_of_the_counts_of_an_exchange_what_tells_that_something_is_wrong(card: Path) -> None:
    counts = {"published": 201.0, "bytes_sent": 1e6, "staleness": 0.5, "waited_s": 0.0, "lost_ranks": 0.0}
    ranks = [RankHealth(rank=rank, size=2, host="vm", phase="fitting", step=9, heard=time.time(), statistics=counts) for rank in (0, 1)]
    run_with(*ranks)
    assert call("health", "fit").stdout.split()[:7] == ["rank", "host", "phase", "step", "behind", "staleness", "heard"]
    replace(ranks[1], statistics=counts | {"lost_ranks": 1.0}).write(RunDirectory.open("fit").logs)
    assert "lost ranks" in call("health", "fit", width=100).stdout


def test_health_says_by_its_exit_code_that_a_rank_is_silent_failed_or_missing(card: Path) -> None:
    now = time.time()
    run = run_with(RankHealth(rank=0, size=2, phase="done", heard=now - 1000))
    result = call("health", "fit")
    assert (result.exit_code, "Not heard of: rank 1." in result.stdout) == (3, True)
    for phase, age, code in (("fitting", 100, 3), ("fitting", 1, 0), ("failed", 1, 3), ("done", 100, 0)):
        RankHealth(rank=1, size=2, phase=phase, heard=now - age).write(run.logs)
        assert call("health", "fit").exit_code == code


def test_health_of_a_run_of_one_process_is_told(card: Path) -> None:
    run_with()
    result = call("health", "fit")
    assert result.exit_code == 2
    assert "no rank has written to 'fit/logs'" in words(result.stderr)


def test_ranks_that_an_earlier_start_had_more_are_passed_over(card: Path) -> None:
    run = run_with(*(RankHealth(rank=rank, size=4, heard=10.0) for rank in range(4)), RankHealth(rank=0, size=2, heard=20.0))
    assert [health.rank for health in read_health(run.logs)] == [0, 1]


def test_file_that_is_no_health_is_passed_over(card: Path) -> None:
    run = run_with(RankHealth(rank=0, size=2))
    (run.logs / "rank1.json").write_text('{"rank": 1')
    (run.logs / "rank2.json").write_text('{"what": 1}')
    assert [health.rank for health in read_health(run.logs)] == [0]


def record(step: int) -> dict[str, Any]:
    return {"step": step, "seconds": step / 10, "generator_loss": 0.7, "averaged": {"p0": 0.5}}


def test_launcher_shows_one_line_of_progress_for_all_ranks(card: Path) -> None:
    file = io.StringIO()
    follow = Following([PlainLines(Console(file=file, width=100))])
    logs = JobLogs("fit")
    world = World(rank=0, size=2, local_size=2, port=1)
    observer, other = (HealthObserver(each, Path("fit"), early=logs.directory) for each in (world, World(rank=1, size=2, port=1)))
    follow(logs)
    observer.piloted(10, 10)
    follow(logs)
    for told in (observer, other):
        told.started(0, 100)
        follow(logs)
    observer.progressed(record(100))
    for _ in range(3):
        follow(logs)
    logs.discard()
    lines = file.getvalue().splitlines()
    assert [line.split(":")[0].split(" (")[0] for line in lines] == ["pilot, a single fit to start from", "step 0 of 100", "step 100/100"]


def test_rank_that_fell_silent_does_not_speak_for_the_job() -> None:
    ranks = [RankHealth(rank=rank, size=3, heard=heard) for rank, heard in enumerate([10.0, 90.0, 100.0])]
    assert speaker(ranks) == ranks[1]
    assert speaker([]) is None


def test_health_says_how_a_rank_ended_and_what_its_exchange_has_measured(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "join_exchange", lambda *args, **options: NoExchange())
    run = run_with()
    world = World(rank=1, size=2, port=1)
    with pytest.raises(ZeroDivisionError), take_part(world, ExchangeSettings(), run.path, same={}, environ={}):
        raise ZeroDivisionError
    assert read_health(run.logs)[0].phase == "failed"
    with take_part(world, ExchangeSettings(), run.path, same={}, environ={}) as rank:
        assert not rank.alone
    assert read_health(run.logs)[0].phase == "done"
    HealthObserver(world, run.path, statistics=lambda: {"staleness": 3.0}).started(0, 10)
    assert read_health(run.logs)[0].statistics == {"staleness": 3.0}


def test_only_the_first_rank_of_another_launcher_shows_progress_and_each_has_a_log(card: Path) -> None:
    for rank in range(2):
        world = World(rank=rank, size=2, port=1, launcher="torchrun")
        shown = io.StringIO()
        health = HealthObserver(world, Path("fit"))
        with rank_display(Rank(world, health=health), Path("fit"), Console(file=shown), quiet=False) as observers:
            if rank == 0:
                RunDirectory.create("fit")
            for observer in observers:
                observer.started(0, 10)
        assert ("step 0 of 10" in shown.getvalue()) == (rank == 0)
        assert Path(f"fit/logs/rank{rank}.log").read_text() == "step 0 of 10\n"


def test_log_keeps_what_is_written_before_its_directory_is_made(tmp_path: Path) -> None:
    with LateFile(tmp_path / "logs" / "rank1.log") as log:
        log.write("before\n")
        (tmp_path / "logs").mkdir()
        log.write("after\n")
    assert (tmp_path / "logs" / "rank1.log").read_text() == "before\nafter\n"


def test_threads_are_shared_among_ranks_unless_given_and_each_rank_has_one_gpu() -> None:
    variables = JobVariables(num_ranks=3, port=1, logs=Path("logs"), gpus=("4", "7"))
    found = [variables.of_rank(rank, {}, num_cores=8) for rank in range(3)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["4", "7", "4"]
    assert [each["OMP_NUM_THREADS"] for each in found] == ["2"] * 3
    assert variables.of_rank(0, {"OMP_NUM_THREADS": "5"}, num_cores=8)["OMP_NUM_THREADS"] == "5"
    assert JobVariables(num_ranks=9, port=1, logs=Path()).of_rank(0, {}, num_cores=4)["OMP_NUM_THREADS"] == "1"
    assert World.from_environment(found[2]).rank == 2
    assert variables.secret not in repr(variables)


def test_submit_without_submitit_names_the_line_that_installs_it(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("submitit", "submitit.slurm"):
        monkeypatch.setitem(sys.modules, name, None)
    result = call("submit", "card.yaml", "--dry-run")
    assert result.exit_code == 2
    assert "pip install 'unscatter[slurm]'" in words(result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--time", "soon"], "'--time soon' is not a time limit of Slurm."),
        (["--gpus-per-node", "4"], "--ranks-per-node 4 --gpus-per-node 4"),
        (["--sbatch", "account"], "'--sbatch account' is not name=value."),
        (["-s", "solve.stepz=1"], "stepz"),
    ],
)
def test_submit_refuses_what_cannot_run(card: Path, arguments: list[str], message: str) -> None:
    result = call("submit", "card.yaml", "--dry-run", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in words(result.stderr)


def test_script_for_slurm_starts_the_same_command_on_every_rank(card: Path) -> None:
    pytest.importorskip("submitit")
    options = ["--nodes", "2", "--ranks-per-node", "4", "--time", "1:30:00", "--partition", "gpu", "--gpus-per-node", "4"]
    result = call("submit", "card.yaml", "-s", "solve.steps=7", "--run", "fit", *options, "--sbatch", "account=abc", "--dry-run")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    for option in ("nodes=2", "ntasks-per-node=4", "time=1:30:00", "partition=gpu", "gpus-per-node=4", "account=abc", "signal=TERM@120"):
        assert f"#SBATCH --{option}" in lines
    (srun,) = [line for line in lines if line.startswith("srun")]
    assert srun.endswith(f"-m unscatter.cli solve {card} --set solve.steps=7 --run {card.parent}/fit")
    assert "--kill-on-bad-exit=0" in srun
    assert any(line.startswith("export UNSCATTER_SECRET=$(") for line in lines)
    assert not (card.parent / "fit-slurm").exists()


def test_health_is_one_line_of_json_per_rank(card: Path) -> None:
    run = run_with(RankHealth(rank=0, size=1, step=3))
    (line,) = (run.logs / "rank0.json").read_text().splitlines()
    assert json.loads(line)["step"] == 3
