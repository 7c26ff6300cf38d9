"""The pilot: a single fit to all events that an ensemble starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from unscatter.arrays import RandomStream
from unscatter.events import EventSource, SharedSource
from unscatter.exchange import Exchange, NoExchange
from unscatter.methods import Method
from unscatter.pipeline import Problem
from unscatter.solve.sources import shard_of, stop_reading

#: Fits of the pilot one after the other: each learns along the directions that suit where the one before it ended.
_PASSES = 2


def needs_pilot(problem: Problem, events: EventSource, pilot_steps: int | None) -> bool:
    """Whether there is an ensemble with a prior, whose replicas would start far from what the events say.

    Replicas with data sets of their own have no common events to fit.
    """
    shared = isinstance(events, SharedSource) and events.num_replicas > 1
    return problem.prior_width is not None and shared and pilot_steps != 0


def piloted(
    problem: Problem,
    events: EventSource,
    method: Method[Any],
    *,
    num_steps: int,
    rng: RandomStream,
    device: torch.device,
    report: Callable[[int, int], None],
    exchange: Exchange | None = None,
) -> Problem:
    """The problem with a start that fits the events as they were measured; its prior stays where it was.

    Replicas that start from draws of a wide prior need many steps to where the events are; from a fit they need few.

    Args:
        problem: with a prior.
        events: of the ensemble; the pilot sees them once, without bootstrap.
        method: how to fit.
        num_steps: of all passes together.
        rng: random numbers of the pilot.
        device: where to fit.
        report: told the steps done and the steps to do after each; may raise to stop.
        exchange: how ranks share the pilot; each sees its shard of the events.
    """
    exchange = NoExchange() if exchange is None else exchange
    assert isinstance(events, SharedSource)
    shard = shard_of(events.as_measured(), exchange)
    steps = -(-num_steps // _PASSES)
    centre = tuple(problem.space.to_parameters(problem.prior_latent).tolist())
    for index in range(_PASSES):
        state = method.init(problem, shard, rng.child(f"pilot/{index}"), num_steps=steps, exchange=exchange, device=device)
        for step in range(steps):
            state, _ = method.step(state, shard)
            report(index * steps + step + 1, _PASSES * steps)
            if exchange.round_over():
                state = method.leave_round(state, steps)
                break
        found = method.result(method.join(state)).parameters[0].double().cpu()
        problem = replace(problem, start=tuple(found.tolist()), prior_centre=centre)
    stop_reading(shard)
    return problem
