"""The events section: files per channel, or pseudo-data made in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import torch
from pydantic import Discriminator, Field, Tag

from unscatter.arrays import Events
from unscatter.errors import EventsError, ParameterError, SettingsError
from unscatter.events import StoredEvents, check_inside, keep_inside, read_events, read_parameters
from unscatter.events.locations import file_key
from unscatter.events.recipe import Recipe
from unscatter.events.streaming import WINDOW_BLOCKS
from unscatter.events.validation import NONE_INSIDE_ADVICE
from unscatter.files import did_you_mean
from unscatter.pipeline import Problem, asimov_events
from unscatter.runcards.section import InputLocation, Section
from unscatter.runcards.stores import files_of, store_of, stored_events


def _source_tag(value: Any) -> str:
    return "several" if isinstance(value, list | tuple) else "one"


Sources = Annotated[
    Annotated[InputLocation, Tag("one")] | Annotated[tuple[InputLocation, ...], Field(min_length=1), Tag("several")],
    Discriminator(_source_tag),
]


class FileSection(Section):
    """The events of one channel in files."""

    path: Sources
    """A file, a URL, a pattern as ``run*.root``, a directory, or a list of these, or an event store, which stays on the disk; paths are
    relative to the directory of the runcard."""
    tree: str | None = None
    """Which tree of a ROOT file, or which group or data set of an HDF5 file; null where there is only one."""
    columns: dict[str, str] | tuple[str, ...] | None = None
    """Which columns to read: ``{our name: name in the file}``, where a formula as ``Q2 / (s * y)`` makes a new one, or names; null for
    those that the problem compares."""
    weight: str | None = None
    """Column or formula of the weights; null for unit weights."""
    cuts: tuple[str, ...] = ()
    """Conditions, as ``Q2 > 4``; only events that fulfil all of them are read."""
    constants: dict[str, float] = Field(default_factory=dict)
    """Numbers that formulas may name."""
    not_finite: Literal["fail", "drop"] = "fail"
    """Whether events with NaN or infinity that no cut removes are an error, or dropped."""
    keep_inside: bool = False
    """Whether events outside of the theory's grid are dropped; an error otherwise."""
    window_blocks: int = Field(default=WINDOW_BLOCKS, ge=1)
    """Blocks of a store whose rows are shuffled together: more mix a sorted store better and need more memory."""

    def read(self, columns: Sequence[str] | Mapping[str, str]) -> Events:
        """The events, with the section's choices."""
        return read_events(
            self.sources, columns, self.weight,
            tree=self.tree, cuts=self.cuts, constants=self.constants, not_finite=self.not_finite,
        )  # fmt: skip

    @property
    def sources(self) -> tuple[Path | str, ...]:
        """What is read, patterns not yet expanded."""
        return self.path if isinstance(self.path, tuple) else (self.path,)

    @property
    def conditions(self) -> frozenset[str]:
        """What the cuts say, see :meth:`~unscatter.events.recipe.Recipe.conditions`."""
        return Recipe(columns=self.columns, cuts=self.cuts, constants=self.constants).conditions()

    @property
    def shown(self) -> str:
        """What is read, for messages."""
        return f"'{self.sources[0]}'" + (f" and {len(self.sources) - 1} more" if len(self.sources) > 1 else "")


def _file_tag(value: Any) -> str:
    return FileSection.__name__ if isinstance(value, dict | FileSection) else "path"


EventFile = Annotated[Annotated[InputLocation, Tag("path")] | Annotated[FileSection, Tag(FileSection.__name__)], Discriminator(_file_tag)]


def as_section(file: Path | str | FileSection) -> FileSection:
    """The long form of a file that was given by its path alone."""
    return file if isinstance(file, FileSection) else FileSection(path=file)


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


def read_file(file: Path | str | FileSection, columns: tuple[str, ...]) -> Events:
    """Read the events of one channel; the given ``columns`` unless the section names others."""
    section = as_section(file)
    return section.read(_wanted(section, columns))


def _wanted(section: FileSection, columns: tuple[str, ...]) -> Mapping[str, str] | Sequence[str]:
    """What the section reads, the given ``columns`` among it."""
    wanted = columns if section.columns is None else section.columns
    missing = [name for name in columns if name not in wanted]
    if missing:
        raise SettingsError(
            f"'columns' of {section.shown} names {list(wanted)}, but the problem needs {list(columns)}: missing are {missing}.\n"
            f"Add them, for example columns: {{{missing[0]}: name_in_the_file}}."
        )
    return wanted


def read_channels(files: Mapping[str, Path | str | FileSection], problem: Problem) -> dict[str, Events | StoredEvents]:
    """Read the events of all channels of a problem; those of stores stay there.

    Raises:
        SettingsError: the channels of the runcard are not those of the problem, or share files.
        EventsError: a file is missing or unusable, or events lie outside of the grid.
    """
    _check_channels(files, problem)
    _check_apart(files)
    return {channel: _read_channel(channel, as_section(files[channel]), problem) for channel in problem.channels}


def _check_apart(files: Mapping[str, Path | str | FileSection]) -> None:
    """Refuse channels whose patterns meet in one file, by whatever names, unless they read other trees or events of it."""
    if (problem := shared_events(files, lambda section: {file_key(file): file for file in files_of(section.sources)})) is not None:
        raise SettingsError(f"{problem}.")


def shared_events(files: Mapping[str, Path | str | FileSection], found: Callable[[FileSection], Mapping[Any, Path | str]]) -> str | None:
    """What is wrong where all events that a channel reads of a file are among those of another channel; None where that is not certain.

    Args:
        files: what each channel reads.
        found: the files of a section, by what is the same for all names of a file.
    """
    seen: list[tuple[str, FileSection, Mapping[Any, Path | str]]] = []
    for channel, section in ((channel, as_section(file)) for channel, file in files.items()):
        own = found(section)
        for other, earlier, theirs in seen:
            common = next((key for key in own if key in theirs), None)
            if common is not None and (fact := _overlap(other, earlier, channel, section)) is not None:
                also = "" if own[common] == theirs[common] else f", which is '{own[common]}', too"
                return f"{fact}, '{theirs[common]}'{also}: channels are independent measurements and need events of their own"
        seen.append((channel, section, own))
    return None


def _overlap(one: str, first: FileSection, other: str, second: FileSection) -> str | None:
    """How two channels share the events of a file."""
    if first.tree and second.tree and first.tree.strip("/") != second.tree.strip("/"):
        return None
    here, there = first.conditions, second.conditions
    if here == there:
        return f"'events.{one}' and 'events.{other}' are the same file"
    if here < there or there < here:
        part, whole = (other, one) if here < there else (one, other)
        return f"the cuts of 'events.{part}' keep a part of what 'events.{whole}' reads of the same file"
    return None


def truth_of_files(files: Mapping[str, Path | str | FileSection], problem: Problem) -> tuple[float, ...] | None:
    """What the files say that their events were made with; None unless all channels say the same about just this problem's parameters.

    Measured events have no known truth, whatever the pseudo-data of the problem are made with.
    """
    read = [as_section(file).sources for file in files.values()]
    said = [None if store_of(sources) else read_parameters(sources) for sources in read]
    if said[0] is None or set(said[0]) != set(problem.space.names) or any(other != said[0] for other in said):
        return None
    values = tuple(said[0][name] for name in problem.space.names)
    try:
        problem.space.to_latent(torch.tensor(values, dtype=torch.float64))
    except ParameterError:
        # Made with something that this fit excludes: nothing that a result could be compared with.
        return None
    return values


def _check_channels(files: Mapping[str, Path | str | FileSection], problem: Problem) -> None:
    unknown = [name for name in files if name not in problem.channels]
    missing = [name for name in problem.channels if name not in files]
    if unknown:
        hint = did_you_mean(unknown[0], problem.channels)
        raise SettingsError(
            f"'events.{unknown[0]}' is not a channel of problem '{problem.name}', which has {list(problem.channels)}.{hint}"
        )
    if missing:
        raise SettingsError(f"'events.{missing[0]}' is missing: problem '{problem.name}' has the channels {list(problem.channels)}.")


def _read_channel(channel: str, section: FileSection, problem: Problem) -> Events | StoredEvents:
    if (store := store_of(section.sources)) is not None:
        return _stored(channel, store, section, problem)
    events = read_file(section, problem.measured_columns)
    if section.keep_inside:
        return keep_inside(events, *problem.grid.ranges(events.columns))
    if not problem.pipeline.detector.stages:
        _check_inside(events, channel, section, problem)
    return events


def _stored(channel: str, store: Path, section: FileSection, problem: Problem) -> StoredEvents:
    recipe = Recipe(
        columns=_wanted(section, problem.measured_columns), weight=section.weight, cuts=section.cuts, constants=section.constants,
        not_finite=section.not_finite,
    )  # fmt: skip
    return stored_events(store, recipe, problem, channel, keep_inside=section.keep_inside, window_blocks=section.window_blocks)


def _check_inside(events: Events, channel: str, section: FileSection, problem: Problem) -> None:
    """A detector may carry events out of the grid; without one all of them must lie inside."""
    try:
        check_inside(events, problem.grid.low, problem.grid.high, problem.grid.names)
    except EventsError as error:
        if NONE_INSIDE_ADVICE in str(error):
            raise EventsError(f"{section.shown}: {error}") from error
        facts = str(error).rpartition("\n")[0]
        path = PurePath(section.sources[0]).name if len(section.sources) == 1 else "[...]"
        raise EventsError(
            f"{section.shown}: {facts}\n"
            f"Drop them: events.{channel}: {{path: {path}, keep_inside: true}}, or give the problem a detector or a wider grid."
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
