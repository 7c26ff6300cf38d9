"""Trying out a problem before work is spent on it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unscatter.arrays import Density, Events, Grid, RandomStream
from unscatter.arrays.memory import check_memory
from unscatter.errors import TheoryError, UnscatterError
from unscatter.pipeline.derivatives import NO_GRADIENT_HINT, jacobian
from unscatter.pipeline.memory import density_need
from unscatter.pipeline.pipeline import Pipeline, PipelineNoise, SyntheticEvents
from unscatter.pipeline.space import ParameterSpace

#: Up to this many numbers are learnt directly; more are taken for functions, which a network proposes.
DIRECT_LIMIT = 100
#: Points of the space that are tried beside start and truth.
_RANDOM_POINTS = 3
#: Timings take the fastest of so many passes.
_REPEATS = 3
#: Relative change of events and rates per relative change of a parameter that single precision cannot tell from rounding.
_INVISIBLE = 1e-6
#: Factor beyond all numbers of events that a theory gives where it was tried, up to which parameters may still explain what is seen.
_UNEXPLAINED = 2.0
#: What users' own functions raise when they are wrong. The check reports it; anything else is a bug that should be seen.
_USER_ERRORS = (UnscatterError, RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError)


@runtime_checkable
class Checkable(Protocol):
    """What :func:`check` needs of a :class:`~unscatter.pipeline.Problem`, which itself offers the check as a method."""

    @property
    def name(self) -> str:
        """Name of the problem."""
        ...

    @property
    def space(self) -> ParameterSpace:
        """Its parameters."""
        ...

    @property
    def pipeline(self) -> Pipeline:
        """Theory, sampler and detector."""
        ...

    @property
    def truth(self) -> tuple[float, ...] | None:
        """Known parameters of pseudo-data."""
        ...

    @property
    def start(self) -> tuple[float, ...] | None:
        """Where a fit starts."""
        ...

    @property
    def prior_width(self) -> float | None:
        """Width of a prior in the latent space; None without one."""
        ...

    @property
    def grid(self) -> Grid:
        """Nodes of the theory."""
        ...

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the measured data sets."""
        ...

    def density(self, parameters: Tensor) -> Density:
        """What the theory says for parameters ``[..., size]``."""
        ...

    def synthesize(self, parameters: Tensor, noise: PipelineNoise) -> SyntheticEvents:
        """Synthetic events for parameters ``[..., size]``."""
        ...


@dataclass(frozen=True)
class CheckReport:
    """What :func:`check` found.

    Args:
        problem: name of the problem.
        problems: what stands in the way of a fit, each with what to do; empty when all is well.
        notes: what is worth knowing but stops nothing.
        unreached: parameters that no gradient reaches.
        events_per_second: events through theory, sampler and detector, all channels together.
        events_per_second_with_gradient: the same with the way back to the parameters.
        expected_counts: recorded events that the theory makes one expect, by channel, at each of the points that were tried, of which the
            start is the first; empty where it says nothing about rates, or something is wrong.
        has_information: the theory can be differentiated as the Cramer-Rao bound needs it.
        generator: recommended generator, ``direct`` or ``network``.
        methods: names of the methods that can run.
    """

    problem: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    unreached: tuple[str, ...]
    events_per_second: float
    events_per_second_with_gradient: float
    expected_counts: Mapping[str, tuple[float, ...]]
    has_information: bool
    generator: str
    methods: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing stands in the way of a fit."""
        return not self.problems

    @property
    def has_rates(self) -> bool:
        """The theory gives expected counts."""
        return bool(self.expected_counts)

    def rate_note(self, channel: str, seen: float) -> str | None:
        """What to look at where the number of events seen is out of the theory's reach; None where it is not.

        Args:
            channel: which.
            seen: events of the channel as they are compared, or the sum of their weights.

        Example:
            >>> from unscatter.problems import proxy1d
            >>> report = proxy1d(nodes=33).check(num_events=64)
            >>> report.rate_note("proton", 90_000.0) is None
            True
        """
        expected = self.expected_counts.get(channel, ())
        if not expected or min(expected) / _UNEXPLAINED <= seen <= _UNEXPLAINED * max(expected):
            return None
        return (
            f"channel '{channel}' has {_count(seen)} events, but the theory expects {_count(expected[0])} at the start, and from "
            f"{_count(min(expected))} to {_count(max(expected))} where it was tried.\n"
            "Look at the luminosity and its unit, and at columns and cuts; or fit shapes alone: method.rates: off"
        )

    def require_ok(self) -> CheckReport:
        """The report itself, or a TheoryError that lists all problems."""
        if self.problems:
            raise TheoryError(f"problem '{self.problem}' cannot be solved as it is:\n" + "\n".join(f"- {text}" for text in self.problems))
        return self

    def lines(self) -> list[str]:
        """The report in lines, for people."""
        verdict = "can be solved" if self.ok else f"has {len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        rows = [f"{self.problem} {verdict}", *(f"problem: {text}" for text in self.problems), *(f"note: {text}" for text in self.notes)]
        if math.isfinite(self.events_per_second) and self.events_per_second > 0:
            rows.append(f"events per second: {self.events_per_second:.3g}, with gradients {self.events_per_second_with_gradient:.3g}")
        rows.append(f"rates: {'the theory gives expected counts' if self.has_rates else 'none, shapes only'}")
        rows.append(f"recommended generator: {self.generator}")
        rows.append(f"methods that can run: {', '.join(self.methods) or 'none'}")
        return rows


def check(problem: Checkable, *, num_events: int = 2048, seed: int = 0) -> CheckReport:
    """Try a problem out at its start, its truth and a few random points: shapes, finite values, gradients, speed.

    Nothing is raised for a problem that is wrong: the report names everything that was found.

    Args:
        problem: any problem.
        num_events: events per channel and point.
        seed: random points and noise.

    Raises:
        SettingsError: the grid has more nodes than memory can hold.

    Example:
        >>> from unscatter.problems import proxy1d
        >>> report = check(proxy1d())
        >>> report.ok, report.generator, report.methods
        (True, 'direct', ('gan',))
    """
    check_memory(density_need(problem.grid, len(problem.channels)), "the problem")
    trial = _Trial(problem, num_events, RandomStream(seed, ("check", problem.name)))
    return trial.report()


def check_gradients(problem: Checkable, *, num_events: int = 2048, seed: int = 0) -> None:
    """Refuse a problem with parameters that nothing depends on, at the price of one gradient where all is well.

    A gradient may vanish at a single point, as that of a square at zero: only where the start misses a parameter are the other points
    tried that :func:`check` tries.  A prior holds what nothing depends on, so problems with one are let through.

    Raises:
        TheoryError: no gradient reaches a parameter at any point.
    """
    if problem.prior_width is not None:
        return
    trial = _Trial(problem, num_events, RandomStream(seed, ("check", problem.name)))
    if unreached := trial.unreached():
        raise TheoryError(f"problem '{problem.name}' cannot be solved as it is: {_unreached_text(unreached)}")


@dataclass(frozen=True, eq=False)
class _Trial:
    problem: Checkable
    num_events: int
    stream: RandomStream

    def report(self) -> CheckReport:
        findings = list(self._findings_of_points())
        findings = findings or list(self._findings_of_batches())
        unreached: tuple[str, ...] = ()
        if not findings:
            gradient_findings, unreached = self._gradients()
            findings += gradient_findings
        works = not findings
        has_information, notes = self._information() if works else (False, ())
        forward, backward = (self._speed(gradient=False), self._speed(gradient=True)) if works else (0.0, 0.0)
        return CheckReport(
            problem=self.problem.name,
            problems=tuple(dict.fromkeys(findings)),
            notes=notes,
            unreached=unreached,
            events_per_second=forward,
            events_per_second_with_gradient=backward,
            expected_counts=self._expected_counts() if works else {},
            has_information=has_information,
            generator=recommended_generator(self.problem),
            methods=("gan",) if works else (),
        )

    def _points(self) -> list[tuple[str, Tensor]]:
        space = self.problem.space
        points = []
        for label, values in (("the start", self.problem.start), ("the truth", self.problem.truth)):
            if values is not None:
                points.append((label, torch.tensor(values, dtype=torch.float32)))
        if self.problem.start is None:
            points.insert(0, ("the middle of the space", space.to_parameters(torch.zeros(space.latent_size))))
        latent = torch.randn(_RANDOM_POINTS, space.latent_size, generator=self.stream.generator("points"))
        return points + [(f"the random point {_rounded(p)}", p) for p in space.to_parameters(latent)]

    def _noise(self, batch_shape: tuple[int, ...] = ()) -> PipelineNoise:
        return self.problem.pipeline.draw_noise(batch_shape, self.num_events, generator=self.stream.generator("noise"))

    def _density(self, parameters: Tensor) -> Density:
        with torch.no_grad():
            return self.problem.density(parameters)

    def _synthesize(self, parameters: Tensor) -> SyntheticEvents:
        return self.problem.synthesize(parameters, self._noise(tuple(parameters.shape[:-1])))

    def _findings_of_points(self) -> Iterator[str]:
        """The first finding, and at how many points something is wrong: the rest would mostly repeat it."""
        points = self._points()
        found = [finding for label, p in points if (finding := self._attempt(label, lambda p=p: self._point(p)))]
        if found:
            yield found[0] + (f"\n{len(found)} of {len(points)} points that were tried are wrong." if len(found) > 1 else "")

    def _attempt(self, label: str, action: Callable[[], str | None]) -> str | None:
        try:
            finding = action()
        except UnscatterError as error:
            return f"at {label}: {error}"
        except _USER_ERRORS as error:
            return f"at {label}: theory or detector raised {type(error).__name__}: {error}{_hint(error)}"
        return None if finding is None else f"at {label}: {finding}"

    def _point(self, parameters: Tensor) -> str | None:
        density = self._density(parameters)
        return self._density_finding(density) or self._events_finding(parameters, density)

    def _density_finding(self, density: Density) -> str | None:
        channels, wanted = len(self.problem.channels), (len(self.problem.channels), *self.problem.grid.shape)
        if tuple(density.values.shape) != wanted:
            return (
                f"the theory must return values [channel, *nodes] = {wanted} for one set of parameters, got {tuple(density.values.shape)}."
            )
        for index, (channel, values) in enumerate(zip(self.problem.channels, density.values, strict=True)):
            if not bool(torch.isfinite(values).all()):
                return (
                    f"the density of channel '{channel}' is not finite at {int((~torch.isfinite(values)).sum())} of {values.numel()} nodes."
                )
            if bool((values < 0).any()):
                return (
                    f"the density of channel '{channel}' is negative at {int((values < 0).sum())} of {values.numel()} nodes, "
                    f"the lowest value is {float(values.min()):g}.\nNarrow the ranges of the parameters, "
                    "or write the density as a square or exponential."
                )
            if not bool((values > 0).any()):
                return f"the density of channel '{channel}' (number {index + 1} of {channels}) is zero everywhere."
        counts = density.expected_counts
        if counts is not None and not bool((torch.isfinite(counts) & (counts > 0)).all()):
            return f"expected counts must be positive and finite, got {dict(zip(self.problem.channels, counts.tolist(), strict=True))}."
        return None

    def _events_finding(self, parameters: Tensor, density: Density) -> str | None:
        pipeline, noise = self.problem.pipeline, self._noise()
        nuisances = {name: value[..., None, None] for name, value in self.problem.space.nuisance_values(parameters).items()}
        with torch.no_grad():
            events = pipeline.sampler(density, noise.sampler)
            if finding := self._sampled_finding(events):
                return finding
            pipeline.detector.validate(events, noise.detector, nuisances)
            recorded = self.problem.synthesize(parameters, noise)
        return self._recorded_finding(recorded)

    def _sampled_finding(self, events: Events) -> str | None:
        if not bool(torch.isfinite(events.values).all()):
            return "the sampler returned events that are not finite."
        for name, low, high in zip(self.problem.grid.names, self.problem.grid.low, self.problem.grid.high, strict=True):
            values = events.column(name)
            slack = 1e-5 * (high - low)
            outside = (values < low - slack) | (values > high + slack)
            if bool(outside.any()):
                return (
                    f"{int(outside.sum())} events of the sampler lie outside the grid in '{name}' ([{low:g}, {high:g}]), "
                    f"from {float(values.min()):g} to {float(values.max()):g}."
                )
        return None

    def _recorded_finding(self, recorded: SyntheticEvents) -> str | None:
        events, channels = recorded.events, self.problem.channels
        for index, name in enumerate(events.columns):
            values = events.values[..., index]
            if not bool(torch.isfinite(values).all()):
                return f"the detector returned {int((~torch.isfinite(values)).sum())} values of '{name}' that are not finite."
        weights = events.weights_or_ones()
        if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
            return "the detector returned weights that are negative or not finite."
        lost = [channel for channel, total in zip(channels, weights.sum(-1).tolist(), strict=True) if not total > 0]
        if lost:
            return f"the detector records no event in {lost}: look at cuts and efficiency."
        counts = recorded.expected_counts
        if counts is not None and not bool((torch.isfinite(counts) & (counts > 0)).all()):
            return f"expected counts behind the detector must be positive and finite, got {counts.tolist()}."
        return None

    def _findings_of_batches(self) -> Iterator[str]:
        """Whether many sets of parameters at once give what each gives alone."""
        batch = torch.stack([parameters for _, parameters in self._points()])
        finding = self._attempt("a batch of points", lambda: self._batch(batch))
        if finding:
            yield finding

    def _batch(self, batch: Tensor) -> str | None:
        together = self._density(batch.unsqueeze(0)).values
        alone = torch.stack([self._density(parameters).values for parameters in batch]).unsqueeze(0)
        if together.shape != alone.shape:
            return (
                f"the theory must map [1, {len(batch)}, *parameters] to values of shape {tuple(alone.shape)}, got {tuple(together.shape)}."
            )
        if not torch.allclose(together, alone, rtol=1e-3, atol=1e-5 * float(alone.abs().max())):
            return (
                "the theory gives other densities for a set of parameters in a batch than for the same set alone: "
                "it mixes the batch axis with others."
            )
        with torch.no_grad():
            self._synthesize(batch.unsqueeze(0))
        return None

    def _gradients(self) -> tuple[list[str], tuple[str, ...]]:
        """Findings, and the names of parameters whose gradient is zero to rounding at every point."""
        reached = torch.zeros(self.problem.space.size, dtype=torch.bool)
        for label, parameters in self._points():
            gradients: list[Tensor] = []
            if finding := self._attempt(label, lambda p=parameters, g=gradients: self._gradient_finding(p, g)):
                return [finding], ()
            reached |= gradients[0].abs() > _INVISIBLE
        unreached = self._names(~reached)
        return ([_unreached_text(unreached)] if unreached else []), unreached

    def unreached(self) -> tuple[str, ...]:
        """Names of parameters that no gradient reaches, at the first point or at any; other faults are not looked for."""
        reached = torch.zeros(self.problem.space.size, dtype=torch.bool)
        for number, (label, parameters) in enumerate(self._points()):
            gradients: list[Tensor] = []
            if number == 0:
                self._gradient_finding(parameters, gradients)
            else:
                self._attempt(label, lambda p=parameters, g=gradients: self._gradient_finding(p, g))
            # A gradient that is not finite is a fault of another kind, which a fit skips and counts.
            reached |= ~(gradients[0].abs() <= _INVISIBLE) if gradients else False
            if bool(reached.all()):
                break
        return self._names(~reached)

    def _names(self, chosen: Tensor) -> tuple[str, ...]:
        return tuple(name for name, is_chosen in zip(self.problem.space.names, chosen.tolist(), strict=True) if is_chosen)

    def _gradient_finding(self, parameters: Tensor, found: list[Tensor]) -> str | None:
        parameters = parameters.clone().requires_grad_()
        density = self.problem.density(parameters)
        if not density.values.requires_grad:
            raise TheoryError(
                f"the theory is without gradient: its values do not depend on the parameters as far as PyTorch can see.\n{NO_GRADIENT_HINT}"
            )
        synthetic = self.problem.synthesize(parameters, self._noise())
        total, size = torch.zeros(()), 0.0
        outputs = [synthetic.events.values, synthetic.events.weights, synthetic.expected_counts]
        for index, output in enumerate(outputs):
            if output is not None and output.requires_grad:
                # Random factors: in plain sums, gradients of symmetric densities would cancel.
                factors = torch.rand(output.shape, generator=self.stream.generator("factors", index))
                total = total + (output * factors).sum()
                size += float((output.detach().abs() * factors).sum())
        if not total.requires_grad:
            return "neither events nor rates carry a gradient back to the parameters: sampler or detector detach it."
        (gradient,) = torch.autograd.grad(total, parameters)
        point = parameters.detach().abs()
        found.append(gradient * torch.where(point > 0, point, 1.0) / max(size, torch.finfo(gradient.dtype).tiny))
        bad = [name for name, value in zip(self.problem.space.names, gradient.tolist(), strict=True) if not math.isfinite(value)]
        return f"the gradient by {bad} is not finite." if bad else None

    def _expected_counts(self) -> dict[str, tuple[float, ...]]:
        with torch.no_grad():
            found = [self._synthesize(parameters).expected_counts for _, parameters in self._points()]
        counts = [expected.tolist() for expected in found if expected is not None]
        return dict(zip(self.problem.channels, zip(*counts, strict=True), strict=True)) if counts else {}

    def _information(self) -> tuple[bool, tuple[str, ...]]:
        point = self._points()[0][1].double()
        try:
            jacobian(lambda p: self.problem.density(p).values, point)
        except _USER_ERRORS as error:
            return False, (f"no Cramer-Rao bound: {error}",)
        return True, ()

    def _speed(self, *, gradient: bool) -> float:
        parameters = self._points()[0][1].clone().requires_grad_(gradient)
        noise, seconds = self._noise(), math.inf
        for _ in range(_REPEATS):
            begin = time.perf_counter()
            with torch.set_grad_enabled(gradient):
                synthetic = self.problem.synthesize(parameters, noise)
                outputs = [synthetic.events.values, synthetic.events.weights, synthetic.expected_counts]
                if gradient:
                    total = torch.stack([output.sum() for output in outputs if output is not None and output.requires_grad]).sum()
                    torch.autograd.grad(total, parameters)
            seconds = min(seconds, time.perf_counter() - begin)
        return self.num_events * len(self.problem.channels) / max(seconds, 1e-9)


def _unreached_text(names: Sequence[str]) -> str:
    return (
        f"no gradient reaches {list(names)}: neither events nor rates depend on them.\n"
        "Remove them from the space, or let theory or detector use them with torch operations."
    )


def recommended_generator(problem: Checkable) -> str:
    """``direct`` for up to a hundred numbers, ``network`` for functions: more numbers, or parameters on several axes."""
    return "direct" if problem.space.size <= DIRECT_LIMIT and len(problem.space.physics_shape) == 1 else "network"


def _hint(error: Exception) -> str:
    text = str(error)
    leaves_torch = any(
        word in text for word in ("numpy()", "data pointer", "requires grad", ".item()", "vmap", "data-dependent", "Tensor.tolist")
    )
    return f"\n{NO_GRADIENT_HINT}" if leaves_torch else ""


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _rounded(parameters: Tensor) -> str:
    shown = ", ".join(f"{value:.3g}" for value in parameters.flatten()[:6].tolist())
    return f"({shown}{', ...' if parameters.numel() > 6 else ''})"
