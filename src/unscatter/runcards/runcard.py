"""The runcard: everything that makes a run, in one file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import Field, PrivateAttr, model_validator

from unscatter.events.locations import is_remote
from unscatter.exchange import ExchangeSettings
from unscatter.methods import Gan, GanSettings
from unscatter.pipeline import Problem
from unscatter.runcards.detectors import BackgroundSection
from unscatter.runcards.dis import DisSection
from unscatter.runcards.events import (
    EventsSection,
    FileSection,
    SimulatedEvents,
    complete_parameters,
    read_channels,
    shared_events,
    simulate,
    truth_of_files,
)
from unscatter.runcards.problems import ProblemSection, Proxy1DSection, Proxy2DSection, PythonSection, build_problem
from unscatter.runcards.section import Section
from unscatter.runcards.stores import files_of
from unscatter.solve import SolveSettings


class GanSection(GanSettings):
    """The adversarial method: a generator trained through the physics against a discriminator."""

    name: Literal["gan"] = "gan"
    """Which method this is."""

    def build(self) -> Gan:
        """The method with these settings."""
        return Gan(GanSettings(**{name: getattr(self, name) for name in GanSettings.model_fields}))


class ExchangeSection(ExchangeSettings):
    """How the ranks of a job share the generator; without effect on a single one. The name alone will do: ``exchange: allreduce``."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class RunSection(Section):
    """Where the run leaves what it finds."""

    path: Path | None = None
    """The new run directory, relative to the working directory; ``runs/<name of the runcard>`` when null."""


class Job(NamedTuple):
    """What a runcard describes, as objects."""

    problem: Problem
    events: dict[str, Any]
    """Per channel :class:`~unscatter.arrays.Events`, or :class:`~unscatter.events.StoredEvents` where they stay in a store."""
    method: Gan
    settings: SolveSettings


class Runcard(Section):
    """A fit from events to parameters.

    Paths of files that are read start at the directory of the runcard, the path of the new run directory at the working directory.

    Example:
        >>> from unscatter.runcards import load_runcard
        >>> card = load_runcard('''
        ... problem: {name: proxy2d, nodes: 33}
        ... events: {simulate: {num_events: 1000}}
        ... ''')
        >>> card.build().events["events"].num_events
        1000
    """

    problem: ProblemSection
    """What is unknown, and the way from there to events."""
    events: EventsSection
    """Measured events: one file per channel, or ``simulate`` for pseudo-data."""
    method: Annotated[GanSection, Field()] = GanSection()
    """How the parameters are found."""
    solve: SolveSettings = SolveSettings()
    """How long, how many replicas, when to stop."""
    exchange: ExchangeSection = ExchangeSection()
    """How the ranks of a job share the generator."""
    run: RunSection = RunSection()
    """Where the run leaves what it finds."""

    _text: str = PrivateAttr("")
    _source: Path | None = PrivateAttr(None)

    def from_source(self, text: str, source: Path | None) -> Runcard:
        """The same runcard with the text and the file that it came from."""
        card = self.model_copy()
        card._text, card._source = text, source
        return card

    @property
    def text(self) -> str:
        """The text that the runcard was read from."""
        return self._text

    @property
    def resolved(self) -> str:
        """The runcard as YAML with every default filled in and every path absolute."""
        record = self.model_dump(mode="json")
        record["method"] = {"name": self.method.name} | record["method"]
        record["run"]["path"] = str(self.run_path.absolute())
        return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)

    def with_seed(self, seed: int) -> Runcard:
        """The same runcard with another seed of the fit; pseudo-data stay the same."""
        return self.model_copy(update={"solve": self.solve.model_copy(update={"seed": seed})})

    @property
    def run_path(self) -> Path:
        """The run directory."""
        if self.run.path is not None:
            return self.run.path.expanduser()
        return Path("runs") / (self.problem.name if self._source is None else self._source.stem)

    def build_problem(self) -> Problem:
        """The problem, with the truth that pseudo-data are made with."""
        problem = build_problem(self.problem)
        if isinstance(self.events, SimulatedEvents):
            return replace(problem, truth=complete_parameters(self.events.simulate.parameters, problem))
        return problem

    def build(self) -> Job:
        """Turn the runcard into objects, reading or simulating the events.

        Raises:
            SettingsError: sections do not fit together.
            EventsError: a file of events is missing or unusable.
        """
        problem = self.build_problem()
        if isinstance(self.events, SimulatedEvents):
            events = simulate(self.events.simulate, problem)
        else:
            events = read_channels(self.events, problem)
            if self.problem.truth is None and problem.truth_problem is None:
                problem = replace(problem, truth=truth_of_files(self.events, problem))
        return Job(problem, events, self.method.build(), self.solve)

    def same_everywhere(self) -> dict[str, str]:
        """What all ranks of a job must have alike: a digest of the settings that decide what is fitted, and the version of the package."""
        record = self.model_dump(mode="json", exclude={"run"})
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
        return {"runcard": digest, "version of unscatter": version("unscatter")}

    def input_sources(self) -> dict[str, tuple[Path | str, ...]]:
        """What the runcard reads, by its key: files and URLs, directories and patterns not yet expanded."""
        files: dict[str, Path | str | FileSection] = {}
        if isinstance(self.problem, PythonSection):
            files["problem.file"] = self.problem.file
        elif isinstance(self.problem, DisSection):
            if isinstance(self.problem.tables, Path):
                files["problem.tables"] = self.problem.tables
            if self.problem.truth_pdf is not None:
                files["problem.truth_pdf"] = self.problem.truth_pdf / f"{self.problem.truth_pdf.name}_0000.dat"
        else:
            stages = enumerate(self.problem.detector)
            files |= {f"problem.detector.{i}.events": stage.events for i, stage in stages if isinstance(stage, BackgroundSection)}
        if not isinstance(self.events, SimulatedEvents):
            files |= {f"events.{channel}": section for channel, section in self.events.items()}
        return {key: file.sources if isinstance(file, FileSection) else (file,) for key, file in files.items()}

    def input_files(self) -> dict[str, Path | str]:
        """Files that the runcard reads, by their key; with a number behind it where a key stands for several.

        Of an event store its manifest, which has the checksums of all other files.
        """
        files: dict[str, Path | str] = {}
        for key, sources in self.input_sources().items():
            found = [Path(file) if not is_remote(file) else file for file in files_of(sources)]
            files |= {key: found[0]} if len(found) == 1 else {f"{key}.{i}": file for i, file in enumerate(found)}
        return files

    def without_effect(self) -> list[str]:
        """Settings that were given but change nothing, in words."""
        method, found = self.method, []
        generator = method.generator
        unused = {"batch", "noise_size", "hidden"} if generator.kind == "direct" else {"precondition"}
        found += [
            f"method.generator.{name} has no effect on a '{generator.kind}' generator"
            for name in sorted(unused & generator.model_fields_set)
        ]
        for name, needed, key in (("tail_start", "tail", "average"), ("ema_decay", "ema", "average"), ("final_rate", "cosine", "schedule")):
            if name in method.model_fields_set and getattr(method, key) != needed:
                found.append(f"method.{name} has no effect while method.{key} is '{getattr(method, key)}', not '{needed}'")
        found += [f"exchange.{option} has no effect on the exchange '{self.exchange.name}'" for option in self.exchange.without_effect()]
        return found

    @model_validator(mode="after")
    def _check_files(self) -> Runcard:
        if isinstance(self.events, SimulatedEvents):
            return self
        if (problem := shared_events(self.events, lambda section: {source: source for source in section.sources})) is not None:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _check_truth(self) -> Runcard:
        with_grid = isinstance(self.problem, DisSection) and self.problem.truth_pdf is not None
        if with_grid and isinstance(self.events, SimulatedEvents) and self.events.simulate.parameters:
            raise ValueError(
                "'problem.truth_pdf' and 'events.simulate.parameters' contradict one another: both say what the pseudo-data are made with; "
                "remove one of the two"
            )
        return self

    @model_validator(mode="after")
    def _check_rates(self) -> Runcard:
        if self.method.rates != "on":
            return self
        match self.problem:
            case Proxy1DSection(rates=False):
                raise ValueError("'method.rates: on' and 'problem.rates: false' contradict one another; change one of the two")
            case Proxy2DSection(luminosity=None):
                raise ValueError(
                    "'method.rates: on' needs expected numbers of events, but 'problem.luminosity' is null; give one, or set rates to 'off'"
                )
        return self
