"""Which rank this process is, read from the variables that its launcher has set.

====================  ========================================================  =======================================================
launcher              recognised by                                             rendezvous
====================  ========================================================  =======================================================
``unscatter``         ``UNSCATTER_RANK``, ``UNSCATTER_SIZE``                    kept by the launcher, which outlives every rank
``torchrun``          ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR/PORT``            kept by the agent where it says so, else by rank 0
``mpiexec``, ``pbs``  ``PMI_RANK``, ``OMPI_COMM_WORLD_RANK`` and the like       kept by rank 0; ``MASTER_ADDR/PORT`` where several nodes
                                                                                cannot be told otherwise
``srun``              ``SLURM_PROCID`` inside a step                            kept by rank 0, on the first node of the step
====================  ========================================================  =======================================================

The innermost launcher counts: torchrun or mpiexec may themselves have been started by srun.  In the shell of a batch job, where
``SLURM_NTASKS`` is set but no step has been started, a process is one process and not a rank.

**What protects what.**  Ranks prove to one another that they know the secret of the job.  ``UNSCATTER_SECRET`` is taken where it is set:
the launcher of `unscatter` makes a random one and hands it to its sub-processes, whose environment only the same user can read, and
``unscatter submit`` and the templates in ``examples/`` set a random one that srun, torchrun and mpiexec pass on.  Without it the secret is
derived from the name of the job and the number of the user: that keeps jobs apart that reach one another by mistake, but keeps out nobody
who can read the queue.  The rendezvous itself asks for no secret: whoever reaches its port can read what ranks write there, so that it
never holds one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from unscatter.errors import ExchangeError
from unscatter.exchange.hosts import expand_counts, expand_hosts
from unscatter.exchange.processes import nearest_ancestor

#: Ports of a rendezvous are derived from the job: below those that Linux hands out by itself (32768 and up).
_FIRST_PORT, _NUM_PORTS = 20000, 10000
#: Slurm numbers its batch, interactive and external steps from here on; their shells are no ranks.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0
#: Processes of MPI implementations that start the ranks of one node.
_MPI_STARTERS = ("hydra_pmi_proxy", "mpiexec", "mpiexec.hydra", "mpirun", "prted", "prterun", "orted", "orterun")


class WorldFacts(TypedDict):
    """Fields of a :class:`~unscatter.exchange.World`."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    node: int
    address: str
    port: int
    hosts_rendezvous: bool
    launcher: str
    job: str
    secret: str


def recognise(environ: Mapping[str, str]) -> WorldFacts | None:
    """The fields of the world that the variables of a launcher describe; None where no launcher is recognised.

    Args:
        environ: the variables of this process.

    Raises:
        ExchangeError: variables contradict one another, or some are missing; the message names them and says what to set.
    """
    variables = _Variables(environ)
    for reader in (_unscatter, _torchrun, _srun, _mpi):
        facts = reader(variables)
        if facts is not None:
            _check(variables, facts)
            return facts
    return None


@dataclass(frozen=True)
class _Variables:
    """Variables with a type."""

    environ: Mapping[str, str]

    def text(self, *names: str) -> str | None:
        """The first one that is set and not empty."""
        return next((self.environ[name] for name in names if self.environ.get(name)), None)

    def number(self, *names: str) -> int | None:
        """The first one that is set, as a whole number."""
        name = next((name for name in names if self.environ.get(name)), None)
        if name is None:
            return None
        try:
            return int(self.environ[name])
        except ValueError:
            raise ExchangeError(f"{name} is '{self.environ[name]}', not a whole number. Set it right, or unset it.") from None

    def needed(self, *names: str, because: str) -> int:
        """The first one that is set, which one has to be."""
        found = self.number(*names)
        if found is None:
            raise ExchangeError(f"{because}, but {' or '.join(names)} is not. Set it, or unset the others to run as a single process.")
        return found


def _unscatter(environ: _Variables) -> WorldFacts | None:
    rank = environ.number("UNSCATTER_RANK")
    if rank is None:
        return None
    because = f"UNSCATTER_RANK={rank} is set"
    size = environ.needed("UNSCATTER_SIZE", because=because)
    port = environ.needed("UNSCATTER_PORT", because=because)
    job = environ.text("UNSCATTER_JOB") or f"unscatter-{port}"
    return WorldFacts(
        rank=rank, size=size,
        local_rank=_or(environ.number("UNSCATTER_LOCAL_RANK"), rank), local_size=_or(environ.number("UNSCATTER_LOCAL_SIZE"), size),
        node=_or(environ.number("UNSCATTER_NODE"), 0), address=environ.text("UNSCATTER_ADDRESS") or "127.0.0.1", port=port,
        hosts_rendezvous=False, launcher="unscatter", job=job, secret=_secret(environ, job),
    )  # fmt: skip


def _torchrun(environ: _Variables) -> WorldFacts | None:
    rank, size = environ.number("RANK"), environ.number("WORLD_SIZE")
    if rank is None and size is None:
        return None
    rank = environ.needed("RANK", because=f"WORLD_SIZE={size} is set")
    size = environ.needed("WORLD_SIZE", because=f"RANK={rank} is set")
    because = f"RANK={rank} and WORLD_SIZE={size} are set"
    address = environ.text("MASTER_ADDR")
    if address is None:
        raise ExchangeError(
            f"{because}, but MASTER_ADDR is not. Set it to a name of the node of rank 0, or start the ranks with torchrun.\n"
            "To run as a single process: unset RANK WORLD_SIZE"
        )
    port = environ.needed("MASTER_PORT", because=because)
    local = _local(environ, rank, size, environ.number("LOCAL_RANK"), environ.number("LOCAL_WORLD_SIZE"))
    job = _torchrun_job(environ, port)
    return WorldFacts(
        rank=rank, size=size, local_rank=local[0], local_size=local[1], node=_or(environ.number("GROUP_RANK"), local[2]),
        address=address, port=port,
        hosts_rendezvous=rank == 0 and environ.text("TORCHELASTIC_USE_AGENT_STORE") != "True",
        launcher="torchrun", job=job, secret=_secret(environ, job),
    )  # fmt: skip


def _torchrun_job(environ: _Variables, port: int) -> str:
    """Changes with every restart, since the agent's board outlives the ranks and still holds what the last ones wrote."""
    name = f"torchrun-{environ.text('TORCHELASTIC_RUN_ID') or 'none'}-{port}"
    # Agents of several nodes count their restarts each for themselves, so that their numbers cannot be part of a common name.
    if environ.number("GROUP_WORLD_SIZE") == 1:
        name += f"-{_or(environ.number('TORCHELASTIC_RESTART_COUNT'), 0)}"
    return name


def _srun(environ: _Variables) -> WorldFacts | None:
    step = environ.number("SLURM_STEP_ID", "SLURM_STEPID")
    if step is None or step >= _FIRST_SPECIAL_STEP or environ.number("SLURM_PROCID") is None:
        return None
    because = f"SLURM_STEP_ID={step} is set"
    rank = environ.needed("SLURM_PROCID", because=because)
    size = environ.needed("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS", because=because)
    ranks_of_mpi = _mpi_ranks(environ)
    # With srun --mpi=pmi2 both say the same; mpiexec in a job has srun start one helper per node, whose variables the ranks inherit.
    if ranks_of_mpi is not None and ranks_of_mpi[:2] != (rank, size):
        return None
    node = _or(environ.number("SLURM_NODEID"), 0)
    hosts = _hosts(environ)
    local_size = _slurm_local_size(environ, node)
    local = _local(environ, rank, size, environ.number("SLURM_LOCALID"), size if len(hosts) == 1 else local_size)
    job = f"slurm-{environ.needed('SLURM_JOB_ID', 'SLURM_JOBID', because=because)}-{step}"
    return WorldFacts(
        rank=rank, size=size, local_rank=local[0], local_size=local[1], node=node,
        address=_address(environ, hosts, alone=local[1] == size, because=because), port=_port(environ, job),
        hosts_rendezvous=rank == 0, launcher="srun", job=job, secret=_secret(environ, job),
    )  # fmt: skip


def _slurm_local_size(environ: _Variables, node: int) -> int | None:
    text = environ.text("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE")
    if text is None:
        return None
    try:
        counts = expand_counts(text)
    except ValueError as error:
        raise ExchangeError(f"SLURM_STEP_TASKS_PER_NODE: {error}.") from None
    return counts[node] if node < len(counts) else None


def _mpi(environ: _Variables) -> WorldFacts | None:
    ranks = _mpi_ranks(environ)
    if ranks is None:
        return None
    rank, size, because = ranks
    local_rank = environ.number(
        "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_LOCAL_RANK", "PALS_LOCAL_RANKID", "MV2_COMM_WORLD_LOCAL_RANK"
    )
    local_size = environ.number(
        "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", "PALS_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"
    )
    local = _local(environ, rank, size, local_rank, local_size)
    job = _mpi_job(environ, alone=local[1] == size)
    launcher = "mpiexec" if environ.text("PBS_JOBID") is None else "pbs"
    return WorldFacts(
        rank=rank, size=size, local_rank=local[0], local_size=local[1], node=_or(environ.number("PALS_NODEID"), local[2]),
        address=_address(environ, _hosts(environ), alone=local[1] == size, because=because), port=_port(environ, job),
        hosts_rendezvous=rank == 0, launcher=launcher, job=job, secret=_secret(environ, job),
    )  # fmt: skip


_MPI_VARIABLES = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, Cray
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),  # MVAPICH
)


def _mpi_ranks(environ: _Variables) -> tuple[int, int, str] | None:
    """Rank, size, and the variables that say so."""
    found: dict[tuple[int, int], str] = {}
    for rank_name, size_name in _MPI_VARIABLES:
        rank = environ.number(rank_name)
        if rank is not None:
            size = environ.needed(size_name, because=f"{rank_name}={rank} is set")
            found.setdefault((rank, size), f"{rank_name}={rank} and {size_name}={size}")
    if len(found) > 1:
        raise ExchangeError(
            f"two MPI launchers contradict one another: {' but '.join(found.values())}.\n"
            "Start the ranks with the mpiexec of one MPI only, and unset what the other one has left behind."
        )
    return next(((rank, size, f"{text} are set") for (rank, size), text in found.items()), None)


def _mpi_job(environ: _Variables, *, alone: bool) -> str:
    """The batch job and the start within it: a batch job may call mpiexec more than once at the same time."""
    batch = environ.text("PBS_JOBID", "SLURM_JOB_ID", "LSB_JOBID")
    start = environ.text("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PALS_APID")
    if start is None and alone:
        # On a single node the ranks have the process in common that has started them.
        start = str(nearest_ancestor(_MPI_STARTERS))
    if start is None and batch is not None:
        # Of the helpers that mpiexec has started on all nodes together.
        start = environ.text("SLURM_STEP_ID")
    return "-".join(["mpi", *(part for part in (batch, start) if part is not None)])


def _local(environ: _Variables, rank: int, size: int, local_rank: int | None, local_size: int | None) -> tuple[int, int, int]:
    """Local rank, local size and node; where the launcher does not tell, nodes are taken to be filled one after the other."""
    if local_size is None:
        # Only one node is known, or none: all ranks are on it.  Otherwise as many as fit evenly.
        num_nodes = max(len(_hosts(environ)), 1)
        local_size = -(-size // num_nodes)
    if local_rank is None:
        local_rank = rank % local_size
    return local_rank, local_size, rank // local_size


def _hosts(environ: _Variables) -> tuple[str, ...]:
    """The nodes of the job in their order, the one of rank 0 first; none where nothing tells."""
    nodes = environ.text("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    if nodes is not None:
        try:
            return expand_hosts(nodes)
        except ValueError as error:
            raise ExchangeError(f"SLURM_STEP_NODELIST: {error}.") from None
    file = environ.text("PBS_NODEFILE")
    if file is None:
        return ()
    try:
        with open(file, encoding="utf-8") as lines:
            return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    except OSError as error:
        # PBS writes the file on the first node only.
        if environ.text("MASTER_ADDR") is not None:
            return ()
        raise ExchangeError(
            f"PBS_NODEFILE is '{file}', which cannot be read here: {error.strerror}.\n"
            "Set the node of rank 0 in the job's script: export MASTER_ADDR=$(head -n 1 $PBS_NODEFILE)"
        ) from error


def _address(environ: _Variables, hosts: tuple[str, ...], *, alone: bool, because: str) -> str:
    given = environ.text("MASTER_ADDR")
    if given is not None:
        return given
    # A node need not know itself by the name that the batch system uses.
    if alone:
        return "127.0.0.1"
    if hosts:
        return hosts[0]
    raise ExchangeError(
        f"{because}, and ranks run on several nodes, but nothing says on which one rank 0 runs.\n"
        "Set a name or address of that node for all ranks, as in: export MASTER_ADDR=node1 MASTER_PORT=29500"
    )


def _port(environ: _Variables, job: str) -> int:
    given = environ.number("MASTER_PORT")
    return _FIRST_PORT + int(hashlib.sha256(job.encode()).hexdigest(), 16) % _NUM_PORTS if given is None else given


def _secret(environ: _Variables, job: str) -> str:
    return environ.text("UNSCATTER_SECRET") or hashlib.sha256(f"unscatter/{os.getuid()}/{job}".encode()).hexdigest()


def _check(environ: _Variables, facts: WorldFacts) -> None:
    rank, size = facts["rank"], facts["size"]
    said = f"{facts['launcher']} says rank {rank} of {size} ({_names_of_rank(environ, facts['launcher'])})"
    if not 0 <= rank < size:
        raise ExchangeError(
            f"{said}, but ranks are counted from 0 to {max(size - 1, 0)}.\n"
            "Start the ranks again with their launcher, or unset these variables to run as a single process."
        )
    local_rank, local_size = facts["local_rank"], facts["local_size"]
    if not 0 <= local_rank < local_size <= size:
        raise ExchangeError(
            f"{said}, but also local rank {local_rank} of {local_size} on its node: these contradict one another.\n"
            "Variables of two launchers are mixed: unset those of the outer one, or set all of one launcher."
        )
    if size > 1 and not 0 < facts["port"] < 65536:
        raise ExchangeError(f"port {facts['port']} of the rendezvous is impossible. Choose another one: MASTER_PORT=29500")


def _names_of_rank(environ: _Variables, launcher: str) -> str:
    names = {"unscatter": "UNSCATTER_RANK, UNSCATTER_SIZE", "torchrun": "RANK, WORLD_SIZE", "srun": "SLURM_PROCID, SLURM_NTASKS"}
    return names.get(launcher) or next(f"{rank}, {size}" for rank, size in _MPI_VARIABLES if environ.text(rank))


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
