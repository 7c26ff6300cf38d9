"""The detector section: stages for built-in problems, and the one place where they become objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from unscatter.detectors import Acceptance, Background, Cuts, Detector, DetectorStage, Efficiency, Smearing
from unscatter.runcards.events import EventFile, read_file
from unscatter.runcards.section import Section, check_order


class SmearingSection(Section):
    """Gaussian smearing of one column."""

    kind: Literal["smearing"]
    """Which stage this is."""
    column: str
    """The column that is smeared."""
    absolute: float | None = Field(default=None, ge=0)
    """Constant width, one standard deviation, in the unit of the column."""
    relative: float | None = Field(default=None, ge=0)
    """Width over value; added in quadrature to ``absolute``."""

    @model_validator(mode="after")
    def _check_width(self) -> SmearingSection:
        if self.absolute is None and self.relative is None:
            raise ValueError("smearing has no width: give 'absolute' or 'relative'")
        return self


class EfficiencySection(Section):
    """Probability that an event is seen, tabulated in one column, linear between the nodes and constant beyond them."""

    kind: Literal["efficiency"]
    """Which stage this is."""
    column: str
    """The column that the efficiency depends on."""
    nodes: tuple[float, ...] = Field(min_length=2)
    """Strictly increasing values of the column."""
    values: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    """Efficiencies at the nodes."""

    @model_validator(mode="after")
    def _check_table(self) -> EfficiencySection:
        if len(self.nodes) != len(self.values):
            raise ValueError(f"'nodes' has {len(self.nodes)} entries but 'values' has {len(self.values)}")
        for left, right in zip(self.nodes, self.nodes[1:], strict=False):
            if not left < right:
                raise ValueError(f"'nodes' must increase strictly, but {right:g} follows {left:g}")
        return self


class AcceptanceSection(Section):
    """Range of one column that is seen, with soft edges."""

    kind: Literal["acceptance"]
    """Which stage this is."""
    column: str
    """The column."""
    low: float | None = None
    """Where half of the events are seen on the way up; null for no lower end."""
    high: float | None = None
    """Where half of the events are seen on the way down; null for no upper end."""
    width: float = Field(gt=0)
    """How wide an edge is, one standard deviation, in the unit of the column."""

    @model_validator(mode="after")
    def _check_range(self) -> AcceptanceSection:
        if self.low is None and self.high is None:
            raise ValueError("acceptance has neither 'low' nor 'high': give at least one of the two")
        check_order(self.column, self.low, self.high)
        return self


class CutsSection(Section):
    """Events outside of ranges are dropped."""

    kind: Literal["cuts"]
    """Which stage this is."""
    ranges: dict[str, tuple[float | None, float | None]] = Field(min_length=1)
    """Lower and upper end per column; null for an open end."""
    width: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Half-width of the kernel behind the gradient at an edge, per column, in the unit of the column."""
    relative_width: float = Field(default=0.1, gt=0)
    """The same over the column's standard deviation, for the columns without a ``width``."""

    @model_validator(mode="after")
    def _check_ranges(self) -> CutsSection:
        for column, (low, high) in self.ranges.items():
            if low is None and high is None:
                raise ValueError(f"the range of '{column}' has no end: give at least one number")
            check_order(column, low, high)
        if unused := set(self.width) - set(self.ranges):
            raise ValueError(f"'width' names {sorted(unused)}, but there are cuts on {list(self.ranges)} only")
        return self


class FittedFraction(Section):
    """A background fraction that is fitted together with the parameters."""

    name: str
    """Name of the parameter."""
    low: float = Field(default=0.0, ge=0, lt=1)
    """Smallest allowed value."""
    high: float = Field(default=0.5, gt=0, lt=1)
    """Largest allowed value."""
    truth: float | None = Field(default=None, gt=0, lt=1)
    """Value that pseudo-data are made with."""

    @model_validator(mode="after")
    def _check_range(self) -> FittedFraction:
        check_order(self.name, self.low, self.high)
        if self.truth is not None and not self.low < self.truth < self.high:
            raise ValueError(f"'truth' = {self.truth:g} lies outside of the range [{self.low:g}, {self.high:g}]")
        return self


def _fraction_tag(value: Any) -> str:
    return FittedFraction.__name__ if isinstance(value, dict | FittedFraction) else "fixed"


class BackgroundSection(Section):
    """Events of another origin among the signal."""

    kind: Literal["background"]
    """Which stage this is."""
    fraction: Annotated[
        Annotated[float, Field(ge=0, lt=1), Tag("fixed")] | Annotated[FittedFraction, Tag(FittedFraction.__name__)],
        Discriminator(_fraction_tag),
    ]
    """Share of all events that is background: a number, or name and range of a parameter that is fitted."""
    events: EventFile
    """Background events, with the columns of the signal; they are picked at random with replacement."""
    events_per_signal: float | None = Field(default=None, gt=0)
    """Background events per signal event in a step; null for what suits the fraction."""


StageSection = Annotated[
    SmearingSection | EfficiencySection | AcceptanceSection | CutsSection | BackgroundSection, Field(discriminator="kind")
]


def build_detector(sections: tuple[StageSection, ...], columns: tuple[str, ...]) -> Detector:
    """Turn the section into a detector for events with the ``columns`` of a theory."""
    return Detector(tuple(_build_stage(section, columns) for section in sections))


def fitted_fractions(sections: tuple[StageSection, ...]) -> Iterator[FittedFraction]:
    """The parameters that the stages add to a problem."""
    for section in sections:
        if isinstance(section, BackgroundSection) and isinstance(section.fraction, FittedFraction):
            yield section.fraction


def _build_stage(section: StageSection, columns: tuple[str, ...]) -> DetectorStage:
    match section:
        case SmearingSection():
            return Smearing(section.column, absolute=section.absolute, relative=section.relative)
        case EfficiencySection():
            return Efficiency.tabulated(section.column, section.nodes, section.values)
        case AcceptanceSection():
            return Acceptance(section.column, low=section.low, high=section.high, width=section.width)
        case CutsSection():
            return Cuts(section.ranges, width=section.width, relative_width=section.relative_width)
        case BackgroundSection():
            fraction = section.fraction.name if isinstance(section.fraction, FittedFraction) else section.fraction
            return Background(fraction, events=read_file(section.events, columns), events_per_signal=section.events_per_signal)
