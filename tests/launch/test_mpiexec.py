"""Ranks of a real mpiexec."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unscatter.exchange import World

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")

WORLD = """
import dataclasses, json, pathlib, sys
from unscatter.exchange import World
world = World.from_environment()
pathlib.Path(sys.argv[1], f"{world.rank}.json").write_text(json.dumps(dataclasses.asdict(world)))
"""


@pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec here: pip install 'unscatter[mpi]'")
def test_ranks_of_mpiexec_agree_on_their_world_and_differ_from_another_job(tmp_path: Path) -> None:
    jobs: list[list[World]] = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        # Through a shell, as many do: its number differs from rank to rank.
        command = [str(MPIEXEC), "-n", "2", "sh", "-c", f'"{sys.executable}" -c "$0" {tmp_path / name}; true', WORLD]
        subprocess.run(command, check=True, timeout=100)
        jobs.append([World(**json.loads((tmp_path / name / f"{rank}.json").read_text())) for rank in range(2)])
    for first, second in jobs:
        assert (first.rank, second.rank, first.size, second.local_rank, second.local_size) == (0, 1, 2, 1, 2)
        assert (first.job, first.port, first.secret) == (second.job, second.port, second.secret)
        assert (first.launcher, first.hosts_rendezvous, second.hosts_rendezvous) == ("mpiexec", True, False)
    assert jobs[0][0].job != jobs[1][0].job
