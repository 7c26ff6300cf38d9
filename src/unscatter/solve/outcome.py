"""Judging a fit and writing down what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unscatter.arrays import Events, RandomStream
from unscatter.diagnostics import (
    CramerRao,
    CurvePoint,
    Settled,
    TwoSampleResult,
    combined_p_value,
    compare_columns,
    compare_measurement,
    compare_slices,
    cramer_rao,
    curve_points,
    curve_sentences,
    determined_combinations,
    leading_directions,
    settled,
    two_sample_test,
)
from unscatter.events import EventSource
from unscatter.methods import Estimate, Method
from unscatter.pipeline import Box, Problem
from unscatter.solve.fit import Fit, Row
from unscatter.solve.settings import SolveSettings

#: Events per channel that test and comparison look at; more would cost time and show nothing new.
_DIAGNOSED_EVENTS = 200_000
#: Parameter sets of a noise-fed generator that synthetic events are made of.
_MIXED_SETS = 16


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Everything that is computed to judge a fit, each when it is first asked for.

    Args:
        problem: what was fitted.
        estimate: parameters of all replicas.
        training: events that the fit has seen.
        held_out: events that it has not seen, or None.
        settings: of the loop.
        rates: whether the numbers of events were fitted.
    """

    problem: Problem
    estimate: Estimate
    training: EventSource
    held_out: EventSource | None
    settings: SolveSettings
    rates: bool

    @cached_property
    def bound(self) -> CramerRao:
        """Statistical limit at the fitted parameters."""
        return cramer_rao(self.problem, central(self.estimate), self.training.effective_counts, rates=self.rates)

    @cached_property
    def errors(self) -> Tensor:
        """Errors of the parameters, ``[size]``: spread of the replicas, or the bound for a single fit."""
        spread = replica_spread(self.estimate)
        return self.bound.sigma if spread is None else spread

    @cached_property
    def settled(self) -> Settled | None:
        """Whether the averaged parameters have come to rest; None after a round too short for a tail with two halves."""
        if len(self.estimate.history) < 2:
            return None
        # Replicas that started together and had no time to part have a spread below the smallest possible error.
        bound = torch.where(torch.isfinite(self.bound.sigma), self.bound.sigma, 0.0).to(self.errors)
        errors = torch.maximum(self.errors, bound)
        return settled(self.estimate.history, errors, share=self.settings.settle_share, names=self.problem.space.names)

    @cached_property
    def synthetic(self) -> dict[str, Events]:
        """Fresh events of the fit: four times as many as measured, so that their own fluctuations hardly count."""
        counts = dict(zip(self.problem.channels, self.training.counts.mean(0).tolist(), strict=True))
        num_events = {channel: int(min(_DIAGNOSED_EVENTS, max(10_000, 4 * count))) for channel, count in counts.items()}
        sets = _representative_sets(self.estimate)
        share = {channel: -(-n // len(sets)) for channel, n in num_events.items()}
        parts = [
            # A purpose of its own: pseudo-data that were made with the same seed must not come out again.
            self.problem.simulate(parameters, num_events=share, seed=self.settings.seed, purpose=f"diagnosis/{i}")
            for i, parameters in enumerate(sets)
        ]
        return {
            channel: Events(torch.cat([part[channel].values for part in parts]), parts[0][channel].columns)
            for channel in self.problem.channels
        }

    @cached_property
    def two_sample(self) -> dict[str, TwoSampleResult] | None:
        """Per channel: trained on events that the fit has seen, judged on those that it has not."""
        if self.held_out is None:
            return None
        return {channel: self._test(channel, self.held_out) for channel in self.problem.channels}

    def _test(self, channel: str, held_out: EventSource) -> TwoSampleResult:
        seen = self.training.of_channel(channel, max_events=_DIAGNOSED_EVENTS // 2)
        unseen = held_out.of_channel(channel, max_events=_DIAGNOSED_EVENTS // 2)
        level, seed = self.settings.test_level, self.settings.seed
        return two_sample_test(unseen, self.synthetic[channel], training=seen, seed=seed, level=level)

    @property
    def converged(self) -> bool:
        """Both halves of the averaged tail agree, and a fresh discriminator cannot tell synthetic from held-out events.

        The adversarial loss says nothing about it.
        """
        tests = self.two_sample or {}
        passed = not tests or combined_p_value([test.p_value for test in tests.values()]) >= self.settings.test_level
        return passed and self.settled is not None and self.settled.passes

    @cached_property
    def comparison(self) -> list[Row]:
        """One row per channel, column and bin."""
        rows = [compare_columns(*pair, channel=name, expected=rate) for name, (*pair, rate) in self._compared.items()]
        return [asdict(row) for of_channel in rows for row in of_channel]

    @cached_property
    def slices(self) -> list[Row]:
        """One row per channel and bin of the first observable in slices of the second; empty where there is only one observable."""
        if len(self.problem.observables) < 2:
            return []
        rows = [compare_slices(*pair, channel=name, expected=rate) for name, (*pair, rate) in self._compared.items()]
        return [asdict(row) for of_channel in rows for row in of_channel]

    @cached_property
    def _compared(self) -> dict[str, tuple[Events, Events, float | None]]:
        """Measured and synthetic events of each channel, and how many are expected."""
        expected = self.expected_counts or {}
        measured = {channel: self.training.of_channel(channel, max_events=_DIAGNOSED_EVENTS) for channel in self.problem.channels}
        return {
            # A sample of the measured events says nothing about their number.
            channel: (events, self.synthetic[channel], expected.get(channel) if events.num_events < _DIAGNOSED_EVENTS else None)
            for channel, events in measured.items()
        }

    @cached_property
    def expected_counts(self) -> dict[str, float] | None:
        """Events that the fit expects to be recorded, per channel; None where rates were not fitted."""
        if not self.rates:
            return None
        random, sets = RandomStream(self.settings.seed).generator("expected counts"), torch.stack(_representative_sets(self.estimate))
        noise = self.problem.pipeline.draw_noise((len(sets),), _DIAGNOSED_EVENTS // len(sets), generator=random, dtype=torch.float64)
        with torch.no_grad():
            counts = self.problem.synthesize(sets, noise).expected_counts
        assert counts is not None
        return dict(zip(self.problem.channels, (counts.mean(0) * self.training.exposure).tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether a fit is done.

    Args:
        stop_reason: ``converged``, ``out of rounds``, ``not judged`` or ``interrupted``; None to go on.
        diagnosis: what it rests on, or None for the last two.
    """

    stop_reason: str | None
    diagnosis: Diagnosis | None = None


def judge(diagnosis: Diagnosis, *, last: bool) -> Verdict:
    """Apply the stopping rule at the end of a round."""
    if not diagnosis.settings.diagnose:
        return Verdict("not judged")
    if diagnosis.converged:
        return Verdict("converged", diagnosis)
    return Verdict("out of rounds" if last else None, diagnosis)


def conclude(problem: Problem, method: Method[Any], state: Any, training: EventSource, verdict: Verdict, seconds: float) -> Fit:
    """Put the tables of a fit together."""
    assert verdict.stop_reason is not None
    estimate, diagnosis = method.result(state), verdict.diagnosis
    points = curve_points(problem, estimate.samples, None if diagnosis is None else diagnosis.bound)
    compared = [compare_measurement(measurement, estimate.parameters) for measurement in problem.measurements]
    return Fit(
        problem=problem,
        estimate=estimate,
        num_steps=state.step,
        stop_reason=verdict.stop_reason,
        parameters=_parameter_rows(problem, estimate, None if diagnosis is None else diagnosis.bound),
        replicas=_replica_rows(estimate),
        comparison=[] if diagnosis is None else diagnosis.comparison,
        slices=[] if diagnosis is None else diagnosis.slices,
        curves=[asdict(point) for point in points],
        measurements=[row for comparison in compared for row in comparison.rows()],
        summary=_summary(problem, method, state, estimate, training, verdict, seconds)
        | _curves_record(problem, diagnosis, points)
        | {"measurements": [comparison.record() for comparison in compared]},
    )


def replica_spread(estimate: Estimate) -> Tensor | None:
    """Standard deviation over the replicas, ``[size]``, or None for a single fit."""
    return estimate.parameters.double().std(0) if len(estimate.parameters) > 1 else None


def central(estimate: Estimate) -> Tensor:
    """Mean over replicas and samples, ``[size]``, float64 on the CPU."""
    return estimate.parameters.double().mean(0).cpu()


def _representative_sets(estimate: Estimate) -> list[Tensor]:
    """Those of the replicas and of what a noise-fed generator proposes, or some of them: it is their mixture that has to look measured.

    The mean of the parameters would not do: where replicas lie along a curved valley, it lies beside that.
    """
    proposed = estimate.samples.flatten(0, 1).double().cpu()
    return list(proposed[torch.linspace(0, len(proposed) - 1, min(len(proposed), _MIXED_SETS)).round().long()])


def _parameter_rows(problem: Problem, estimate: Estimate, bound: CramerRao | None) -> list[Row]:
    values, spread = central(estimate).tolist(), replica_spread(estimate)
    return [_parameter_row(problem, i, values[i], None if spread is None else float(spread[i]), bound) for i in range(problem.space.size)]


def _parameter_row(problem: Problem, index: int, value: float, error: float | None, bound: CramerRao | None) -> Row:
    name = problem.space.names[index]
    sigma = None if bound is None else _finite(float(bound.sigma[index]))
    truth = None if problem.truth is None else problem.truth[index]
    scale = error or sigma
    low, high = _range(problem, index)
    return {
        "name": name,
        "value": value,
        "error": error,
        "bound": sigma,
        "relative_bound": None if sigma is None or value == 0 else sigma / abs(value),
        "truth": truth,
        "pull": None if truth is None or not scale else (value - truth) / scale,
        "low": low,
        "high": high,
        "role": "nuisance" if name in problem.space.nuisances else "physics",
        "determined": bound is None or sigma is not None,
    }


def _replica_rows(estimate: Estimate) -> list[Row]:
    return [
        {"replica": replica, "name": name, "value": value}
        for replica, values in enumerate(estimate.parameters.tolist())
        for name, value in zip(estimate.names, values, strict=True)
    ]


def _range(problem: Problem, index: int) -> tuple[float | None, float | None]:
    if not isinstance(problem.space.bijection, Box):
        return None, None
    return _finite(problem.space.bijection.low[index]), _finite(problem.space.bijection.high[index])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _summary(
    problem: Problem, method: Method[Any], state: Any, estimate: Estimate, events: EventSource, verdict: Verdict, seconds: float
) -> dict[str, Any]:
    return {
        "problem": problem.name,
        "description": problem.description,
        "method": method.name,
        "steps": state.step,
        "seconds": seconds,
        "steps_per_second": state.step / seconds,
        "stop_reason": verdict.stop_reason,
        "converged": verdict.stop_reason == "converged",
        "num_events": dict(zip(problem.channels, events.counts.mean(0).tolist(), strict=True)),
        "skipped_share": method.skipped_share(state),
        "num_replicas": len(estimate.parameters),
        "rates": method.uses_rates(state),
        "error_source": "Cramer-Rao bound" if replica_spread(estimate) is None else "replica spread",
        **_diagnosis_record(verdict.diagnosis),
    }


def _curves_record(problem: Problem, diagnosis: Diagnosis | None, points: Sequence[CurvePoint]) -> dict[str, Any]:
    """What reports need to draw the families of curves, and what the events say about each, in words."""
    families = [
        {
            "name": family.name,
            "label": family.label,
            "abscissa_label": family.abscissa_label,
            "logarithmic": family.logarithmic,
            "sentences": curve_sentences(family, points),
        }
        for family in problem.curves
    ]
    if diagnosis is None or not problem.curves:
        return {"curves": families, "combinations": None}
    determined, of = determined_combinations(problem, diagnosis.bound)
    best = leading_directions(problem, diagnosis.bound)
    return {"curves": families, "combinations": {"determined": determined, "of": of, "best": best}}


def _diagnosis_record(diagnosis: Diagnosis | None) -> dict[str, Any]:
    if diagnosis is None:
        return {"expected_counts": None, "two_sample": None, "null_directions": [], "weak_directions": [], "settled": None}
    tests, rest = diagnosis.two_sample, diagnosis.settled
    return {
        "expected_counts": diagnosis.expected_counts,
        "two_sample": None if tests is None else {channel: asdict(test) | {"passes": test.passes} for channel, test in tests.items()},
        "null_directions": [direction.text for direction in diagnosis.bound.null_directions],
        "weak_directions": [direction.text for direction in diagnosis.bound.weak_directions],
        "settled": None if rest is None else asdict(rest) | {"worst": rest.name},
    }
