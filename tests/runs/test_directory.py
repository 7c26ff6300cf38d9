"""Run directories: layout, metrics, lock, provenance."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unscatter.errors import RunError
from unscatter.runs import RunDirectory, collect_provenance
from unscatter.runs.provenance import git_state


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "fit")


def test_created_directory_can_be_opened(tmp_path: Path) -> None:
    created = RunDirectory.create(tmp_path / "runs" / "fit")
    opened = RunDirectory.open(str(tmp_path / "runs" / "fit"))
    assert opened == created
    assert json.loads((opened.path / "run.json").read_text())["version"] == RunDirectory.FORMAT_VERSION
    assert sorted(p.name for p in opened.path.iterdir()) == ["checkpoints", "logs", "result", "run.json"]


def test_empty_directory_may_become_a_run(tmp_path: Path) -> None:
    (tmp_path / "fit").mkdir()
    assert RunDirectory.create(tmp_path / "fit").checkpoints.is_dir()


def test_existing_run_is_never_written_over(run: RunDirectory) -> None:
    before = (run.path / "run.json").read_bytes()
    RunDirectory.create(run.path.with_name("fit-2"))
    with pytest.raises(RunError) as caught:
        RunDirectory.create(run.path)
    assert f"for instance '{run.path}-3'" in str(caught.value)
    assert str(caught.value).endswith(f"go on with this run: unscatter resume {run.path}")
    assert (run.path / "run.json").read_bytes() == before


@pytest.mark.parametrize(("name", "stem"), [("漢" * 84, "漢" * 33), ("x" + "é" * 126, "x" + "é" * 49), ("n" * 250, "n" * 100)])
def test_name_that_is_proposed_is_one_that_the_system_takes(name: str, stem: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").touch()
    with pytest.raises(RunError, match="for instance") as caught:
        RunDirectory.create(tmp_path / name)
    proposed = str(caught.value).split("for instance '")[1].split("'")[0]
    assert RunDirectory.create(proposed).path.name == f"{stem}-2"


def test_line_to_type_is_one_that_a_shell_takes(tmp_path: Path) -> None:
    path = tmp_path / "Anna's fit; $(date)"
    RunDirectory.create(path)
    with pytest.raises(RunError) as caught:
        RunDirectory.create(path)
    assert shlex.split(str(caught.value).split("go on with this run: ")[1]) == ["unscatter", "resume", str(path)]


def test_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match=r"is not empty. Choose another one"):
        RunDirectory.create(tmp_path)
    with pytest.raises(RunError, match=r"thesis.tex' is a file"):
        RunDirectory.create(tmp_path / "thesis.tex")
    with pytest.raises(RunError, match="cannot write"):
        RunDirectory.create(tmp_path / "thesis.tex" / "fit")
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_path_that_no_system_takes_is_one_error(name: str, tmp_path: Path) -> None:
    for act in (RunDirectory.create, RunDirectory.open):
        with pytest.raises(RunError, match="cannot be a run directory: "):
            act(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_opening_what_is_not_a_run_says_what_is(run: RunDirectory) -> None:
    with pytest.raises(RunError, match=r"Did you mean 'fit'\?"):
        RunDirectory.open(run.path.with_name("fitt"))
    with pytest.raises(RunError, match=r"not a run directory: it has no run.json. Did you mean one of \['.*fit'\]"):
        RunDirectory.open(run.path.parent)


@pytest.mark.parametrize("marker", ["{", "[]", '{"kind": "other", "version": 1}', '{"kind": "unscatter-run", "version": "x"}'])
def test_damaged_marker_is_an_error(run: RunDirectory, marker: str) -> None:
    (run.path / "run.json").write_text(marker)
    with pytest.raises(RunError, match=r"run\.json"):
        RunDirectory.open(run.path)


def test_run_of_a_newer_version_is_refused(run: RunDirectory) -> None:
    (run.path / "run.json").write_text('{"kind": "unscatter-run", "version": 2}')
    with pytest.raises(RunError, match="format version 2, but this unscatter reads up to version 1"):
        RunDirectory.open(run.path)


def test_runcard_result_and_report_are_read_back(run: RunDirectory) -> None:
    run.write_runcard("steps: 5  # few\n", "steps: 5\nseed: 0\n")
    assert run.read_runcard() == "steps: 5  # few\n"
    assert run.read_runcard(resolved=True) == "steps: 5\nseed: 0\n"
    run.write_table("parameters", {"name": ["p0"], "value": [0.5]})
    assert run.read_result("parameters") == [{"name": "p0", "value": 0.5}]
    run.write_result("summary", {"stopped": "settled"})
    assert run.read_result("summary") == {"stopped": "settled"}
    with pytest.raises(RunError, match=rf"(?s)Did you mean 'summary.json'\?.*unscatter resume {run.path}"):
        run.read_result("sumary")
    assert run.write_report("<html></html>").read_text() == "<html></html>"
    assert run.log(2) == run.path / "logs" / "rank2.log"


def test_missing_runcard_is_an_error(run: RunDirectory) -> None:
    with pytest.raises(RunError, match=r"holds no runcard\.yaml"):
        run.read_runcard()


def test_metrics_are_on_the_file_as_soon_as_they_come(run: RunDirectory) -> None:
    for step in range(3):
        run.append_metrics({"step": step, "loss": torch.tensor(0.5 * step), "bad": float("nan")})
        assert len(run.metrics.read_text().splitlines()) == step + 1
    assert run.read_metrics()[2] == {"step": 2, "loss": 1.0, "bad": None}


@pytest.mark.parametrize("tail", ['{"step": 3, "lo', "\0\0\0", '{"step": 3\n'])
def test_last_line_that_a_crash_cut_short_is_passed_over(run: RunDirectory, tail: str) -> None:
    assert run.read_metrics() == []
    for step in range(3):
        run.append_metrics({"step": step})
    with run.metrics.open("a") as file:
        file.write(tail)
    assert [record["step"] for record in run.read_metrics()] == [0, 1, 2]
    run.truncate_metrics(1)
    run.append_metrics({"step": 2, "again": True})
    assert run.read_metrics() == [{"step": 0}, {"step": 1}, {"step": 2, "again": True}]


def test_damaged_line_in_the_middle_is_named(run: RunDirectory) -> None:
    run.metrics.write_text('{"step": 0}\n{"st\n{"step": 2}\n')
    with pytest.raises(RunError, match=r"line 2 of '.*metrics.jsonl' is damaged"):
        run.read_metrics()


def test_truncated_metrics_keep_their_numbers_exactly(run: RunDirectory) -> None:
    losses = torch.randn(20, dtype=torch.float64).tolist()
    for step, loss in enumerate(losses):
        run.append_metrics({"step": step, "loss": loss})
    before = run.metrics.read_bytes()
    run.truncate_metrics(19)
    assert run.metrics.read_bytes() == before
    run.truncate_metrics(9)
    assert before.startswith(run.metrics.read_bytes())
    assert [record["loss"] for record in run.read_metrics()] == losses[:10]


# Holds the lock as `RunDirectory.lock` does, without the seconds that importing torch takes.
_HOLDER = """
import fcntl, json, os, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(json.dumps({"pid": os.getpid(), "host": "farm7", "since": "2026-01-02"}))
    file.flush()
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_process_is_told_who_writes_and_a_dead_one_holds_nothing(run: RunDirectory) -> None:
    command = [sys.executable, "-S", "-c", _HOLDER, str(run.path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        message = rf"process {holder.pid} on farm7 \(since 2026-01-02\) is writing in the run directory '.*fit'.\n.*kill {holder.pid}"
        with pytest.raises(RunError, match=message), run.lock():
            pass
        holder.kill()
    with run.lock():
        pass


def test_lock_excludes_the_own_process_too_and_is_released_at_the_end(run: RunDirectory) -> None:
    with run.lock():
        with pytest.raises(RunError, match=f"process {os.getpid()} "), run.lock():
            pass
        assert run.read_metrics() == []
    with pytest.raises(ZeroDivisionError), run.lock():
        _ = 1 // 0
    with run.lock():
        pass


def test_taking_the_lock_removes_what_killed_writers_left(run: RunDirectory) -> None:
    leftovers = [run.path / ".a.json.77.tmp", run.checkpoints / ".step-000000001.safetensors.77.tmp", run.result / ".t.parquet.77.tmp"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    run.save_checkpoint(1, {}, {})
    with run.lock():
        assert not any(leftover.exists() for leftover in leftovers)
        assert run.load_checkpoint().step == 1


def test_every_start_adds_its_provenance(run: RunDirectory) -> None:
    run.add_provenance(collect_provenance({"seed": 7}, ranks=4))
    run.add_provenance(collect_provenance({"seed": 7}))
    first, second = run.read_provenance()
    assert first["seeds"] == {"seed": 7}
    assert first["ranks"] == 4
    assert "ranks" not in second
    assert first["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert first["cpu"]["cores"] == multiprocessing.cpu_count()
    assert first["host"]
    assert first["command"]


def test_git_state_is_the_commit_and_whether_files_differ(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", tmp_path, *identity, *arguments], capture_output=True, text=True, check=True).stdout.strip()

    assert git_state(tmp_path) is None
    git("init", "--quiet")
    assert git_state(tmp_path) is None
    (tmp_path / "a.txt").write_text("1")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "a.txt").write_text("2")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": True}
    (tmp_path / "environment").mkdir()
    assert git_state(tmp_path / "environment") is None


def test_one_process_goes_on_from_the_checkpoint_that_was_asked_for_wherever_it_lies(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "fit")
    for step in (100, 200):
        run.save_checkpoint(step, {"weights": torch.full((2,), float(step))}, {})
    elsewhere = tmp_path / "kept.safetensors"
    (run.checkpoints / "step-000000200.safetensors").rename(elsewhere)
    asked = run.load_checkpoint(elsewhere)
    for rank in (0, 1):
        assert run.load_rank_checkpoint(asked, rank, in_step=True) is asked
