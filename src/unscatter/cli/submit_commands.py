"""What ``unscatter submit`` does: check a runcard, then write and submit a job for Slurm."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from unscatter.cli.notes import as_command
from unscatter.errors import SettingsError
from unscatter.files import quoted
from unscatter.launch.slurm import SlurmSettings, job_script, submit_job
from unscatter.runcards import load_runcard
from unscatter.runs import RunDirectory


@as_command
def submit(
    runcard: Path, overrides: Sequence[str], exchange: str | None, path: Path | None, settings: SlurmSettings, *, dry_run: bool
) -> None:
    """Submit a fit, or print the script that would be submitted."""
    if exchange is not None:
        overrides = [*overrides, f"exchange.name={exchange}"]
    card = load_runcard(runcard, overrides)
    run = card.run_path if path is None else path
    RunDirectory.check_free(run)
    changed = [part for override in overrides for part in ("--set", override)]
    arguments = ["solve", str(runcard.absolute()), *changed, "--run", str(run.absolute())]
    # Not inside: a run directory must not exist before the run.
    folder = run.absolute().with_name(f"{run.name}-slurm")
    name = f"unscatter-{run.name}"
    if dry_run:
        sys.stdout.write(job_script(arguments, settings, name=name, folder=folder))
        return
    number = submit_job(arguments, settings, name=name, folder=folder)
    console = Console(highlight=False)
    console.print(
        f"Job {number}: {settings.num_ranks} ranks on {settings.nodes} node{'s' if settings.nodes > 1 else ''}.\n"
        f"queue   squeue --jobs {number}\nlogs    {folder}\nrun     {run}\n"
        f"ranks   unscatter health {quoted(run)}\nstop    scancel {number}",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def named_options(texts: Sequence[str]) -> dict[str, str]:
    """``["account=abc"]`` as a mapping.

    Raises:
        SettingsError: a text without a name and a value.

    Example:
        >>> named_options(["account=abc", "--qos=high"])
        {'account': 'abc', 'qos': 'high'}
    """
    options = {}
    for text in texts:
        name, equals, value = text.removeprefix("--").partition("=")
        if not (name and equals):
            raise SettingsError(f"'--sbatch {text}' is not name=value. Write for example --sbatch account=abc.")
        options[name] = value
    return options
