"""Jobs for Slurm, written and submitted through submitit."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unscatter.errors import ExchangeError, MissingExtraError, RunError, SettingsError
from unscatter.files import write_failure

_TIME = re.compile(r"\d+|\d+:\d\d(:\d\d)?|\d+-\d+(:\d\d){0,2}")
#: Seconds before the time limit at which ranks are asked to stop, so that they leave a checkpoint.
_STOP_BEFORE_S = 120


@dataclass(frozen=True, kw_only=True)
class SlurmSettings:
    """What a job asks Slurm for."""

    nodes: int = 1
    """Nodes."""
    ranks_per_node: int = 1
    """Processes per node; as many as GPUs where there are any."""
    time: str = "60"
    """Time limit as Slurm takes it: minutes, ``hours:minutes:seconds`` or ``days-hours``."""
    partition: str | None = None
    """Partition; that of the cluster when None."""
    gpus_per_node: int | None = None
    """GPUs per node."""
    cpus_per_rank: int | None = None
    """Cores per process."""
    options: Mapping[str, str] = field(default_factory=dict)
    """More options of ``sbatch`` by their long names, for instance the account."""

    def __post_init__(self) -> None:
        if not _TIME.fullmatch(self.time):
            raise SettingsError(
                f"'--time {self.time}' is not a time limit of Slurm.\n"
                "Write minutes (90), hours:minutes:seconds (1:30:00) or days-hours (2-12)."
            )
        if self.gpus_per_node is not None and self.gpus_per_node != self.ranks_per_node:
            raise SettingsError(
                f"{self.ranks_per_node} ranks and {self.gpus_per_node} GPUs per node: one process per GPU, so both are the same.\n"
                f"Write: --ranks-per-node {self.gpus_per_node} --gpus-per-node {self.gpus_per_node}"
            )

    @property
    def num_ranks(self) -> int:
        """Ranks of the job."""
        return self.nodes * self.ranks_per_node


def job_script(arguments: Sequence[str], settings: SlurmSettings, *, name: str, folder: Path) -> str:
    """The batch script of a job.

    Args:
        arguments: of the command ``unscatter`` that every rank runs.
        settings: what the job asks for.
        name: of the job, as the queue shows it.
        folder: for the logs of the job.

    Raises:
        MissingExtraError: submitit is not installed.
    """
    return _submitit()._make_sbatch_string(command=_command(arguments), folder=folder, **_parameters(settings, name))


def submit_job(arguments: Sequence[str], settings: SlurmSettings, *, name: str, folder: Path) -> str:
    """Submit a job; returns its number.

    Args:
        arguments: of the command ``unscatter`` that every rank runs.
        settings: what the job asks for.
        name: of the job, as the queue shows it.
        folder: for the script and the logs of the job; on a file system that all nodes share.

    Raises:
        MissingExtraError: submitit is not installed.
        ExchangeError: there is no Slurm here, or it refuses the job.
        RunError: the folder cannot be written.
    """
    slurm = _submitit()
    try:
        executor = slurm.SlurmExecutor(folder=folder)
        folder.mkdir(parents=True, exist_ok=True)
        executor.update_parameters(**_parameters(settings, name))
        return executor._submit_command(_command(arguments)).job_id
    except OSError as error:
        raise RunError(write_failure(folder, error)) from error
    except (RuntimeError, slurm.utils.FailedJobError) as error:
        reason = " ".join(str(error).split())
        raise ExchangeError(f"the job could not be submitted: {reason}\nTo see its script: add --dry-run") from error


def _submitit() -> Any:
    try:
        from submitit.slurm import slurm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("jobs are submitted through submitit, which is not installed: pip install 'unscatter[slurm]'") from error
    return slurm


def _command(arguments: Sequence[str]) -> str:
    return shlex.join([sys.executable, "-m", "unscatter.cli", *arguments])


def _parameters(settings: SlurmSettings, name: str) -> dict[str, Any]:
    parameters = {
        "job_name": name,
        "nodes": settings.nodes,
        "ntasks_per_node": settings.ranks_per_node,
        "cpus_per_task": settings.cpus_per_rank,
        "gpus_per_node": settings.gpus_per_node,
        "partition": settings.partition,
        "setup": [
            # Random for every job, and never in a file: see unscatter.exchange.environment.
            "export UNSCATTER_SECRET=$(head -c 32 /dev/urandom | base64 -w 0)",
            "export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}",
            # From Slurm 22.05 on srun does not take this over from sbatch by itself.
            'if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi',
        ],
        # Ranks that are left end by themselves, after a checkpoint or without the lost one; srun would kill them.
        "srun_args": ["--kill-on-bad-exit=0"],
        "stderr_to_stdout": True,
        # Instead of a signal of submitit that an ordinary program dies of.
        "additional_parameters": {"time": settings.time, "signal": f"TERM@{_STOP_BEFORE_S}", **settings.options},
    }
    # A key of submitit's own would be refused by clusters that know theirs only.
    return {key: value for key, value in parameters.items() if value is not None} | {"wckey": None}
