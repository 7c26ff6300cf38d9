"""Judging a fit and writing down what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from unscatter.arrays import Events, RandomStream
from unscatter.diagnostics import CramerRao, Settled, TwoSampleResult, compare_columns, cramer_rao, settled, two_sample_test
from unscatter.events import EventSource
from unscatter.methods import Estimate, Method
from unscatter.pipeline import Box, Problem
from unscatter.solve.fit import Fit, Row
from unscatter.solve.settings import SolveSettings

#: Events per channel that test and comparison look at; more would cost time and show nothing new.
_DIAGNOSED_EVENTS = 200_000


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether a fit is done.

    Args:
        stop_reason: ``converged``, ``out of rounds``, ``not judged`` or ``interrupted``; None to go on.
        settled: whether the averaged parameters have come to rest.
        two_sample: per channel, whether a fresh discriminator can tell synthetic from held-out events.
    """

    stop_reason: str | None
    settled: Settled | None = None
    two_sample: Mapping[str, TwoSampleResult] | None = None


def judge(
    problem: Problem, estimate: Estimate, training: EventSource, held_out: EventSource | None, settings: SolveSettings, *, last: bool
) -> Verdict:
    """Apply the stopping rule at the end of a round.

    A fit has converged when both halves of the averaged tail agree and a freshly trained discriminator cannot tell synthetic from held-out
    events; the adversarial loss says nothing about it.
    """
    if not settings.diagnose:
        return Verdict("not judged")
    rest = settled(estimate.history, parameter_errors(problem, estimate, training), share=settings.settle_share, names=problem.space.names)
    test = _test(problem, estimate, training, held_out, settings)
    passed = rest.passes and all(result.passes for result in (test or {}).values())
    reason = "converged" if passed else ("out of rounds" if last else None)
    return Verdict(reason, rest, test)


def conclude(
    problem: Problem, method: Method[Any], state: Any, training: EventSource, settings: SolveSettings, verdict: Verdict, seconds: float
) -> Fit:
    """Put the tables of a fit together."""
    estimate = method.result(state)
    assert verdict.stop_reason is not None
    # Somebody who interrupts wants to leave, not to wait for a judgement.
    diagnosed = settings.diagnose and verdict.stop_reason != "interrupted"
    bound = _bound(problem, estimate, training) if diagnosed else None
    return Fit(
        problem=problem,
        estimate=estimate,
        num_steps=state.step,
        stop_reason=verdict.stop_reason,
        parameters=_parameter_rows(problem, estimate, bound),
        replicas=_replica_rows(estimate),
        comparison=_comparison(problem, estimate, training, settings) if diagnosed else [],
        summary=_summary(problem, method, state, training, settings, verdict, seconds, bound, estimate),
    )


def parameter_errors(problem: Problem, estimate: Estimate, events: EventSource) -> Tensor:
    """Errors of the parameters, ``[size]``: spread of the replicas, or the Cramer-Rao bound for a single fit."""
    spread = replica_spread(estimate)
    return _bound(problem, estimate, events).sigma if spread is None else spread


def replica_spread(estimate: Estimate) -> Tensor | None:
    """Standard deviation over the replicas, ``[size]``, or None for a single fit."""
    return estimate.parameters.double().std(0) if len(estimate.parameters) > 1 else None


def _central(estimate: Estimate) -> Tensor:
    return estimate.parameters.double().mean(0).cpu()


def _bound(problem: Problem, estimate: Estimate, events: EventSource) -> CramerRao:
    density = problem.density(_central(estimate))
    return cramer_rao(problem, _central(estimate), events.counts.mean(0).cpu(), rates=density.expected_counts is not None)


def _synthetic(problem: Problem, estimate: Estimate, events: EventSource, settings: SolveSettings) -> dict[str, Events]:
    """Fresh events of the fit: four times as many as measured, so that their own fluctuations hardly count."""
    counts = dict(zip(problem.channels, events.counts.mean(0).tolist(), strict=True))
    num_events = {channel: int(min(_DIAGNOSED_EVENTS, max(10_000, 4 * count))) for channel, count in counts.items()}
    return problem.simulate(_central(estimate), num_events=num_events, seed=settings.seed + 1)


def _test(
    problem: Problem, estimate: Estimate, training: EventSource, held_out: EventSource | None, settings: SolveSettings
) -> dict[str, TwoSampleResult] | None:
    """Train on events that the fit has seen, judge on those that it has not."""
    if held_out is None:
        return None
    synthetic = _synthetic(problem, estimate, training, settings)

    def test(channel: str) -> TwoSampleResult:
        seen = training.of_channel(channel, max_events=_DIAGNOSED_EVENTS // 2)
        unseen = held_out.of_channel(channel, max_events=_DIAGNOSED_EVENTS // 2)
        return two_sample_test(unseen, synthetic[channel], training=seen, seed=settings.seed, level=settings.test_level)

    return {channel: test(channel) for channel in problem.channels}


def _comparison(problem: Problem, estimate: Estimate, events: EventSource, settings: SolveSettings) -> list[Row]:
    synthetic = _synthetic(problem, estimate, events, settings)
    expected = _expected_counts(problem, estimate, events) or {}
    rows = []
    for channel in problem.channels:
        measured = events.of_channel(channel, max_events=_DIAGNOSED_EVENTS)
        # A sample of the measured events says nothing about their number.
        rate = expected.get(channel) if measured.num_events < _DIAGNOSED_EVENTS else None
        rows += compare_columns(measured, synthetic[channel], channel=channel, expected=rate)
    return [asdict(row) for row in rows]


def _expected_counts(problem: Problem, estimate: Estimate, events: EventSource) -> dict[str, float] | None:
    """Events that the fit expects to be recorded, per channel; None where rates carry no information."""
    parameters = _central(estimate)
    noise = problem.pipeline.draw_noise((), _DIAGNOSED_EVENTS, generator=RandomStream(0).generator("expected"), dtype=torch.float64)
    with torch.no_grad():
        counts = problem.synthesize(parameters, noise).expected_counts
    return None if counts is None else dict(zip(problem.channels, (counts * events.exposure).tolist(), strict=True))


def _parameter_rows(problem: Problem, estimate: Estimate, bound: CramerRao | None) -> list[Row]:
    values, spread = _central(estimate).tolist(), replica_spread(estimate)
    rows = []
    for i, name in enumerate(problem.space.names):
        sigma = None if bound is None else _finite(float(bound.sigma[i]))
        error = None if spread is None else float(spread[i])
        truth = None if problem.truth is None else problem.truth[i]
        scale = error or sigma
        low, high = _range(problem, i)
        rows.append(
            {
                "name": name,
                "value": values[i],
                "error": error,
                "bound": sigma,
                "relative_bound": None if sigma is None or values[i] == 0 else sigma / abs(values[i]),
                "truth": truth,
                "pull": None if truth is None or not scale else (values[i] - truth) / scale,
                "low": low,
                "high": high,
                "role": "nuisance" if name in problem.space.nuisances else "physics",
                "determined": bound is None or sigma is not None,
            }
        )
    return rows


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
    problem: Problem, method: Method[Any], state: Any, events: EventSource, settings: SolveSettings, verdict: Verdict, seconds: float,
    bound: CramerRao | None, estimate: Estimate,
) -> dict[str, Any]:  # fmt: skip
    expected = _expected_counts(problem, estimate, events)
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
        "expected_counts": expected,
        "two_sample": None if verdict.two_sample is None else _test_record(verdict.two_sample),
        "null_directions": [] if bound is None else [direction.text for direction in bound.null_directions],
        "weak_directions": [] if bound is None else [direction.text for direction in bound.weak_directions],
        "settled": None if verdict.settled is None else asdict(verdict.settled) | {"worst": verdict.settled.name},
        "skipped_share": method.skipped_share(state),
        "num_replicas": len(estimate.parameters),
        "rates": expected is not None,
        "error_source": "Cramer-Rao bound" if replica_spread(estimate) is None else "replica spread",
    }


def _test_record(tests: Mapping[str, TwoSampleResult]) -> dict[str, Any]:
    return {channel: asdict(test) | {"passes": test.passes} for channel, test in tests.items()}
