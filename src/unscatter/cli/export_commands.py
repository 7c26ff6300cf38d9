"""Commands that write results for other programs: ``unscatter export lhapdf``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

# PyTorch takes seconds to import, and help needs none of it: the commands import what they need when they run.

export_app = typer.Typer(name="export", no_args_is_help=True, help="Write the result of a run for other programs.")


@export_app.callback()
def _export() -> None:
    """Write the result of a run for other programs."""


@export_app.command()
def lhapdf(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run of the problem 'dis'.", show_default=False)],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the new set.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the folder of the set is made.")] = Path(),
    authors: Annotated[str, typer.Option(metavar="TEXT", help="Who made the set.", show_default=False)] = "",
    reference: Annotated[str, typer.Option(metavar="TEXT", help="Where it is described.", show_default=False)] = "",
) -> None:
    """Write the parton densities of a fit as a set for LHAPDF.

    Member 0 is the mean, members 1, 2, ... are the replicas, at 100 nodes in x and 37 in Q from the starting scale up.  Nothing is
    written over.
    """
    from unscatter.cli.notes import as_command

    as_command(_export_lhapdf)(run, name, output, authors, reference)


def _export_lhapdf(path: Path, name: str, output: Path, authors: str, reference: str) -> None:
    from unscatter.errors import RunError, SettingsError
    from unscatter.files import quoted
    from unscatter.report.lhapdf import export_lhapdf
    from unscatter.runcards import load_runcard
    from unscatter.runs import RunDirectory

    if Path(name).name != name:
        place = Path(name)
        raise SettingsError(f"'--name {name}' is a path, not a name. Write --output {quoted(place.parent)} --name {quoted(place.name)}.")
    run = RunDirectory.open(path)
    if not run.resolved_runcard.is_file():
        raise RunError(
            f"the run '{run.path}' was started without a runcard, so nothing says what it fits.\n"
            "Export it from Python: unscatter.report.lhapdf.export_lhapdf(run, problem, folder)."
        )
    folder = export_lhapdf(run, load_runcard(run.resolved_runcard).build_problem(), output / name, authors=authors, reference=reference)
    members = len(list(folder.glob("*.dat")))
    sys.stdout.write(f"{folder}: {members} member{'s' if members > 1 else ''}\n")
    sys.stdout.write(f"For LHAPDF: export LHAPDF_DATA_PATH={quoted(folder.parent)}\n")
