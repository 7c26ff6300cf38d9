"""Which rank a process is: variables of real launchers, recorded, and what must be refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from unscatter.errors import ExchangeError
from unscatter.exchange import World
from unscatter.exchange.hosts import expand_counts, expand_hosts
from unscatter.exchange.processes import nearest_ancestor

LOCAL = {
    "UNSCATTER_RANK": "1", "UNSCATTER_SIZE": "4", "UNSCATTER_LOCAL_RANK": "1", "UNSCATTER_LOCAL_SIZE": "4", "UNSCATTER_NODE": "0",
    "UNSCATTER_ADDRESS": "127.0.0.1", "UNSCATTER_PORT": "41234", "UNSCATTER_JOB": "box-17-ab", "UNSCATTER_SECRET": "s3cret",
}  # fmt: skip
# torchrun 2.13, two nodes of two ranks.
TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2",
    "MASTER_ADDR": "node1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "fit7", "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "0",
}  # fmt: skip
# Slurm 22.05: sbatch --nodes 2 --ntasks-per-node 2, srun inside.
BATCH_SHELL = {
    "SLURM_JOB_ID": "812", "SLURM_JOBID": "812", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "nid[008-009]", "SLURM_TASKS_PER_NODE": "2(x2)",
}  # fmt: skip
SRUN = BATCH_SHELL | {
    "SLURM_STEP_ID": "1", "SLURM_STEPID": "1", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "nid[008-009]", "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}  # fmt: skip
SRUN_PMI2 = SRUN | {"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_FD": "11"}
# MPICH 5 and Intel MPI.
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "OMPI_COMM_WORLD_NODE_RANK": "1", "PMIX_NAMESPACE": "prterun-node1-17@1", "PMIX_RANK": "5", "MASTER_ADDR": "node1",
}  # fmt: skip
# Cray PALS under PBS, as on Polaris.
PALS = {
    "PMI_RANK": "6", "PMI_SIZE": "8", "PMI_LOCAL_RANK": "2", "PMI_LOCAL_SIZE": "4", "PALS_RANKID": "6", "PALS_NODEID": "1",
    "PALS_LOCAL_RANKID": "2", "PALS_LOCAL_SIZE": "4", "PALS_APID": "9b1c", "PBS_JOBID": "77.head", "MASTER_ADDR": "x3001",
}  # fmt: skip


def place(world: World) -> tuple[int, int, int, int, int]:
    return world.rank, world.size, world.local_rank, world.local_size, world.node


@pytest.mark.parametrize(
    ("environ", "launcher", "expected", "address", "hosts", "job"),
    [
        ({}, "none", (0, 1, 0, 1, 0), "127.0.0.1", True, ""),
        (LOCAL, "unscatter", (1, 4, 1, 4, 0), "127.0.0.1", False, "box-17-ab"),
        (TORCHRUN, "torchrun", (3, 4, 1, 2, 1), "node1", False, "torchrun-fit7-29500"),
        (SRUN, "srun", (3, 4, 1, 2, 1), "nid008", False, "slurm-812-1"),
        (SRUN_PMI2, "srun", (3, 4, 1, 2, 1), "nid008", False, "slurm-812-1"),
        (BATCH_SHELL, "none", (0, 1, 0, 1, 0), "127.0.0.1", True, ""),
        (HYDRA, "mpiexec", (1, 2, 1, 2, 0), "127.0.0.1", False, None),
        (OPEN_MPI, "mpiexec", (5, 8, 1, 4, 1), "node1", False, "mpi-prterun-node1-17@1"),
        (PALS, "pbs", (6, 8, 2, 4, 1), "x3001", False, "mpi-77.head-9b1c"),
    ],
    ids=["none", "unscatter", "torchrun", "srun", "srun --mpi=pmi2", "sbatch without srun", "mpich", "open mpi", "pals"],
)
def test_launchers_are_recognised(
    environ: dict[str, str], launcher: str, expected: tuple[int, ...], address: str, hosts: bool, job: str | None
) -> None:
    world = World.from_environment(environ)
    assert (world.launcher, place(world), world.address, world.hosts_rendezvous) == (launcher, expected, address, hosts)
    assert job is None or world.job == job
    assert (world.port == 0) == (launcher == "none")


@pytest.mark.parametrize("environ", [SRUN, HYDRA, OPEN_MPI, PALS], ids=["srun", "mpich", "open mpi", "pals"])
def test_rank_0_hosts_the_rendezvous_and_all_ranks_agree_on_job_port_and_secret(environ: dict[str, str]) -> None:
    first = World.from_environment(
        environ | {name: "0" for name in environ if name.endswith(("_RANK", "PROCID", "LOCALID", "NODEID", "RANKID"))}
    )
    other = World.from_environment(environ)
    assert (first.rank, first.hosts_rendezvous, other.hosts_rendezvous) == (0, True, False)
    assert (first.job, first.port, first.secret, first.address) == (other.job, other.port, other.secret, other.address)
    assert 20000 <= other.port < 30000
    assert other.secret


def test_jobs_differ_in_port_and_secret_and_a_given_secret_counts() -> None:
    one, other = World.from_environment(SRUN), World.from_environment(SRUN | {"SLURM_STEP_ID": "2"})
    assert one.secret != other.secret
    assert one.port != other.port
    assert World.from_environment(SRUN | {"UNSCATTER_SECRET": "mine"}).secret == "mine"
    assert World.from_environment(SRUN | {"MASTER_PORT": "4711"}).port == 4711


def test_inner_launcher_counts() -> None:
    assert World.from_environment(SRUN | TORCHRUN).launcher == "torchrun"
    assert World.from_environment(SRUN | TORCHRUN | LOCAL).launcher == "unscatter"
    # mpiexec in a job of two nodes: srun has started one helper on each of them, and the four ranks inherit its variables.
    helper = SRUN | {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}
    world = World.from_environment(helper | {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"})
    assert (world.launcher, place(world), world.address, world.job) == ("mpiexec", (3, 4, 1, 2, 1), "nid008", "mpi-812-1")


@pytest.mark.parametrize("step", ["4294967290", "4294967291", "4294967292"], ids=["interactive", "batch", "extern"])
def test_shells_of_slurm_are_no_ranks(step: str) -> None:
    assert World.from_environment(BATCH_SHELL | {"SLURM_STEP_ID": step}).launcher == "none"


def test_restart_by_torchrun_on_one_node_gets_a_new_name_so_that_it_reads_nothing_stale() -> None:
    one_node = TORCHRUN | {"RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1"}
    jobs = {World.from_environment(one_node | {"TORCHELASTIC_RESTART_COUNT": count}).job for count in "012"}
    assert len(jobs) == 3


def test_ranks_started_by_hand_need_only_the_variables_of_torch() -> None:
    hand = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    world = World.from_environment(hand)
    assert (place(world), world.hosts_rendezvous) == ((0, 2, 0, 2, 0), True)


def test_local_sizes_follow_from_the_nodes_where_the_launcher_does_not_tell(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes"
    nodes.write_text("a.cluster\na.cluster\nb.cluster\nb.cluster\n")
    environ = {"PMI_RANK": "3", "PMI_SIZE": "4", "PBS_JOBID": "77", "PBS_NODEFILE": str(nodes)}
    world = World.from_environment(environ)
    assert (place(world), world.address, world.launcher) == ((3, 4, 1, 2, 1), "a.cluster", "pbs")


def test_uneven_nodes_of_slurm_are_counted_each() -> None:
    uneven = SRUN | {
        "SLURM_NTASKS": "3",
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_PROCID": "2",
        "SLURM_LOCALID": "0",
    }
    assert place(World.from_environment(uneven)) == (2, 3, 0, 1, 1)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"RANK": "1"}, ["RANK=1 is set", "WORLD_SIZE is not"]),
        ({"WORLD_SIZE": "4"}, ["WORLD_SIZE=4 is set", "RANK is not"]),
        ({"RANK": "1", "WORLD_SIZE": "2"}, ["MASTER_ADDR is not", "unset RANK WORLD_SIZE"]),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}, ["MASTER_PORT is not"]),
        (TORCHRUN | {"RANK": "4"}, ["rank 4 of 4", "RANK, WORLD_SIZE", "0 to 3"]),
        (TORCHRUN | {"RANK": "one"}, ["RANK is 'one', not a whole number"]),
        (TORCHRUN | {"LOCAL_RANK": "2"}, ["local rank 2 of 2", "contradict"]),
        (TORCHRUN | {"MASTER_PORT": "70000"}, ["port 70000", "MASTER_PORT=29500"]),
        (LOCAL | {"UNSCATTER_SIZE": ""}, ["UNSCATTER_RANK=1 is set", "UNSCATTER_SIZE is not"]),
        ({"PMI_RANK": "0"}, ["PMI_RANK=0 is set", "PMI_SIZE is not"]),
        (HYDRA | OPEN_MPI, ["PMI_RANK=1 and PMI_SIZE=2", "OMPI_COMM_WORLD_RANK=5 and OMPI_COMM_WORLD_SIZE=8", "one MPI only"]),
        ({name: value for name, value in OPEN_MPI.items() if name != "MASTER_ADDR"}, ["several nodes", "export MASTER_ADDR=node1"]),
        (SRUN | {"SLURM_PROCID": "9"}, ["rank 9 of 4", "SLURM_PROCID, SLURM_NTASKS"]),
        (SRUN | {"SLURM_STEP_NODELIST": "nid[8-"}, ["SLURM_STEP_NODELIST", "'nid[8-'"]),
        (OPEN_MPI | {"PBS_JOBID": "7", "PBS_NODEFILE": "/no", "MASTER_ADDR": ""}, ["PBS_NODEFILE is '/no'", "export MASTER_ADDR="]),
    ],
)  # fmt: skip
def test_contradicting_or_incomplete_variables_are_named(environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ExchangeError) as caught:
        World.from_environment(environ)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("login1", ["login1"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("nid[008-010,100],login1", ["nid008", "nid009", "nid010", "nid100", "login1"]),
        ("rack[0-1]n[1-2].cluster", ["rack0n1.cluster", "rack0n2.cluster", "rack1n1.cluster", "rack1n2.cluster"]),
    ],
)
def test_lists_of_hosts_are_expanded_as_slurm_does(text: str, hosts: list[str]) -> None:
    assert list(expand_hosts(text)) == hosts


@pytest.mark.parametrize("text", ["", "n[1-", "n]1[", "n[3-1]", "n[a-b]", "a,,b", "n[[1]]"])
def test_nonsense_is_no_list_of_hosts(text: str) -> None:
    with pytest.raises(ValueError, match="is not a list of"):
        expand_hosts(text)


def test_counts_per_node() -> None:
    assert expand_counts("2(x3),1") == (2, 2, 2, 1)
    with pytest.raises(ValueError, match="'2x3'"):
        expand_counts("2x3")


def test_nearest_ancestor_is_found_by_name_else_it_is_the_parent() -> None:
    assert nearest_ancestor(()) == os.getppid()
    name = Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    assert nearest_ancestor((name,)) == os.getppid()
    assert sys.platform == "linux"
