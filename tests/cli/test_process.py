"""What only a real process shows: signals, a terminal, and how long help takes to load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from unscatter.runcards import load_runcard, resume_run, start_run
from unscatter.runs import RunDirectory

CARD = """
problem: {name: proxy2d, nodes: 17}
events: {simulate: {num_events: 500}}
method: {num_events: 64, discriminator: {hidden: [8]}}
solve: {steps: 150, max_rounds: 1, log_every: 3, checkpoint_every: 1000, diagnose: false}
"""


def test_help_needs_no_torch() -> None:
    code = "import sys, unscatter, unscatter.cli.app; unscatter.__all__; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_run_stopped_by_sigterm_and_resumed_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(CARD)
    whole = start_run(load_runcard(tmp_path / "card.yaml"), path=tmp_path / "whole")
    command = [sys.executable, "-m", "unscatter.cli", "solve", "card.yaml", "--run", "fit"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    metrics = tmp_path / "fit" / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.read_bytes().count(b"\n") >= 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    assert process.returncode == 143, stderr
    assert "Stopped by SIGTERM after step" in stderr
    assert "unscatter resume fit" in stderr
    assert (stdout, "Traceback" in stderr) == ("", False)
    run = RunDirectory.open(tmp_path / "fit")
    assert 6 <= run.load_checkpoint().step < 150
    assert list(run.result.iterdir()) == []
    assert resume_run(run.path).parameters == whole.parameters
    assert len(run.read_metrics()) == 50
