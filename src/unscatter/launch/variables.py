"""What each rank of a local job finds in its environment."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


def new_job_name() -> str:
    """A name that no other job has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


@dataclass(frozen=True, kw_only=True)
class JobVariables:
    """What the ranks of a local job have to know.

    Args:
        num_ranks: processes of the job.
        port: of the rendezvous, which the launcher keeps.
        logs: directory where ranks say how they are until the run directory exists.
        gpus: names of the GPUs, as in ``CUDA_VISIBLE_DEVICES``; ranks take them in turn.
        job: name of the job.
        secret: what connections between ranks must know.

    Example:
        >>> variables = JobVariables(num_ranks=4, port=29500, logs=Path("logs"), gpus=("0", "1"))
        >>> found = variables.of_rank(3, {"HOME": "/home/me"}, num_cores=8)
        >>> found["UNSCATTER_RANK"], found["CUDA_VISIBLE_DEVICES"], found["OMP_NUM_THREADS"], found["HOME"]
        ('3', '1', '2', '/home/me')
    """

    num_ranks: int
    port: int
    logs: Path
    gpus: Sequence[str] = ()
    job: str = field(default_factory=new_job_name)
    secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

    def of_rank(self, rank: int, environ: Mapping[str, str] = os.environ, *, num_cores: int | None = None) -> dict[str, str]:
        """The environment of one rank.

        Args:
            rank: which, from 0.
            environ: the environment of the launcher, which the rank inherits.
            num_cores: cores that the ranks share; those that this process may use when None.
        """
        cores = len(os.sched_getaffinity(0)) if num_cores is None else num_cores
        variables = {
            # Several ranks with a thread per core each would take the cores from one another.
            "OMP_NUM_THREADS": str(max(1, cores // self.num_ranks)),
            **environ,
            "UNSCATTER_RANK": str(rank),
            "UNSCATTER_SIZE": str(self.num_ranks),
            "UNSCATTER_LOCAL_RANK": str(rank),
            "UNSCATTER_LOCAL_SIZE": str(self.num_ranks),
            "UNSCATTER_NODE": "0",
            "UNSCATTER_ADDRESS": "127.0.0.1",
            "UNSCATTER_PORT": str(self.port),
            "UNSCATTER_JOB": self.job,
            "UNSCATTER_SECRET": self.secret,
            "UNSCATTER_LOGS": str(self.logs.absolute()),
            # A log is read while it is written.
            "PYTHONUNBUFFERED": "1",
        }
        if self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = self.gpus[rank % len(self.gpus)]
        return variables


def visible_gpus(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Names of the GPUs that this process may use, as in ``CUDA_VISIBLE_DEVICES``."""
    import torch

    count = torch.cuda.device_count()
    given = [name.strip() for name in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(given[:count]) if given else tuple(map(str, range(count)))
