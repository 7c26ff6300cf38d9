"""A problem: what is unknown, the forward model, and what is observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unscatter.arrays import Density, Events, Grid, RandomStream
from unscatter.detectors import unweight
from unscatter.errors import ColumnError, ParameterError, SettingsError
from unscatter.events.inspection import Inspection
from unscatter.pipeline.channels import check_channel_name
from unscatter.pipeline.check import CheckReport
from unscatter.pipeline.check import check as check_problem
from unscatter.pipeline.curves import CurveFamily
from unscatter.pipeline.measurements import Measurement
from unscatter.pipeline.memory import check_simulation
from unscatter.pipeline.pipeline import Pipeline, PipelineNoise, SyntheticEvents
from unscatter.pipeline.space import ParameterSpace
from unscatter.samplers import Rosenblatt

#: Events per pass when pseudo-data are made; bounds the memory, not the result.
_SIMULATION_BLOCK = 1_000_000


@dataclass(frozen=True, eq=False)
class Problem:
    """Unknown parameters, the forward model from them to events, and the observables that are compared with data.

    Args:
        name: used in run directories and reports.
        space: the parameters, theory first, nuisances of the detector last.
        pipeline: theory, sampler and detector.
        observables: columns that are compared with data; all columns that the detector records when empty.
        truth: parameters that pseudo-data are made with, one per name of the space, where they are known.
        start: parameters that a fit starts from; the middle of the latent space when None.
        prior_width: standard deviation, in the latent space of unbounded numbers, of a Gaussian prior; no prior when None.  An interval
            is about ten latent units wide, so 1 means a tenth of every range.  For problems with more parameters than the events can
            determine: each replica of an ensemble is drawn to a centre of its own, a draw of the prior.
        prior_centre: parameters at the centre of the prior; the start when None.
        description: one line for ``unscatter problems``.
        preparation: maps the measured events of a channel, given its name, to those that are compared, for instance by cuts that the
            forward model has as well; they are compared as they are when None.
        inspection: counts in the measured events of a channel what they are refused for, before they are prepared; numbers of the blocks of
            a store add up, and are judged once.
        needs: columns that the preparation needs beside the observables.
        curves: functions of the parameters that reports draw with bands.
        measurements: published values that the result is compared with, without being fitted.
        truth_problem: a problem with a truth of its own that pseudo-data are made with instead, where the truth is no point of the space,
            for instance densities of somebody else's fit; it has the same channels, observables and curves.

    Raises:
        ParameterError: truth or start do not fit the space, or the space does not fit the theory.
        ColumnError: an observable that the detector does not record.
        SettingsError: nuisances of the space and of the detector differ, the truth problem does not fit, or a channel's name could not be
            that of a file.

    Example:
        >>> from unscatter.pipeline import ParameterSpace, Pipeline
        >>> from unscatter.theories import FunctionTheory
        >>> theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), Grid.from_axes({"time_s": torch.linspace(0, 10, 101)}), (1,))
        >>> problem = Problem("decay", ParameterSpace.from_ranges({"rate": (0.1, 2.0)}), Pipeline(theory), truth=(0.5,))
        >>> problem.simulate(num_events=1000, seed=1)["events"].values.shape
        torch.Size([1000, 1])
    """

    name: str
    space: ParameterSpace
    pipeline: Pipeline
    observables: tuple[str, ...] = ()
    truth: tuple[float, ...] | None = None
    start: tuple[float, ...] | None = None
    prior_width: float | None = None
    prior_centre: tuple[float, ...] | None = None
    description: str = ""
    preparation: Callable[[str, Events], Events] | None = None
    inspection: Inspection | None = None
    needs: tuple[str, ...] = ()
    curves: tuple[CurveFamily, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    truth_problem: Problem | None = None

    def __post_init__(self) -> None:
        for channel in self.channels:
            check_channel_name(channel)
        if self.space.physics_shape != self.pipeline.theory.parameter_shape:
            raise ParameterError(
                f"the space has physics parameters of shape {self.space.physics_shape}, "
                f"but the theory takes {self.pipeline.theory.parameter_shape}."
            )
        if set(self.space.nuisances) != set(self.pipeline.detector.nuisances):
            raise SettingsError(
                f"the detector has the nuisances {list(self.pipeline.detector.nuisances)}, "
                f"but the space has {list(self.space.nuisances)}.\n"
                "Give each one a range: ParameterSpace.from_ranges({...}, nuisances={'name': (low, high)})."
            )
        for label, values in (("truth", self.truth), ("start", self.start), ("prior_centre", self.prior_centre)):
            self._check_parameters(label, values)
        if self.prior_width is not None and not self.prior_width > 0:
            raise SettingsError(f"'prior_width' of problem '{self.name}' must be positive, got {self.prior_width:g}; None means no prior.")
        recorded = self.pipeline.detector.columns_out(self.grid.names)
        for what, names in (("observable", self.observables), ("needed column", self.needs)):
            for name in names:
                if name not in recorded:
                    raise ColumnError(f"{what} '{name}' is not recorded; the detector records {list(recorded)}.")
        if not self.observables:
            object.__setattr__(self, "observables", recorded)
        if self.truth_problem is not None:
            self._check_truth_problem(self.truth_problem)

    def _check_truth_problem(self, other: Problem) -> None:
        if self.truth is not None or other.truth is None:
            raise SettingsError(f"problem '{self.name}' needs either a truth of its own or a 'truth_problem' that has one, not both.")
        mine, its = ([list(problem.channels), list(problem.measured_columns)] for problem in (self, other))
        if mine != its:
            raise SettingsError(f"problem '{self.name}' has channels and measured columns {mine}, but its 'truth_problem' has {its}.")

    def _check_parameters(self, label: str, values: Sequence[float] | None) -> None:
        if values is None:
            return
        if len(values) != self.space.size:
            raise ParameterError(f"'{label}' needs {self.space.size} values for {list(self.space.names)}, got {len(values)}.")
        self._check_inside(label, torch.tensor(values, dtype=torch.float64))

    @property
    def grid(self) -> Grid:
        """Nodes of the theory."""
        return self.pipeline.theory.grid

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the measured data sets."""
        return self.pipeline.theory.channels

    @property
    def measured_columns(self) -> tuple[str, ...]:
        """What measured events must have: the observables, then what the preparation needs beside them."""
        return (*self.observables, *(name for name in self.needs if name not in self.observables))

    @property
    def start_latent(self) -> Tensor:
        """Where fits start, ``[latent_size]``, float64: the start, or the middle of the latent space."""
        return self._latent(self.start)

    @property
    def prior_latent(self) -> Tensor:
        """Centre of the prior, ``[latent_size]``, float64."""
        return self._latent(self.start if self.prior_centre is None else self.prior_centre)

    def _latent(self, parameters: tuple[float, ...] | None) -> Tensor:
        if parameters is None:
            return torch.zeros(self.space.latent_size, dtype=torch.float64)
        return self.space.to_latent(torch.tensor(parameters, dtype=torch.float64))

    def density(self, parameters: Tensor) -> Density:
        """What the theory says for parameters ``[..., size]``."""
        return self.pipeline.theory(self.space.physics_params(parameters))

    def synthesize(self, parameters: Tensor, noise: PipelineNoise) -> SyntheticEvents:
        """Synthetic events for parameters ``[..., size]``, observables only, differentiable."""
        return self._through(self.pipeline, parameters, noise, self.observables)

    def record(self, parameters: Tensor, noise: PipelineNoise, pipeline: Pipeline) -> SyntheticEvents:
        """What an experiment would keep of events for parameters ``[..., size]``: all measured columns, weighted.

        Args:
            parameters: of the space.
            noise: for the pipeline.
            pipeline: that of the problem, perhaps with another sampler.
        """
        return self._through(pipeline, parameters, noise, self.measured_columns)

    def _through(self, pipeline: Pipeline, parameters: Tensor, noise: PipelineNoise, columns: tuple[str, ...]) -> SyntheticEvents:
        synthetic = pipeline(self.space.physics_params(parameters), noise, self.space.nuisance_values(parameters))
        return replace(synthetic, events=synthetic.events.select(columns))

    def prepare(self, channel: str, events: Events) -> Events:
        """All measured events of a channel as they are compared: inspected and prepared if need be, observables only."""
        if self.inspection is not None:
            self.inspection(events).judge(channel)
        return self.prepare_part(channel, events)

    def prepare_part(self, channel: str, events: Events) -> Events:
        """Some of the measured events of a channel as they are compared, such as a block of a store: each by itself, none inspected."""
        prepared = events if self.preparation is None else self.preparation(channel, events)
        return prepared.select(self.observables)

    def parameters_or_truth(
        self, parameters: Sequence[float] | Mapping[str, float] | Tensor | None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Parameters ``[size]`` as a tensor; the truth when None.

        Raises:
            ParameterError: no truth is known, or names or the number of values do not fit.
        """
        if parameters is None:
            if self.truth is None:
                raise ParameterError(
                    f"problem '{self.name}' has no known truth: give the parameters, one each for {list(self.space.names)}."
                )
            parameters = self.truth
        if isinstance(parameters, Mapping):
            unknown = set(parameters) - set(self.space.names)
            missing = [name for name in self.space.names if name not in parameters]
            if unknown or missing:
                raise ParameterError(f"parameters must name {list(self.space.names)}; unknown {sorted(unknown)}, missing {missing}.")
            parameters = [parameters[name] for name in self.space.names]
        values = torch.as_tensor(parameters, dtype=dtype)
        if values.shape != (self.space.size,):
            raise ParameterError(
                f"parameters must be {self.space.size} numbers for {list(self.space.names)}, got the shape {tuple(values.shape)}."
            )
        return values

    def true_curves(self, family: CurveFamily) -> Tensor | None:
        """Curves of one family at the truth, ``[curve, points]``, float64; None where no truth is known.

        Args:
            family: one of :attr:`curves`.
        """
        source = self.truth_problem or self
        own = {candidate.name: candidate for candidate in source.curves}.get(family.name)
        if own is None or source.truth is None:
            return None
        with torch.no_grad():
            return own.function(torch.tensor(source.truth, dtype=torch.float64)).double()

    def simulate(
        self,
        parameters: Sequence[float] | Mapping[str, float] | Tensor | None = None,
        *,
        num_events: int | Mapping[str, int] | None = None,
        seed: int = 0,
        purpose: str = "simulate",
    ) -> dict[str, Events]:
        r"""Make pseudo-data: unweighted events per channel, as an experiment would record them.

        Events that the detector misses are dropped.  Without ``num_events`` the recorded number is Poisson distributed around the
        expected one, so that rates fluctuate as in an experiment.

        Args:
            parameters: one value per name of the space; the truth when None.
            num_events: exactly so many recorded events, per channel or for each.
            seed: fixes everything, together with the purpose.
            purpose: samples of different purposes are independent even for the same seed.

        Raises:
            SettingsError: no number of events, and a theory without a luminosity; or more events than memory can hold.
            ParameterError: no truth is known, or the parameters do not fit.
        """
        if parameters is None and self.truth_problem is not None:
            return self.truth_problem.simulate(num_events=num_events, seed=seed, purpose=purpose)
        values = self.parameters_or_truth(parameters)
        self._check_inside("parameters", values)
        stream = RandomStream(seed, (purpose, self.name))
        simulation = _Simulation(self, values, stream)
        check_simulation(self.grid, len(self.channels), {}, len(self.measured_columns))
        wanted = simulation.numbers_wanted(num_events)
        check_simulation(self.grid, len(self.channels), wanted, len(self.measured_columns))
        return {channel: simulation.channel(index, wanted[channel]) for index, channel in enumerate(self.channels)}

    def check(self, *, num_events: int = 2048, seed: int = 0) -> CheckReport:
        """Try the problem out, see :func:`unscatter.pipeline.check.check`: shapes, finite values, gradients, speed."""
        return check_problem(self, num_events=num_events, seed=seed)

    def _check_inside(self, label: str, values: Tensor) -> None:
        try:
            self.space.to_latent(values)
        except ParameterError as error:
            order = f"The parameters are, in this order, {list(self.space.names)}."
            raise ParameterError(f"'{label}' of problem '{self.name}': {error}\n{order}") from None


def numbers_per_channel(channels: Sequence[str], num_events: int | Mapping[str, int]) -> dict[str, int]:
    """Numbers of events by channel, from one for each of them or from one per channel.

    Raises:
        SettingsError: other channels are named.
    """
    if not isinstance(num_events, Mapping):
        return dict.fromkeys(channels, num_events)
    if set(num_events) != set(channels):
        raise SettingsError(f"'num_events' must name the channels {list(channels)}, got {list(num_events)}.")
    return dict(num_events)


@dataclass(frozen=True, eq=False)
class _Simulation:
    problem: Problem
    parameters: Tensor
    stream: RandomStream

    def numbers_wanted(self, num_events: int | Mapping[str, int] | None) -> dict[str, int]:
        channels = self.problem.channels
        if num_events is not None:
            return numbers_per_channel(channels, num_events)
        expected = self._pass("expected", 100_000).expected_counts
        if expected is None:
            raise SettingsError(
                f"problem '{self.problem.name}' has no luminosity, so the number of events must be given: simulate(num_events=100_000)."
            )
        counts = torch.poisson(expected, generator=self.stream.generator("counts"))
        return {channel: int(count) for channel, count in zip(channels, counts, strict=True)}

    def channel(self, index: int, wanted: int) -> Events:
        parts: list[Tensor] = []
        found, block = 0, 0
        while found < wanted:
            events = self._block(index, block, min(_SIMULATION_BLOCK, 2 * (wanted - found) + 1000))
            parts.append(events.values[: wanted - found])
            found += len(parts[-1])
            block += 1
            if found == 0 and block == 10:
                raise SettingsError(
                    f"the detector recorded none of {block * 1000} or more events in channel '{self.problem.channels[index]}'.\n"
                    "Look at its cuts and efficiencies with problem.check()."
                )
        columns = self.problem.measured_columns
        return Events(torch.cat(parts) if parts else torch.empty(0, len(columns), dtype=torch.float64), columns)

    def _block(self, index: int, block: int, num_events: int) -> Events:
        synthetic = self._pass(f"{self.problem.channels[index]}/{block}", num_events)
        uniforms = torch.rand(
            synthetic.events.values.shape[:-1], generator=self.stream.generator("keep", index, block), dtype=torch.float64
        )
        kept = unweight(synthetic.events, uniforms)[index]
        # Samplers may return events in order of the first observable, and backgrounds come last: a cut-off list must not keep that order.
        order = torch.randperm(kept.num_events, generator=self.stream.generator("order", index, block))
        return Events(kept.values[order], kept.columns)

    def _pass(self, key: str, num_events: int) -> SyntheticEvents:
        generator = self.stream.generator(key)
        # Whatever the fit samples with, an experiment records independent events from the density itself.
        independent = self.problem.pipeline.with_sampler(Rosenblatt())
        noise = independent.draw_noise((), num_events, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            return self.problem.record(self.parameters, noise, independent)
