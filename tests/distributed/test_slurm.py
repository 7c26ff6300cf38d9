"""The real launch path: a Slurm cluster of four nodes on loopback, srun, sbatch with torchrun, srun with PMI-2, mpiexec in a job."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from unscatter.exchange import World

CLUSTER = Path(__file__).with_name("slurm_cluster.sh")
#: Debian keeps the daemons where ordinary users do not look.
SEARCH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
MISSING = [name for name in ("srun", "slurmctld", "slurmd", "munged") if shutil.which(name, path=SEARCH) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; on Debian: apt-get install slurm-wlm munge")

#: A rank that leaves its environment behind and is gone: starts without site packages, in no time.
LEAVE_ENVIRONMENT = "import json, os, sys; open(f'{sys.argv[1]}/{os.getpid()}.json', 'w').write(json.dumps(dict(os.environ)))"
JOIN = """
from unscatter.exchange import World
from unscatter.exchange.rendezvous import Rendezvous
world = World.from_environment()
board = Rendezvous.join(world, timeout_s=60)
board.put(f"here/{world.rank}", world.secret.encode())
met = [board.get(f"here/{rank}").decode() == world.secret for rank in range(world.size)]
board.count("done")
while world.hosts_rendezvous and board.store.add("done", 0) < world.size:
    pass
print(world.rank, world.node, met, flush=True)
"""


def free_ports(number: int) -> int:
    """The first of some free ports in a row."""
    for first in range(17000, 19000, 10):
        sockets = [socket.socket() for _ in range(number)]
        try:
            for offset, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + offset))
        except OSError:
            continue
        else:
            return first
        finally:
            for one in sockets:
                one.close()
    pytest.fail("no free ports")


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """The environment in which commands of Slurm find the cluster."""
    # Names of sockets are short.
    directory = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    environ = {**os.environ, "PATH": SEARCH, "SLURM_TEST_PORT": str(free_ports(5)), "SLURM_CONF": str(directory / "slurm.conf")}
    # Nodes of this cluster have no names of their own on the network.
    environ["MASTER_ADDR"] = "127.0.0.1"
    try:
        subprocess.run(["bash", CLUSTER, "start", directory], env=environ, check=True, timeout=60)
        yield environ
    finally:
        subprocess.run(["bash", CLUSTER, "stop", directory], env=environ, check=True, timeout=60)
        shutil.rmtree(directory)


def worlds(directory: Path) -> list[World]:
    """What the ranks that left their environments in a directory take themselves for."""
    found = [World.from_environment(json.loads(file.read_text())) for file in directory.iterdir()]
    return sorted(found, key=lambda world: world.rank)


def places(directory: Path) -> list[tuple[str, int, int, int, int, int]]:
    return [(world.launcher, world.rank, world.size, world.local_rank, world.local_size, world.node) for world in worlds(directory)]


def test_ranks_of_srun_on_two_nodes_meet_and_share_a_secret(cluster: dict[str, str]) -> None:
    command = ["srun", "--nodes=2", "--ntasks-per-node=1", sys.executable, "-c", JOIN]
    done = subprocess.run(command, env=cluster, capture_output=True, text=True, timeout=100, check=True)
    assert sorted(done.stdout.splitlines()) == ["0 0 [True, True]", "1 1 [True, True]"]


def test_ranks_are_recognised_however_a_batch_job_starts_them(cluster: dict[str, str], tmp_path: Path) -> None:
    for name in ("shell", "srun", "pmi2", "torchrun"):
        (tmp_path / name).mkdir()
    (tmp_path / "leave.py").write_text(LEAVE_ENVIRONMENT)
    leave = f"{sys.executable} -S {tmp_path}/leave.py"
    script = f"""#!/bin/bash
trap 'touch {tmp_path}/ended' EXIT
{leave} {tmp_path}/shell
srun --ntasks=3 {leave} {tmp_path}/srun
srun --mpi=pmi2 {leave} {tmp_path}/pmi2
srun --ntasks=2 --ntasks-per-node=1 {sys.executable} -m torch.distributed.run --nnodes=2 --nproc-per-node=2 --rdzv-backend=c10d \\
    --rdzv-endpoint=127.0.0.1:{free_ports(1)} --rdzv-id=$SLURM_JOB_ID {tmp_path}/leave.py {tmp_path}/torchrun
"""
    (tmp_path / "job.sh").write_text(script)
    command = ["sbatch", "--nodes=2", "--ntasks-per-node=2", f"--output={tmp_path}/job.log", str(tmp_path / "job.sh")]
    subprocess.run(command, env=cluster, capture_output=True, timeout=60, check=True)
    # sbatch --wait looks after 2, 6, 12, 20, 30 and 42 s.
    end = time.monotonic() + 90
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < end, (tmp_path / "job.log").read_text()
        time.sleep(0.1)
    assert places(tmp_path / "shell") == [("none", 0, 1, 0, 1, 0)]
    four = [(0, 4, 0, 2, 0), (1, 4, 1, 2, 0), (2, 4, 0, 2, 1), (3, 4, 1, 2, 1)]
    assert places(tmp_path / "srun") == [("srun", 0, 3, 0, 2, 0), ("srun", 1, 3, 1, 2, 0), ("srun", 2, 3, 0, 1, 1)]
    assert places(tmp_path / "pmi2") == [("srun", *place) for place in four]
    assert [place[:5] for place in places(tmp_path / "torchrun")] == [("torchrun", *place[:4]) for place in four]
    for name in ("srun", "pmi2", "torchrun"):
        found = worlds(tmp_path / name)
        assert len({(world.job, world.port, world.secret) for world in found}) == 1
    assert worlds(tmp_path / "srun")[0].job != worlds(tmp_path / "pmi2")[0].job
