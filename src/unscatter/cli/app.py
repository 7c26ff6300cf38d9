"""The application: commands, options, help; what they do stands in :mod:`unscatter.cli.commands`."""

from __future__ import annotations

import errno
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unscatter.cli.codes import EPILOG, ExitCode
from unscatter.cli.export_commands import export_app
from unscatter.cli.messages import print_error
from unscatter.cli.table_commands import tables_app
from unscatter.errors import DivergenceError, UnscatterError

# PyTorch takes seconds to import, and help and completion need none of it: the commands import what they need when they run.


class _Group(TyperGroup):
    """Turns errors that users can cause into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UnscatterError as error:
            if ctx.params.get("debug"):
                raise
            print_error(str(error))
            code = ExitCode.GAVE_UP if isinstance(error, DivergenceError) else ExitCode.BAD_INPUT
        except OSError as error:
            # No command can look at such a path, and which one it was is all that there is to say.
            if ctx.params.get("debug") or error.errno != errno.ENAMETOOLONG:
                raise
            print_error(f"'{error.filename}': {error.strerror}. Choose a shorter one.")
            code = ExitCode.BAD_INPUT
        except KeyboardInterrupt:
            print_error("stopped by Ctrl-C.")
            code = ExitCode.INTERRUPTED
        raise typer.Exit(code)


class FileFormat(StrEnum):
    """Formats that events are written in."""

    parquet = "parquet"
    csv = "csv"
    npy = "npy"


class NotFinite(StrEnum):
    """What becomes of rows with values that are not finite."""

    fail = "fail"
    drop = "drop"


class Dtype(StrEnum):
    """Precision of events."""

    float32 = "float32"
    float64 = "float64"


app = typer.Typer(
    name="unscatter",
    cls=_Group,
    help="Solve inverse problems from event data: a generator trained through physics.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

app.add_typer(tables_app)
app.add_typer(export_app)

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Replace a setting of the runcard, as in solve.steps=100; may be repeated."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table; only errors and the exit code.")]
Ranks = Annotated[
    int | None, typer.Option("--ranks", "-r", metavar="N", min=1, help="Run N ranks on this machine, one per GPU where there are any.")
]
ExchangeName = Annotated[
    str | None, typer.Option("--exchange", metavar="NAME", help="How ranks share the generator, as exchange.name in the runcard.")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)]
ProblemOrRuncard = Annotated[
    str, typer.Argument(metavar="PROBLEM|RUNCARD", help="A built-in problem (see 'unscatter problems') or a runcard.", show_default=False)
]


def _show_version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"unscatter {version('unscatter')}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of every error.")] = False,
) -> None:
    """See the help of the application."""


@app.command()
def problems() -> None:
    """List the built-in problems with their parameters and channels."""
    from unscatter.cli import commands

    commands.problems()


@app.command()
def simulate(
    problem: ProblemOrRuncard,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR|FILE", help="A directory for one file per channel, or the file of a single channel."),
    ],
    events: Annotated[int | None, typer.Option("--events", "-n", min=1, help="Recorded events per channel; Poisson when left out.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Fixes the events.  [default: 1]", show_default=False)] = None,
    parameters: Annotated[
        str, typer.Option("--parameters", "-p", metavar="NAME=VALUE,...", help="Parameters; the truth for those that are not named.")
    ] = "",
    overrides: Overrides = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Format of the files; parquet when the output has no ending.")
    ] = None,
) -> None:
    """Make pseudo-data of a problem and write them to new files.

    Nothing is ever written over.
    """
    from unscatter.cli import commands

    commands.simulate(problem, output, events, seed, parameters, overrides or [], None if file_format is None else file_format.value)


@app.command()
def ingest(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCES...", help="Files, patterns in quotes, directories or URLs.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="STORE", help="The new directory.", show_default=False)],
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", "-c", metavar="NAME[=FORMULA]", help="Columns to keep or to make, as 'x,Q=sqrt(Q2)'; all if left out."),
    ] = None,
    weight: Annotated[str | None, typer.Option(metavar="FORMULA", help="Column of the weights, or a formula for them.")] = None,
    cuts: Annotated[
        list[str] | None, typer.Option("--cut", metavar="CONDITION", help="Keep events where it is true, as 'Q2 > 1.7'; may be repeated.")
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--constant", metavar="NAME=NUMBER", help="A number that formulas may name; may be repeated.")
    ] = None,
    units: Annotated[
        list[str] | None, typer.Option("--unit", metavar="NAME=UNIT", help="Unit of a column, kept beside it; may be repeated.")
    ] = None,
    tree: Annotated[str | None, typer.Option(metavar="NAME", help="Tree of ROOT files, group of HDF5 files.")] = None,
    not_finite: Annotated[NotFinite, typer.Option(help="What to do with rows that hold NaN or infinity.")] = NotFinite.fail,
    dtype: Annotated[Dtype, typer.Option(help="Precision of the events.")] = Dtype.float32,
    shuffle: Annotated[int | None, typer.Option(metavar="SEED", min=0, help="Store the events in random order.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", metavar="N", min=1, help="How many work at a time; by default one more than cores.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Convert files of events to an event store, for data larger than memory.

    Nothing is ever written over. An ingest that was stopped goes on when the same command is given again.
    """
    from unscatter.cli import store_commands

    recipe = store_commands.recipe_of(columns or [], weight, cuts or [], constants or [], units or [], not_finite.value, dtype.value)
    store_commands.ingest(sources, output, recipe, tree=tree, workers=workers, shuffle=shuffle, quiet=quiet)


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An event store, or files of events.", show_default=False)],
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte of a store and compare it with its checksum.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known, as JSON.")] = False,
    tree: Annotated[str | None, typer.Option(metavar="NAME", help="Tree of a ROOT file, group of an HDF5 file.")] = None,
) -> None:
    """Show what an event store or a file of events holds."""
    from unscatter.cli import store_commands

    raise typer.Exit(store_commands.inspect(path, tree=tree, verify=verify, as_json=as_json))


@app.command()
def check(problem: ProblemOrRuncard, overrides: Overrides = None) -> None:
    """Try out a problem and read the events of a runcard, without a fit."""
    from unscatter.cli import commands

    raise typer.Exit(commands.check(problem, overrides or []))


@app.command()
def solve(
    runcard: Annotated[Path, typer.Argument(metavar="RUNCARD", help="A YAML file.", show_default=False)],
    overrides: Overrides = None,
    path: Annotated[Path | None, typer.Option("--run", metavar="PATH", help="The new run directory, instead of the runcard's.")] = None,
    ranks: Ranks = None,
    exchange: ExchangeName = None,
    quiet: Quiet = False,
) -> None:
    """Do the fit that a runcard describes, and report on it.

    Ctrl-C ends the fit after the step and leaves a checkpoint; a second Ctrl-C stops at once.  Started by torchrun, srun or mpiexec, this
    is one rank of the job.
    """
    from unscatter.cli import commands

    raise typer.Exit(commands.solve(runcard, overrides or [], path, ranks, exchange, quiet=quiet))


@app.command()
def resume(
    run: RunPath,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another checkpoint than the newest: a path, or a name in checkpoints/.")
    ] = None,
    ranks: Ranks = None,
    quiet: Quiet = False,
) -> None:
    """Go on with an interrupted run; the result is the same as without the interruption."""
    from unscatter.cli import commands

    raise typer.Exit(commands.resume(run, checkpoint, ranks, quiet=quiet))


@app.command()
def health(run: RunPath) -> None:
    """Show how each rank of a run is: steps, staleness, when it was last heard of."""
    from unscatter.cli import health_commands

    raise typer.Exit(health_commands.health(run))


@app.command()
def submit(
    runcard: Annotated[Path, typer.Argument(metavar="RUNCARD", help="A YAML file.", show_default=False)],
    nodes: Annotated[int, typer.Option(metavar="N", min=1, help="Nodes.")] = 1,
    ranks_per_node: Annotated[int, typer.Option(metavar="N", min=1, help="Processes per node, one per GPU.")] = 1,
    time: Annotated[str, typer.Option(metavar="TIME", help="Time limit as Slurm takes it: minutes, or h:mm:ss.")] = "60",
    partition: Annotated[str | None, typer.Option(metavar="NAME", help="Partition; the cluster's when left out.")] = None,
    gpus_per_node: Annotated[int | None, typer.Option(metavar="N", min=1, help="GPUs per node.", show_default=False)] = None,
    cpus_per_rank: Annotated[int | None, typer.Option(metavar="N", min=1, help="Cores per process.", show_default=False)] = None,
    options: Annotated[
        list[str] | None, typer.Option("--sbatch", metavar="NAME=VALUE", help="Another option of sbatch, as account=abc; may be repeated.")
    ] = None,
    overrides: Overrides = None,
    path: Annotated[Path | None, typer.Option("--run", metavar="PATH", help="The new run directory, instead of the runcard's.")] = None,
    exchange: ExchangeName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script and submit nothing.")] = False,
) -> None:
    """Submit the fit of a runcard to Slurm, as a job of many ranks."""
    from unscatter.cli import submit_commands
    from unscatter.launch.slurm import SlurmSettings

    settings = SlurmSettings(
        nodes=nodes, ranks_per_node=ranks_per_node, time=time, partition=partition, gpus_per_node=gpus_per_node,
        cpus_per_rank=cpus_per_rank, options=submit_commands.named_options(options or []),
    )  # fmt: skip
    submit_commands.submit(runcard, overrides or [], exchange, path, settings, dry_run=dry_run)


@app.command()
def report(run: RunPath) -> None:
    """Write the report of a run again, as report.html in its directory."""
    from unscatter.cli import commands

    commands.report(run)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the comparison as an HTML page, too.")
    ] = None,
) -> None:
    """Show runs side by side: parameters, tests, and the settings that differ."""
    from unscatter.cli import commands

    commands.compare(runs, output)


@app.command()
def closure(
    runcard: Annotated[Path, typer.Argument(metavar="RUNCARD", help="A YAML file with pseudo-data.", show_default=False)],
    fits: Annotated[int, typer.Option("--fits", "-n", metavar="N", help="How many fits.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Directory of the test.", show_default=False)],
    level: Annotated[int, typer.Option(metavar="0|1|2", help="0: data without fluctuations, 1: with them, 2: with replicas, too.")] = 2,
    seed: Annotated[int, typer.Option(help="Fixes data and fits.")] = 0,
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Fit pseudo-data again and again, and compare with the truth: bias, variance, coverage.

    The same command goes on with a test that was stopped, or adds fits to it. Nothing is written over.
    """
    from unscatter.cli import closure_commands

    raise typer.Exit(closure_commands.closure(runcard, overrides or [], level, fits, seed, output, quiet=quiet))


@app.command()
def schema() -> None:
    """Print the JSON schema of runcards, for editors that complete and check YAML."""
    from unscatter.cli import commands

    commands.schema()


def main() -> None:
    """Run the command line."""
    app(prog_name="unscatter")
