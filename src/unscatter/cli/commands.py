"""What the commands do: load, call the public API, print."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from unscatter.cli.codes import ExitCode, code_of_fit
from unscatter.cli.local_jobs import own_run, run_ranks
from unscatter.cli.messages import print_warning
from unscatter.cli.notes import as_command
from unscatter.cli.rank_display import rank_display
from unscatter.cli.tables import comparison_view, parameter_table, problem_table, verdict_lines
from unscatter.errors import EventsFileError, SettingsError
from unscatter.events import write_events
from unscatter.exchange import ExchangeSettings, World
from unscatter.files import did_you_mean, quoted
from unscatter.launch.joining import Rank, refuse_ranks, take_part
from unscatter.pipeline import CheckReport, Problem
from unscatter.report import comparison_table, read_record, write_comparison, write_report
from unscatter.runcards import BUILT_IN, Runcard, json_schema, load_runcard, resume_run, start_run
from unscatter.runcards.events import SimulatedEvents, Simulation, complete_parameters
from unscatter.runcards.events import simulate as simulate_events
from unscatter.runs import RunDirectory, open_unfinished
from unscatter.solve import Compared, Fit, count_compared


@as_command
def problems() -> None:
    """List the built-in problems."""
    console = _console()
    for name in BUILT_IN:
        console.print(problem_table(_named(name, []).build_problem()))
    console.print("A problem of your own is a Python function: [bold]problem: {name: python, file: my_problem.py}[/]", markup=True)


@as_command
def simulate(
    problem_or_runcard: str,
    output: Path,
    num_events: int | None,
    seed: int | None,
    parameters: str,
    overrides: Sequence[str],
    file_format: str | None,
) -> None:
    """Make pseudo-data and write them to new files."""
    card = _card(problem_or_runcard, overrides)
    asked = card.events.simulate if isinstance(card.events, SimulatedEvents) else Simulation()
    problem = card.build_problem()
    wanted = asked.num_events if num_events is None else num_events
    _check_number(problem, wanted)
    values = complete_parameters({**asked.parameters, **_named_values(parameters)}, problem)
    made_with = None if values is None else dict(zip(problem.space.names, values, strict=True))
    files = _output_files(problem, output, file_format)
    seed = asked.seed if seed is None else seed
    if asked.fluctuations:
        events = problem.simulate(values, num_events=wanted, seed=seed)
    else:
        events = simulate_events(asked.model_copy(update={"num_events": wanted, "seed": seed}), replace(problem, truth=values))
    console = _console()
    for channel, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_events(events[channel], file, parameters=made_with)
        console.print(f"{file}: {events[channel].num_events:,} events, columns {', '.join(events[channel].columns)}", soft_wrap=True)
    entries = "".join(f"\n  {channel}: {file.absolute()}" for channel, file in files.items())
    console.print(f"For a runcard:\nevents:{entries}", soft_wrap=True)


@as_command
def check(problem_or_runcard: str, overrides: Sequence[str]) -> ExitCode:
    """Try out a problem, and the events of a runcard."""
    card = _card(problem_or_runcard, overrides)
    problem, console = card.build_problem(), _console()
    report = problem.check()
    for line in report.lines():
        console.print(line)
    _warn_of_unused(card)
    # A problem that cannot be solved cannot make pseudo-data either: the same fault would be told twice.
    if _is_runcard(problem_or_runcard) and (report.ok or not isinstance(card.events, SimulatedEvents)):
        job = card.build()
        for channel, events in job.events.items():
            # Prepared as a fit would: events of other beams, or none inside the cuts, are told here and not after a long wait.
            for line in _event_lines(report, channel, events.columns, count_compared(job.problem, channel, events), card):
                console.print(line)
    return ExitCode.FINE if report.ok else ExitCode.NOT_GOOD_ENOUGH


def _event_lines(report: CheckReport, channel: str, columns: Sequence[str], found: Compared, card: Runcard) -> Iterator[str]:
    """What a channel has, beside what the theory makes one expect where numbers of events are fitted."""
    number = f"{found.num_events:,}" + (f" of {found.num_given:,} inside the cuts" if found.num_events < found.num_given else "")
    expected = report.expected_counts.get(channel) if card.method.rates != "off" else None
    beside = "" if expected is None else f"; {expected[0]:,.0f} expected at the start"
    yield f"events '{channel}': {number}, columns {', '.join(columns)}{beside}"
    if expected is not None and (note := report.rate_note(channel, found.sum_of_weights)):
        yield f"note: {note}"


@as_command
def solve(
    runcard: Path, overrides: Sequence[str], path: Path | None, ranks: int | None = None, exchange: str | None = None, *, quiet: bool
) -> int:
    """Do a fit."""
    if str(runcard) in BUILT_IN and not runcard.exists():
        raise SettingsError(
            f"'{runcard}' is a built-in problem, but a fit needs a runcard. Write one with the lines\n"
            f"  problem: {{name: {runcard}}}\n  events: {{simulate: {{num_events: 100_000}}}}"
        )
    if exchange is not None:
        overrides = [*overrides, f"exchange.name={exchange}"]
    card, world = load_runcard(runcard, overrides), World.from_environment()
    if not quiet and world.rank == 0:
        _warn_of_unused(card)
    run = card.run_path if path is None else path
    num_ranks = _ranks_to_start(world, ranks, card)
    if num_ranks > 1:
        RunDirectory.check_free(run)
        settings = [part for override in overrides for part in ("--set", override)]
        return _run_ranks(["solve", str(runcard), *settings, "--run", str(run)], num_ranks, run, card, quiet=quiet)
    same, logs = card.same_everywhere(), run
    if world.size > 1 and card.exchange.name == "none":
        card, run, logs = card.with_seed(card.solve.seed + world.rank), own_run(run, world.rank), own_run(run, 0)
    with take_part(world, card.exchange, logs, same=same) as rank:
        with rank_display(rank, run, _errors(), quiet=quiet) as observers:
            fit = start_run(card, path=run, observers=observers, exchange=rank.exchange)
        return _conclude(fit, rank, RunDirectory.open(run), quiet=quiet)


@as_command
def resume(run: Path, checkpoint: Path | None, ranks: int | None = None, *, quiet: bool) -> int:
    """Go on with a run."""
    directory, world = open_unfinished(run), World.from_environment()
    card = load_runcard(directory.resolved_runcard) if directory.resolved_runcard.is_file() else None
    if card is not None and card.exchange.name == "none":
        _refuse_shared_resume(run, max(ranks or 1, world.size))
        ranks = 1
    num_ranks = _ranks_to_start(world, ranks, card)
    if num_ranks > 1:
        where = [] if checkpoint is None else ["--checkpoint", str(checkpoint)]
        return _run_ranks(["resume", str(run), *where], num_ranks, run, card, quiet=quiet)
    settings, same = (ExchangeSettings(), {}) if card is None else (card.exchange, card.same_everywhere())
    with take_part(world, settings, run, same=same) as rank:
        with rank_display(rank, run, _errors(), quiet=quiet) as observers:
            fit = resume_run(run, checkpoint=checkpoint, observers=observers, exchange=rank.exchange)
        return _conclude(fit, rank, RunDirectory.open(run), quiet=quiet)


def _refuse_shared_resume(run: Path, num_ranks: int) -> None:
    """Every fit of ranks that share nothing goes on by itself."""
    if num_ranks > 1:
        raise SettingsError(
            f"'{run}' is a fit of one rank that shares nothing with others ('exchange: none'), and cannot go on with {num_ranks}.\n"
            f"Resume each of them by itself: unscatter resume {quoted(run)}"
        )


def _ranks_to_start(world: World, asked: int | None, card: Runcard | None) -> int:
    """How many ranks this process has to start; none where it is one itself."""
    if asked is not None:
        refuse_ranks(world, asked)
    in_runcard = None if card is None else card.exchange.ranks
    return 1 if world.size > 1 else asked or in_runcard or 1


def _run_ranks(arguments: Sequence[str], num_ranks: int, run: Path, card: Runcard | None, *, quiet: bool) -> int:
    name = ExchangeSettings().name if card is None else card.exchange.name
    return run_ranks([*arguments, *(["--quiet"] if quiet else [])], num_ranks, run=run, exchange=name, quiet=quiet)


@as_command
def report(run: Path) -> None:
    """Write the report of a run, and say what the run directory lacks."""
    directory = RunDirectory.open(run)
    _console().print(str(write_report(directory)), soft_wrap=True)
    for text in read_record(directory).missing():
        warnings.warn(f"the report is without {text}.", UserWarning, stacklevel=1)


@as_command
def compare(runs: Sequence[Path], output: Path | None) -> None:
    """Show runs side by side."""
    if output is not None:
        _refuse_existing(output)
    directories = [RunDirectory.open(run) for run in runs]
    console = _console()
    console.print(comparison_view(comparison_table(directories)))
    if output is not None:
        console.print(str(write_comparison(directories, output)), soft_wrap=True)


def schema() -> None:
    """Print the JSON schema of runcards."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


def _conclude(fit: Fit, rank: Rank, run: RunDirectory, *, quiet: bool) -> ExitCode:
    """Report on a fit, and say how it ended; the leading rank speaks for all."""
    interrupted_by = fit.summary.get("interrupted_by")
    code = code_of_fit(fit.stop_reason, interrupted_by)
    if not rank.leads:
        # Launchers of clusters stop a job as soon as a rank ends with another code, while the leading one may still be writing.
        return ExitCode.FINE
    if fit.stop_reason == "interrupted":
        _errors().print(
            f"Stopped by {interrupted_by} after step {fit.num_steps}; a checkpoint is in '{run.path}'. Go on:\n"
            f"  unscatter resume {quoted(run.path)}",
            soft_wrap=True,
        )
        return code
    page = write_report(run)
    if not quiet:
        console = _console()
        console.print(parameter_table(fit))
        for line in verdict_lines(fit):
            console.print(line)
        console.print(f"run     {run.path}\nreport  {page}", soft_wrap=True)
    return code


def _card(problem_or_runcard: str, overrides: Sequence[str]) -> Runcard:
    if _is_runcard(problem_or_runcard):
        return load_runcard(Path(problem_or_runcard), overrides)
    return _named(problem_or_runcard, overrides)


def _is_runcard(text: str) -> bool:
    return text not in BUILT_IN and (Path(text).suffix in (".yaml", ".yml") or Path(text).exists())


def _named(problem: str, overrides: Sequence[str]) -> Runcard:
    """A runcard for a built-in problem with pseudo-data."""
    if problem not in BUILT_IN:
        raise SettingsError(
            f"there is no problem and no runcard '{problem}'.{did_you_mean(problem, BUILT_IN)}\n"
            f"The built-in problems are {', '.join(BUILT_IN)}; a runcard is a file that ends in .yaml."
        )
    return load_runcard(f"problem: {{name: {problem}}}\nevents: {{simulate: {{}}}}\n", overrides)


def _named_values(text: str) -> dict[str, float]:
    """``"p0=0.5,p1=3"`` as a mapping."""
    values = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        try:
            values[name.strip()] = float(number)
        except ValueError as error:
            raise SettingsError(f"'--parameters': '{part}' is not name=number. Write for example --parameters p0=0.5,p1=3.") from error
    return values


def _check_number(problem: Problem, num_events: object) -> None:
    source = problem.truth_problem or problem
    if num_events is None and source.density(source.parameters_or_truth(None)).expected_counts is None:
        raise SettingsError(f"problem '{problem.name}' has no luminosity, so the number of events must be given: --events 100000.")


def _output_files(problem: Problem, output: Path, file_format: str | None) -> dict[str, Path]:
    """A new file per channel."""
    suffix = output.suffix.lower().removeprefix(".")
    if suffix in ("parquet", "csv", "npy"):
        if len(problem.channels) > 1:
            raise SettingsError(
                f"problem '{problem.name}' has the channels {list(problem.channels)}, and each gets a file of its own: "
                f"give a directory, --output {quoted(output.with_suffix(''))}."
            )
        if file_format not in (None, suffix):
            raise SettingsError(f"'--output {output}' and '--format {file_format}' contradict one another; leave one of the two out.")
        files = dict.fromkeys(problem.channels, output)
    elif suffix and not output.is_dir():
        raise SettingsError(
            f"'--output {output}': no format ends in '.{suffix}'; those of events are .parquet, .csv and .npy.\n"
            f"Write for example --output {quoted(output.with_suffix('.parquet'))}, or a name without an ending for a directory of files."
        )
    else:
        files = {channel: output / f"{channel}.{file_format or 'parquet'}" for channel in problem.channels}
    for file in files.values():
        _refuse_existing(file)
        if output.is_file():
            raise EventsFileError(f"'{output}' is a file, not a directory, and ends in none of .parquet, .csv and .npy.")
    return files


def _refuse_existing(file: Path) -> None:
    if file.exists():
        raise SettingsError(f"'{file}' exists already and is not written over. Choose another name, or remove it: rm {quoted(file)}")


def _warn_of_unused(card: Runcard) -> None:
    for text in card.without_effect():
        print_warning(f"{text}.")


def _console() -> Console:
    """For results; names and paths in them may look like markup."""
    return Console(highlight=False, markup=False, emoji=False)


def _errors() -> Console:
    """For progress, warnings and errors, so that results can be piped; as plain as results."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)
