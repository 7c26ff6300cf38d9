"""Local jobs with real processes: a stand-in program in place of a fit, which starts at once."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from rich.file_proxy import FileProxy

from unscatter.errors import RunError
from unscatter.launch import JobEnd, JobSettings, guard, run_job

PRELUDE = """
import os, pathlib, signal, subprocess, sys, time
rank, size = int(os.environ["UNSCATTER_RANK"]), int(os.environ["UNSCATTER_SIZE"])
here = pathlib.Path(HERE)
def say(*words): print(*words, flush=True)
def wait_for(name):
    end = time.monotonic() + 20
    while not (here / name).exists():
        assert time.monotonic() < end, name
        time.sleep(0.01)
def sleep_for_ever(): time.sleep(1000)
def leave_cleanly(number, frame): say("stopped by", signal.Signals(number).name); sys.exit(128 + number)
"""


COMMAND = ["sh", "-c", "touch up; exec sleep 1000"]


def program(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "program.py"
    file.write_text(PRELUDE.replace("HERE", repr(str(tmp_path))) + text)
    return [sys.executable, "-S", str(file)]


def run(tmp_path: Path, text: str, *, ranks: int = 2, **settings: object) -> JobEnd:
    patience = {"settle_s": 0.1, "lost_s": 0.5, "stop_s": 5.0} | settings
    return run_job(program(tmp_path, text), JobSettings(num_ranks=ranks, **patience), run=tmp_path / "fit")  # pyright: ignore[reportArgumentType]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def eventually(condition: object, *, within_s: float = 20.0) -> bool:
    end = time.monotonic() + within_s
    while not condition():  # pyright: ignore[reportCallIssue]
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def after(file: Path, action: object) -> threading.Thread:
    """Do something as soon as a file is there."""

    def watch() -> None:
        assert eventually(file.exists)
        action()  # pyright: ignore[reportCallIssue]

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def numbers(tmp_path: Path, names: Sequence[str]) -> list[int]:
    return [int((tmp_path / name).read_text()) for name in names]


def test_each_rank_has_its_log_and_what_the_first_one_prints_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end = run(tmp_path, 'say("out", rank, "of", size); print("err", rank, file=sys.stderr)', ranks=3)
    assert (end.code, end.codes, end.failure) == (0, (0, 0, 0), None)
    for rank in range(3):
        head, *lines = (end.logs / f"rank{rank}.log").read_text().splitlines()
        assert head.startswith("=== started")
        assert f"rank {rank} of 3" in head
        assert sorted(lines) == [f"err {rank}", f"out {rank} of 3"]
    assert capsys.readouterr() == ("out 0 of 3\n", "err 0\n")


def test_what_is_shown_goes_into_a_file_and_not_onto_the_display_in_front_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    file, display = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", FileProxy(Console(file=display), file))
    run(tmp_path, 'say("result")')
    assert (file.getvalue(), display.getvalue()) == ("result\n", "")


def test_logs_move_into_the_run_directory_when_it_is_made_and_are_written_on(tmp_path: Path) -> None:
    text = """
say("before")
if rank == 0:
    (here / "fit" / "logs").mkdir(parents=True)
    (here / "fit" / "run.json").write_text("{}")
wait_for(f"fit/logs/rank{rank}.log")
say("after")
"""
    end = run(tmp_path, text)
    assert (end.code, end.logs) == (0, tmp_path / "fit" / "logs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit", "program.py"], "the place before is gone"
    for rank in range(2):
        assert (end.logs / f"rank{rank}.log").read_text().splitlines()[1:] == ["before", "after"]


def test_resumed_job_appends_to_its_logs_and_quotes_only_what_is_new(tmp_path: Path) -> None:
    for text in ('say("first")', 'say("second"); sys.exit(5 * rank)'):
        (tmp_path / "fit" / "logs").mkdir(parents=True, exist_ok=True)
        (tmp_path / "fit" / "run.json").write_text("{}")
        end = run(tmp_path, text)
    assert [line for line in (end.logs / "rank1.log").read_text().splitlines() if line[0] != "="] == ["first", "second"]
    assert "second" in str(end.failure)
    assert "first" not in str(end.failure)


def test_logs_that_cannot_be_written_are_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write"):
        run_job(["true"], JobSettings(num_ranks=1), run="/proc/fit")


def test_ranks_share_a_rendezvous_that_the_launcher_keeps_a_secret_and_a_job(tmp_path: Path) -> None:
    text = """
import socket
socket.create_connection((os.environ["UNSCATTER_ADDRESS"], int(os.environ["UNSCATTER_PORT"])), timeout=5).close()
(here / f"said{rank}").write_text(os.environ["UNSCATTER_JOB"] + " " + os.environ["UNSCATTER_SECRET"])
"""
    assert run(tmp_path, text).code == 0
    first, second = ((tmp_path / f"said{rank}").read_text() for rank in range(2))
    assert first == second
    job, secret = first.split()
    assert len(secret) == 64
    assert run(tmp_path, text).code == 0
    assert not {job, secret} & set((tmp_path / "said0").read_text().split())


@pytest.mark.parametrize(
    ("text", "code"),
    [("sys.exit(0)", 0), ("sys.exit(3)", 3), ("sys.exit(7 * rank)", 7), ("os.kill(os.getpid(), signal.SIGKILL if rank else 0)", 137)],
)
def test_exit_code_is_that_of_the_leading_rank_or_of_the_one_that_died(tmp_path: Path, text: str, code: int) -> None:
    end = run(tmp_path, text, orderly=frozenset({0, 3}))
    assert end.code == code
    assert (end.failed_rank, end.failure is None) == ((None, True) if code in (0, 3) else (1, False))


def test_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    end = run_job([str(tmp_path / "nothing")], JobSettings(num_ranks=2, settle_s=0.1), run=tmp_path / "fit")
    assert end.code == 127


def test_rank_that_dies_ends_the_job_and_the_message_shows_which_how_and_its_last_words(tmp_path: Path) -> None:
    text = """
wait_for("ready") if rank == 1 else (here / "ready").touch() if rank == 0 else None
signal.signal(signal.SIGTERM, leave_cleanly)
if rank == 1:
    for line in range(40): say("line", line)
    os.kill(os.getpid(), signal.SIGSEGV)
sleep_for_ever()
"""
    end = run(tmp_path, text, ranks=3, orderly=frozenset({0, 143}))
    assert (end.code, end.codes, end.failed_rank) == (139, (143, -signal.SIGSEGV, 143), 1)
    first, *lines = str(end.failure).splitlines()
    assert first == "rank 1 of 3 was killed by SIGSEGV, and the job has ended with it. The last lines of rank1.log:"
    assert lines == [f"  line {number}" for number in range(28, 40)]


def test_rank_that_was_killed_is_named_and_not_those_that_miss_it(tmp_path: Path) -> None:
    text = """
if rank == 2:
    say("out of memory?"); (here / "pid").write_text(str(os.getpid())); sleep_for_ever()
wait_for("pid")
time.sleep(0.1)
if rank == 0:
    os.kill(int((here / "pid").read_text()), signal.SIGKILL)
    (here / "killed").touch()
# Nobody misses a rank that is still there.
wait_for("killed")
print("PeerLostError: rank 2 is missing", file=sys.stderr)
sys.exit(2)
"""
    end = run(tmp_path, text, ranks=3, settle_s=2.0)
    assert (end.failed_rank, end.code) == (2, 137)
    assert "rank 2 of 3 was killed by SIGKILL" in str(end.failure)
    assert "memory runs out" in str(end.failure)
    assert str(end.failure).endswith("  out of memory?")


def test_rank_that_does_not_stop_when_another_one_has_died_is_killed(tmp_path: Path) -> None:
    end = run(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsys.exit(9) if rank == 1 else sleep_for_ever()", lost_s=0.3)
    assert (end.code, end.codes) == (9, (-signal.SIGKILL, 9))


def test_others_go_on_without_a_lost_rank_where_the_exchange_survives_that(tmp_path: Path) -> None:
    told: list[str] = []
    text = 'sys.exit(9) if rank == 1 else wait_for("go")'
    end = run_job(
        program(tmp_path, text), JobSettings(num_ranks=3, survives=True, settle_s=0.1), run=tmp_path / "fit",
        report=lambda text: (told.append(text), (tmp_path / "go").touch())[0],
    )  # fmt: skip
    assert (end.code, end.codes, end.failure, end.lost) == (0, (0, 9, 0), None, (1,))
    assert told == ["rank 1 of 3 ended with exit code 9; the others go on."]


def test_loss_of_the_first_rank_leaves_the_job_the_code_of_the_next_one_and_of_all_a_failure(tmp_path: Path) -> None:
    end = run(tmp_path, "sys.exit(9) if rank == 0 else time.sleep(0.5)\nsys.exit(3)", survives=True, orderly=frozenset({0, 3}))
    assert (end.code, end.failure, end.lost) == (3, None, (0,))
    end = run(tmp_path, "time.sleep(0.3 * rank)\nsys.exit(9 + rank)", survives=True)
    assert (end.code, end.failed_rank, end.lost) == (10, 1, (0,))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_is_passed_on_and_waited_for(tmp_path: Path, number: signal.Signals) -> None:
    text = """
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, leave_cleanly)
(here / f"ready{rank}").touch()
wait_for("ready1"); wait_for("ready0"); (here / "all").touch()
sleep_for_ever()
"""
    after(tmp_path / "all", lambda: os.kill(os.getpid(), number))
    end = run(tmp_path, text, orderly=frozenset({0, 130, 143}))
    passed = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
    assert (end.code, end.codes, end.failure) == (128 + passed, (128 + passed,) * 2, None)
    assert (end.logs / "rank1.log").read_text().endswith(f"stopped by {passed.name}\n")


STUBBORN = """
signal.signal(signal.SIGTERM, lambda *_: (here / "asked").touch())
(here / f"set{rank}").touch()
if rank == 1:
    wait_for("set0")
    (here / "pid").write_text(str(os.getpid())); (here / "ready").touch()
    os.kill(os.getpid(), signal.SIGSTOP)
while True: time.sleep(0.1)
"""


def test_second_signal_kills_even_ranks_that_are_stopped(tmp_path: Path) -> None:
    after(tmp_path / "ready", lambda: os.kill(os.getpid(), signal.SIGTERM))
    after(tmp_path / "asked", lambda: os.kill(os.getpid(), signal.SIGTERM))
    end = run(tmp_path, STUBBORN, stop_s=60.0)
    assert (end.code, end.codes) == (143, (-signal.SIGKILL,) * 2)


def test_ranks_that_do_not_stop_when_asked_are_killed_after_a_bound(tmp_path: Path) -> None:
    after(tmp_path / "ready", lambda: os.kill(os.getpid(), signal.SIGTERM))
    end = run(tmp_path, STUBBORN, stop_s=0.3)
    assert (end.code, end.codes) == (143, (-signal.SIGKILL,) * 2)


def test_signal_handlers_come_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    run(tmp_path, "")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_ranks_that_go_on_after_the_first_one_has_finished_are_stopped_after_a_bound(tmp_path: Path) -> None:
    end = run(tmp_path, "sleep_for_ever() if rank else sys.exit(0)", end_s=0.2)
    assert (end.code, end.codes) == (0, (0, -signal.SIGTERM))


FAMILY = """
child = subprocess.Popen(["sleep", "1000"])
(here / f"rank{rank}").write_text(str(os.getpid()))
(here / f"child{rank}").write_text(str(child.pid))
"""


def test_what_ranks_have_started_ends_with_them(tmp_path: Path) -> None:
    assert run(tmp_path, FAMILY).code == 0
    assert not any(map(is_running, numbers(tmp_path, ["rank0", "rank1", "child0", "child1"])))


def test_error_in_the_launcher_leaves_no_rank_behind(tmp_path: Path) -> None:
    def tick(_: object) -> None:
        if all((tmp_path / f"child{rank}").exists() for rank in range(2)):
            raise ZeroDivisionError

    command = program(tmp_path, FAMILY + "sleep_for_ever()")
    with pytest.raises(ZeroDivisionError):
        run_job(command, JobSettings(num_ranks=2), run=tmp_path / "fit", tick=tick)
    assert eventually(lambda: not any(map(is_running, numbers(tmp_path, ["rank0", "rank1", "child0", "child1"]))))


def test_launcher_that_is_killed_leaves_nobody_behind(tmp_path: Path) -> None:
    command = program(
        tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAMILY + '(here / f"up{rank}").touch()\nsleep_for_ever()'
    )
    launcher = f"from unscatter.launch import *; run_job({command!r}, JobSettings(num_ranks=2), run={str(tmp_path / 'fit')!r})"
    process = subprocess.Popen([sys.executable, "-c", launcher])
    assert eventually(lambda: (tmp_path / "up0").exists() and (tmp_path / "up1").exists(), within_s=60)
    family = numbers(tmp_path, ["rank0", "rank1", "child0", "child1"])
    assert all(map(is_running, family))
    process.kill()
    process.wait()
    assert eventually(lambda: not any(map(is_running, family)))


def test_rank_ends_with_its_launcher_even_without_the_watcher(tmp_path: Path) -> None:
    start = (
        "import os, subprocess, sys, time\n"
        f"rank = subprocess.Popen([sys.executable, '-I', '-S', {guard.__file__!r}, str(os.getpid()), *{COMMAND!r}])\n"
        "print(rank.pid, flush=True)\n"
        "while not os.path.exists('up'): time.sleep(0.01)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", start], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert eventually(lambda: not is_running(int(done.stdout)))
