"""Closure tests: many fits of pseudo-data whose truth is known, each in a run directory of its own.

==========  =====================================================  ===========================================
level       data                                                   replicas
==========  =====================================================  ===========================================
0           no fluctuations: expectations, weighted events         differ by random numbers, and prior centres
1           one fluctuating data set per fit                       differ by random numbers, and prior centres
2           one fluctuating data set per fit                       a bootstrap of it each
==========  =====================================================  ===========================================

Level 0 shows what method and parametrisation miss, level 1 what the data's fluctuations do, and at level 2 the spread of the replicas has
to equal the distance from the truth.  Definitions: NNPDF Collaboration, arXiv:1410.8849, section 4.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unscatter.arrays import RandomStream
from unscatter.errors import DivergenceError, RunError, SettingsError
from unscatter.files import is_file, write_failure, write_json, write_table
from unscatter.pipeline import Problem
from unscatter.report.closure import ClosureTables, closure_tables
from unscatter.runcards.events import SimulatedEvents
from unscatter.runcards.runcard import Runcard
from unscatter.runcards.running import resume_run, start_run
from unscatter.runs import RunDirectory
from unscatter.runs.locking import locked
from unscatter.solve import Fit, Observer

LEVELS = (0, 1, 2)

#: Kind and version of the file that marks the directory of a closure test.
_KIND, _VERSION = "unscatter-closure", 1
#: Fits of a test: the error of a coverage of 68 % from N of them is 0.47 over the square root of N.
_MOST_FITS = 10_000
#: Seeds that stay readable in a runcard.
_SEED_RANGE = 2**31

#: Observers of one fit, given its number and how many there are.
ObserversOf = Callable[[int, int], AbstractContextManager[Sequence[Observer]]]


@dataclass(frozen=True, eq=False)
class ClosureResult:
    """What a closure test has found.

    Args:
        path: its directory.
        num_fits: finished fits.
        tables: bias, variance and coverage; None after an interruption.
        interrupted_by: name of the signal that stopped a fit.
    """

    path: Path
    num_fits: int
    tables: ClosureTables | None
    interrupted_by: str | None = None


def run_closure(
    card: Runcard, *, level: int, num_fits: int, path: str | Path, seed: int = 0, observers: ObserversOf | None = None
) -> ClosureResult:
    """Do the fits of a closure test that are not done yet, and compare all of them with the truth.

    ====================  ============================================================================
    path                  content
    ====================  ============================================================================
    ``closure.json``      level, seed and settings of the test; the same command goes on with it
    ``fit-000/`` ...      one run directory per fit, as ``unscatter solve`` leaves it
    ``result/``           ``groups``, ``quantities`` and ``fits`` as Parquet and JSON, ``summary.json``
    ====================  ============================================================================

    Args:
        card: the fit, with pseudo-data; its seeds are replaced.
        level: 0, 1 or 2.
        num_fits: how many; a finished test can be given more.
        path: directory of the test, new or begun by the same test.
        seed: fixes the pseudo-data and the course of every fit.
        observers: who is told how each fit goes on.

    Raises:
        SettingsError: another level, no fit or too many, events from files, no known truth, no replicas at level 2, numbers of events that
            contradict the luminosity.
        RunError: something else is in the directory, or a test with other settings, or another process is at work there.
        DivergenceError: a fit was given up; the message names it.
    """
    problem = checked_problem(card, level, num_fits, seed)
    folder = Path(path)
    _claim(folder, card, level, seed)
    watched = observers if observers is not None else lambda number, total: nullcontext(())
    with locked(folder / "lock"):
        for number in range(num_fits):
            with watched(number, num_fits) as told:
                fit = _fit_once(fit_card(card, level, seed, number), fit_path(folder, number), told)
            if fit is not None and fit.stop_reason == "interrupted":
                return ClosureResult(folder, number, None, fit.summary.get("interrupted_by") or "SIGINT")
        tables = closure_tables([RunDirectory.open(fit_path(folder, number)) for number in range(num_fits)], problem)
        _write(folder, tables, card, level, seed)
    return ClosureResult(folder, num_fits, tables)


def fit_path(folder: Path, number: int) -> Path:
    """Run directory of one fit, counted from 0."""
    return folder / f"fit-{number:03d}"


def fit_card(card: Runcard, level: int, seed: int, number: int) -> Runcard:
    r"""The runcard of one fit: its own seeds, and the fluctuations of the level.

    Example:
        >>> from unscatter.runcards import load_runcard
        >>> card = load_runcard("problem: {name: proxy2d}\nevents: {simulate: {num_events: 1000}}\n")
        >>> fit = fit_card(card, level=0, seed=1, number=0)
        >>> fit.events.simulate.fluctuations, fit.solve.bootstrap, fit.solve.held_out
        (False, False, 0.0)
    """
    assert isinstance(card.events, SimulatedEvents)
    stream = RandomStream(seed, ("closure",))
    events_seed, solve_seed = (stream.integer(purpose, number) % _SEED_RANGE for purpose in ("events", "fit"))
    simulation = card.events.simulate.model_copy(update={"seed": events_seed, "fluctuations": level > 0})
    solve: dict[str, Any] = {"seed": solve_seed, "bootstrap": level == 2}
    if level == 0:
        # Taking events away at random would bring the fluctuations back.
        solve["held_out"] = 0.0
    return card.model_copy(
        update={"events": card.events.model_copy(update={"simulate": simulation}), "solve": card.solve.model_copy(update=solve)}
    )


def checked_problem(card: Runcard, level: int, num_fits: int, seed: int) -> Problem:
    """The problem of a closure test that makes sense.

    Raises:
        SettingsError: see :func:`run_closure`.
    """
    if level not in LEVELS:
        raise SettingsError(f"the level of a closure test is 0, 1 or 2, got {level}.")
    if num_fits < 1 or seed < 0:
        raise SettingsError(f"a closure test needs at least one fit and a seed that is not negative, got {num_fits} fits and seed {seed}.")
    if num_fits > _MOST_FITS:
        raise SettingsError(
            f"a closure test has at most {_MOST_FITS:,} fits, got {num_fits:,}: so many know a coverage to half a per cent, and each "
            "leaves a run directory.\nSome hundred are enough to see a bias: --fits 100"
        )
    if level == 2 and card.solve.replicas < 2:
        raise SettingsError(
            f"level 2 compares the spread of replicas with the distance from the truth, but 'solve.replicas' is {card.solve.replicas}.\n"
            "Ask for some: --set solve.replicas=20"
        )
    if not isinstance(card.events, SimulatedEvents):
        raise SettingsError(
            "a closure test makes pseudo-data of its own, but 'events' of the runcard names files.\nReplace it by: events: {simulate: {}}"
        )
    problem = card.build_problem()
    _check_truth(problem)
    _check_counts(card, problem, card.events)
    return problem


def _check_truth(problem: Problem) -> None:
    if problem.truth is None and problem.truth_problem is None:
        raise SettingsError(
            f"problem '{problem.name}' has no known truth, so nothing can be compared with it.\n"
            "Give one under 'events.simulate.parameters', or 'problem.truth_pdf' for parton densities."
        )
    if problem.truth is None and not problem.curves:
        raise SettingsError(f"the truth of problem '{problem.name}' is no point of its parameters, and it has no curves to compare.")


def _check_counts(card: Runcard, problem: Problem, events: SimulatedEvents) -> None:
    """Numbers of events that are fitted must fluctuate around what the truth makes one expect."""
    source = problem.truth_problem or problem
    has_rates = source.density(source.parameters_or_truth(None)).expected_counts is not None
    if has_rates and card.method.rates != "off" and events.simulate.num_events is not None:
        raise SettingsError(
            "'events.simulate.num_events' fixes the numbers of events, but the fit uses them as rates, which follow from the luminosity.\n"
            "Set it to null and choose the luminosity instead, or fit without rates: --set events.simulate.num_events=null"
        )
    if not has_rates and events.simulate.num_events is None:
        raise SettingsError(
            f"problem '{problem.name}' has no luminosity, so the number of events must be given: --set events.simulate.num_events=100000"
        )


def _claim(folder: Path, card: Runcard, level: int, seed: int) -> None:
    """Make the directory, or see that it belongs to the same test."""
    marker, facts = folder / "closure.json", _facts(card, level, seed)
    if not is_file(marker):
        RunDirectory.check_free(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(write_failure(folder, error)) from error
        write_json(marker, facts)
        return
    try:
        before = json.loads(marker.read_text(encoding="utf-8"))
        changed = [key for key in facts if key != "settings" and before[key] != facts[key]]
        changed += [key for key, value in facts["settings"].items() if before["settings"].get(key) != value]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"'{marker}' is damaged: {error}. Choose another directory.") from error
    if changed:
        raise RunError(
            f"'{folder}' holds a closure test with another {' and '.join(repr(key) for key in changed)}, and nothing is written over.\n"
            "Choose another directory, or give the settings of that test to go on with it."
        )


def _facts(card: Runcard, level: int, seed: int) -> dict[str, Any]:
    settings = yaml.safe_load(card.resolved)
    # Where the runcard itself would leave its run, and the seeds that are replaced, do not matter.
    del settings["run"], settings["solve"]["seed"], settings["events"]["simulate"]["seed"]
    return {"kind": _KIND, "version": _VERSION, "level": level, "seed": seed, "settings": settings}


def _fit_once(card: Runcard, path: Path, observers: Sequence[Observer]) -> Fit | None:
    """Start a fit, or go on with it; None where it was done before."""
    if (path / "result" / "summary.json").is_file():
        return None
    try:
        if not path.exists():
            return start_run(card, path=path, observers=observers)
        run = RunDirectory.open(path)
        if run.checkpoint_files():
            return resume_run(path, observers=observers)
        _set_aside(run)
        return start_run(card, path=path, observers=observers)
    except DivergenceError as error:
        raise DivergenceError(f"the fit '{path}' of the closure test was given up: {error}") from error


def _set_aside(run: RunDirectory) -> None:
    """Make room where a run was killed before its first checkpoint; what it left stays beside."""
    with run.lock():
        number = 1
        while (aside := run.path.with_name(f"{run.path.name}.killed-{number}")).exists():
            number += 1
    run.path.rename(aside)


def _write(folder: Path, tables: ClosureTables, card: Runcard, level: int, seed: int) -> None:
    """Write the tables; those of fewer fits are replaced."""
    result = folder / "result"
    result.mkdir(exist_ok=True)
    fits = [row | _seeds(card, level, seed, number) for number, row in enumerate(tables.fits)]
    for name, rows in (("groups", tables.groups), ("quantities", tables.quantities), ("fits", fits)):
        write_table(result / name, rows)
    totals = [row for row in tables.groups if row["name"] is None]
    ended = [row["stop_reason"] for row in tables.fits]
    facts = {"level": level, "seed": seed, "num_fits": len(fits), "num_replicas": card.solve.replicas, "groups": totals}
    write_json(result / "summary.json", facts | {"stop_reasons": {reason: ended.count(reason) for reason in dict.fromkeys(ended)}})


def _seeds(card: Runcard, level: int, seed: int, number: int) -> dict[str, int]:
    own = fit_card(card, level, seed, number)
    assert isinstance(own.events, SimulatedEvents)
    return {"events_seed": own.events.simulate.seed, "solve_seed": own.solve.seed}
