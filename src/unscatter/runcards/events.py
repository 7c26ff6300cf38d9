"""The events section: files per channel, or pseudo-data made in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Discriminator, Field, Tag

from unscatter.arrays import Events
from unscatter.errors import EventsError, ParameterError, SettingsError
from unscatter.events import StoredEvents, check_inside, keep_inside, read_events, read_parameters
from unscatter.events.store import is_store
from unscatter.events.streaming import WINDOW_BLOCKS
from unscatter.events.validation import NONE_INSIDE_ADVICE
from unscatter.files import did_you_mean
from unscatter.pipeline import Problem, asimov_events
from unscatter.runcards.section import InputPath, Section
from unscatter.runcards.stores import stored_events


class FileSection(Section):
    """The events of one channel in a file."""

    path: InputPath
    """A file that ends in .parquet, .csv or .npy, or an event store; relative to the directory of the runcard."""
    columns: dict[str, str] | tuple[str, ...] | None = None
    """Which columns to read: ``{our name: name in the file}``, or names; null for those that the problem compares."""
    weight: str | None = None
    """Column of the weights; null for unit weights."""
    keep_inside: bool = False
    """Whether events outside of the theory's grid are dropped; an error otherwise."""
    window_blocks: int = Field(default=WINDOW_BLOCKS, ge=1)
    """Blocks of a store whose rows are shuffled together: more mix a sorted store better and need more memory."""


def _file_tag(value: Any) -> str:
    return FileSection.__name__ if isinstance(value, dict | FileSection) else "path"


EventFile = Annotated[Annotated[InputPath, Tag("path")] | Annotated[FileSection, Tag(FileSection.__name__)], Discriminator(_file_tag)]


_Count = Annotated[int, Field(ge=1)]


def _count_tag(value: Any) -> str:
    return "per channel" if isinstance(value, dict) else "each"


NumEvents = Annotated[Annotated[_Count, Tag("each")] | Annotated[dict[str, _Count], Tag("per channel")], Discriminator(_count_tag)]


class Simulation(Section):
    """Pseudo-data, made anew at every start from their seed."""

    num_events: NumEvents | None = None
    """Recorded events, for each channel or per channel; null for a Poisson number about what the theory's luminosity makes one expect."""
    seed: int = Field(default=1, ge=0)
    """Fixes the events."""
    parameters: dict[str, float] = Field(default_factory=dict)
    """Parameters that the events are made with; the problem's truth for those that are not named."""
    fluctuations: bool = True
    """Whether events fluctuate as in an experiment; off, weighted ones stand for their expectation, as in closure tests of level 0."""


class SimulatedEvents(Section):
    """Pseudo-data instead of files."""

    simulate: Simulation
    """How many, and with which parameters."""


def _events_tag(value: Any) -> str:
    simulated = isinstance(value, SimulatedEvents) or (isinstance(value, dict) and "simulate" in value)
    return SimulatedEvents.__name__ if simulated else "files"


EventsSection = Annotated[
    Annotated[SimulatedEvents, Tag(SimulatedEvents.__name__)] | Annotated[dict[str, EventFile], Field(min_length=1), Tag("files")],
    Discriminator(_events_tag),
]


def read_file(section: Path | FileSection, columns: tuple[str, ...]) -> Events:
    """Read one file; the given ``columns`` unless the section names others."""
    if isinstance(section, Path):
        return read_events(section, columns)
    return read_events(section.path, _wanted(section, columns), section.weight)


def _wanted(section: FileSection, columns: tuple[str, ...]) -> Mapping[str, str] | Sequence[str]:
    """Columns that are read, those of the problem among them."""
    wanted = columns if section.columns is None else section.columns
    missing = [name for name in columns if name not in wanted]
    if missing:
        raise SettingsError(
            f"'columns' of '{section.path}' names {list(wanted)}, but the problem needs {list(columns)}: missing are {missing}.\n"
            f"Add them, for example columns: {{{missing[0]}: name_in_the_file}}."
        )
    return wanted


def read_channels(files: Mapping[str, Path | FileSection], problem: Problem) -> dict[str, Events | StoredEvents]:
    """Read the events of all channels of a problem; those of stores stay there.

    Raises:
        SettingsError: the channels of the runcard are not those of the problem.
        EventsError: a file is missing or unusable, or events lie outside of the grid.
    """
    _check_channels(files, problem)
    return {channel: _read_channel(channel, files[channel], problem) for channel in problem.channels}


def truth_of_files(files: Mapping[str, Path | FileSection], problem: Problem) -> tuple[float, ...] | None:
    """What the files say that their events were made with; None unless all channels say the same about just this problem's parameters.

    Measured events have no known truth, whatever the pseudo-data of the problem are made with.
    """
    paths = [section if isinstance(section, Path) else section.path for section in files.values()]
    said = [None if is_store(path) else read_parameters(path) for path in paths]
    if said[0] is None or set(said[0]) != set(problem.space.names) or any(other != said[0] for other in said):
        return None
    values = tuple(said[0][name] for name in problem.space.names)
    try:
        problem.space.to_latent(torch.tensor(values, dtype=torch.float64))
    except ParameterError:
        # Made with something that this fit excludes: nothing that a result could be compared with.
        return None
    return values


def _check_channels(files: Mapping[str, Path | FileSection], problem: Problem) -> None:
    unknown = [name for name in files if name not in problem.channels]
    missing = [name for name in problem.channels if name not in files]
    if unknown:
        hint = did_you_mean(unknown[0], problem.channels)
        raise SettingsError(
            f"'events.{unknown[0]}' is not a channel of problem '{problem.name}', which has {list(problem.channels)}.{hint}"
        )
    if missing:
        raise SettingsError(f"'events.{missing[0]}' is missing: problem '{problem.name}' has the channels {list(problem.channels)}.")


def _read_channel(channel: str, section: Path | FileSection, problem: Problem) -> Events | StoredEvents:
    if is_store(section if isinstance(section, Path) else section.path):
        return _stored(channel, FileSection(path=section) if isinstance(section, Path) else section, problem)
    events, grid = read_file(section, problem.observables), problem.grid
    if isinstance(section, FileSection) and section.keep_inside:
        names = [name for name in grid.names if name in events.columns]
        low, high = dict(zip(grid.names, grid.low, strict=True)), dict(zip(grid.names, grid.high, strict=True))
        return keep_inside(events, [low[name] for name in names], [high[name] for name in names], names)
    if not problem.pipeline.detector.stages:
        path = section if isinstance(section, Path) else section.path
        _check_inside(events, channel, path, problem)
    return events


def _stored(channel: str, section: FileSection, problem: Problem) -> StoredEvents:
    wanted = _wanted(section, problem.observables)
    columns = wanted if isinstance(wanted, Mapping) else {name: name for name in wanted}
    return stored_events(
        section.path, columns, problem, channel,
        weight=section.weight, keep_inside=section.keep_inside, window_blocks=section.window_blocks,
    )  # fmt: skip


def _check_inside(events: Events, channel: str, path: Path, problem: Problem) -> None:
    """A detector may carry events out of the grid; without one all of them must lie inside."""
    try:
        check_inside(events, problem.grid.low, problem.grid.high, problem.grid.names)
    except EventsError as error:
        if NONE_INSIDE_ADVICE in str(error):
            raise EventsError(f"'{path}': {error}") from error
        facts = str(error).rpartition("\n")[0]
        raise EventsError(
            f"'{path}': {facts}\n"
            f"Drop them: events.{channel}: {{path: {path.name}, keep_inside: true}}, or give the problem a detector or a wider grid."
        ) from error


def simulate(simulation: Simulation, problem: Problem) -> dict[str, Events]:
    """Make pseudo-data of a problem whose truth is known."""
    make = problem.simulate if simulation.fluctuations else partial(asimov_events, problem)
    return make(num_events=simulation.num_events, seed=simulation.seed)


def complete_parameters(given: Mapping[str, float], problem: Problem) -> tuple[float, ...] | None:
    """The problem's truth with the ``given`` parameters in place of its own; None where nothing is known.

    Raises:
        SettingsError: a name is unknown, or a parameter has neither a given value nor a truth.
    """
    names = problem.space.names
    for name in given:
        if name not in names:
            raise SettingsError(
                f"'{name}' is not a parameter of problem '{problem.name}', which has {list(names)}.{did_you_mean(name, names)}"
            )
    known = dict(zip(names, problem.truth, strict=True)) if problem.truth is not None else {}
    values = {**known, **given}
    missing = [name for name in names if name not in values]
    if missing and given:
        raise SettingsError(f"the parameters {missing} of problem '{problem.name}' have no value, and no truth is known.")
    return None if missing else tuple(values[name] for name in names)
