"""The problem section, and the one place where it becomes a problem."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from unscatter.arrays.memory import is_out_of_memory
from unscatter.errors import SettingsError, UnscatterError
from unscatter.files import did_you_mean, missing_path
from unscatter.pipeline import Box, ParameterSpace, Problem
from unscatter.problems import proxy1d, proxy2d
from unscatter.runcards.detectors import FittedFraction, StageSection, build_detector, fitted_fractions
from unscatter.runcards.dis import DisSection, build_dis
from unscatter.runcards.events import complete_parameters
from unscatter.runcards.section import InputPath, Section

_Positive = Annotated[float, Field(gt=0)]
#: No memory holds more; what a machine's own can hold is found where the grid is made.
_MOST_NODES = 10**15

_Truth = Annotated[
    dict[str, float] | None,
    Field(
        description="What the events were made with, by parameter; the problem's own values for those that are not named. Null: events "
        "from files have no known truth, unless the files carry it as those of ``unscatter simulate`` do."
    ),
]


class Proxy1DSection(Section):
    """The toy of two parton densities, seen through proton and neutron."""

    name: Literal["proxy1d"]
    """Which problem this is."""
    num_events: _Positive | None = None
    """Expected events per channel at the truth, which sets the luminosity; 100,000 unless ``luminosity`` is given."""
    luminosity: dict[Literal["proton", "neutron"], _Positive] | None = None
    """Luminosity per channel, in the inverse unit of the cross section, instead of ``num_events``."""
    rates: bool = True
    """Whether the theory gives expected numbers of events at all."""
    nodes: int = Field(default=129, ge=2, le=_MOST_NODES)
    """Nodes of the grid."""
    detector: tuple[StageSection, ...] = ()
    """Stages between true and measured events, in their order; ideal when empty."""
    truth: _Truth = None

    @model_validator(mode="after")
    def _check_rates(self) -> Proxy1DSection:
        if self.luminosity is not None and self.num_events is not None:
            raise ValueError("'num_events' and 'luminosity' contradict one another: both set the rate; remove one of the two")
        for name in ("luminosity", "num_events"):
            if not self.rates and getattr(self, name) is not None:
                raise ValueError(
                    f"'rates: false' and '{name}' contradict one another: without rates there is no luminosity to set; remove one"
                )
        if self.luminosity is not None and len(self.luminosity) != 2:
            raise ValueError(f"'luminosity' must name both channels, proton and neutron, got {list(self.luminosity)}")
        return self


class Proxy2DSection(Section):
    """The benchmark density of two correlated observables."""

    name: Literal["proxy2d"]
    """Which problem this is."""
    luminosity: _Positive | None = None
    """Luminosity in the inverse unit of the density's integral; null where numbers of events carry no information."""
    nodes: int = Field(default=129, ge=2, le=_MOST_NODES)
    """Nodes along each axis of the grid."""
    detector: tuple[StageSection, ...] = ()
    """Stages between true and measured events, in their order; ideal when empty."""
    truth: _Truth = None


class PythonSection(Section):
    """A problem of one's own: a function in a Python file that returns it."""

    name: Literal["python"]
    """Which problem this is."""
    file: InputPath
    """The Python file, relative to the directory of the runcard."""
    function: str = "make_problem"
    """A function of the file that returns a Problem."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What the function is called with, by name."""
    truth: _Truth = None


ProblemSection = Annotated[Proxy1DSection | Proxy2DSection | DisSection | PythonSection, Field(discriminator="name")]

#: Names that a runcard and the command line know without a file.
BUILT_IN = ("proxy1d", "proxy2d", "dis")


def build_problem(section: ProblemSection) -> Problem:
    """Turn the section into a problem.

    Raises:
        SettingsError: the file of a problem of one's own is missing or does not make a problem, or ``truth`` names an unknown parameter.
        ColumnError: a detector stage needs a column that is not there.
    """
    problem = _build(section)
    return problem if section.truth is None else replace(problem, truth=complete_parameters(section.truth, problem))


def _build(section: ProblemSection) -> Problem:
    match section:
        case Proxy1DSection():
            num_events = 100_000 if section.num_events is None else section.num_events
            luminosity = None if section.luminosity is None else {str(channel): value for channel, value in section.luminosity.items()}
            ideal = proxy1d(num_events=num_events, luminosity=luminosity, rates=section.rates, nodes=section.nodes)
        case Proxy2DSection():
            ideal = proxy2d(luminosity=section.luminosity, nodes=section.nodes)
        case DisSection():
            return build_dis(section)
        case PythonSection():
            return _own_problem(section)
    return _with_detector(ideal, section.detector)


def _with_detector(ideal: Problem, stages: tuple[StageSection, ...]) -> Problem:
    """The problem behind a detector, whose fitted parameters follow those of the theory."""
    if not stages:
        return ideal
    detector, fitted = build_detector(stages, ideal.grid.names), list(fitted_fractions(stages))
    pipeline = replace(ideal.pipeline, detector=detector)
    if not fitted:
        return replace(ideal, pipeline=pipeline, observables=())
    space = _extended(ideal.space, fitted)
    truth = _joined(ideal.truth, [fraction.truth for fraction in fitted])
    start = _joined(ideal.start, [(fraction.low + fraction.high) / 2 for fraction in fitted])
    return replace(ideal, space=space, pipeline=pipeline, observables=(), truth=truth, start=start)


def _extended(space: ParameterSpace, fitted: Sequence[FittedFraction]) -> ParameterSpace:
    assert isinstance(space.bijection, Box), "the built-in problems have a box"
    ranges = dict(zip(space.names, zip(space.bijection.low, space.bijection.high, strict=True), strict=True))
    for fraction in fitted:
        if fraction.name in ranges:
            raise SettingsError(
                f"the background fraction '{fraction.name}' has the name of a parameter of the theory; choose another name."
            )
    return ParameterSpace.from_ranges(ranges, nuisances={fraction.name: (fraction.low, fraction.high) for fraction in fitted})


def _joined(values: tuple[float, ...] | None, more: Sequence[float | None]) -> tuple[float, ...] | None:
    known = [value for value in more if value is not None]
    return None if values is None or len(known) < len(more) else (*values, *known)


def _own_problem(section: PythonSection) -> Problem:
    function = _function(_load(section.file), section)
    try:
        inspect.signature(function).bind(**section.arguments)
    except TypeError as error:
        raise SettingsError(
            f"'problem.arguments' do not fit {section.function}{inspect.signature(function)} in '{section.file}': {error}."
        ) from error
    problem = _run(lambda: function(**section.arguments), section.file, f"{section.function}()")
    if not isinstance(problem, Problem):
        raise SettingsError(f"{section.function}() in '{section.file}' must return a Problem, got {type(problem).__name__}.")
    return problem


def _load(file: Path) -> ModuleType:
    if not file.is_file():
        raise SettingsError(f"'problem.file': {missing_path(file)}")
    spec = importlib.util.spec_from_file_location(f"unscatter_problem_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise SettingsError(f"'problem.file': '{file}' is not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name, and the file may import its neighbours.
    sys.modules[spec.name] = module
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    _run(lambda: spec.loader.exec_module(module) if spec.loader else None, file, "the file")
    return module


def _run(action: Callable[[], Any], file: Path, what: str) -> Any:
    """Run code of the user's; what goes wrong there is reported with its line."""
    try:
        return action()
    except UnscatterError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        place = f"'{file}', line {line}" if line else f"'{file}'"
        raise SettingsError(f"{what} of the problem failed in {place}: {type(error).__name__}: {error}") from error


def _function(module: ModuleType, section: PythonSection) -> Callable[..., Any]:
    function = getattr(module, section.function, None)
    if not callable(function):
        own = [name for name, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__]
        hint = did_you_mean(section.function, own)
        raise SettingsError(f"'problem.function': there is no function '{section.function}' in '{section.file}', which has {own}.{hint}")
    return function
