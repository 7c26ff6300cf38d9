"""Fit quality on the proxy problems: distance to the truth in units of the Cramer-Rao bound, over many pseudo-data sets.

    python benchmarks/fit_quality.py                       # proxy2d and proxy1d with rates, 40 data sets each
    python benchmarks/fit_quality.py --problem proxy2d --generator network --data-sets 10

Each data set is drawn from the exact density (not from the grid that the fit samples from).  The fits run as replicas of one
batch; the wall clock of a single fit is measured on its own.  Maximum likelihood on the same data stands beside them.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from _proxies import draw_proxy1d, draw_proxy2d, fit_proxy1d, fit_proxy2d
from torch import Tensor

from unscatter.arrays import RandomStream
from unscatter.diagnostics import cramer_rao, rms_pull
from unscatter.events import StackedEvents
from unscatter.methods import Gan, GanSettings
from unscatter.pipeline import Problem
from unscatter.problems import proxy1d, proxy2d


def make(name: str, num_events: int, seeds: range) -> tuple[Problem, StackedEvents, Tensor]:
    """Problem, pseudo-data of all seeds, and the maximum-likelihood estimate for each, ``[data set, size]``."""
    if name == "proxy2d":
        problem, sets = proxy2d(), [{"events": draw_proxy2d(num_events, seed)} for seed in seeds]
        likelihood = [fit_proxy2d(data["events"]) for data in sets]
    else:
        problem = proxy1d(num_events=num_events)
        sets = [draw_proxy1d(num_events, seed) for seed in seeds]
        likelihood = [fit_proxy1d(data, problem.pipeline.theory.luminosity) for data in sets]  # pyright: ignore[reportAttributeAccessIssue]
    return problem, StackedEvents({channel: [data[channel] for data in sets] for channel in problem.channels}), torch.stack(likelihood)


def fit(problem: Problem, source: StackedEvents, settings: GanSettings, steps: int, seed: int = 1) -> tuple[Tensor, float]:
    """Estimates ``[data set, size]`` and seconds."""
    start = time.perf_counter()
    method = Gan(settings)
    state = method.init(problem, source, RandomStream(seed), num_steps=steps)
    for _ in range(steps):
        state, _ = method.step(state, source)
    return method.result(state).parameters.double(), time.perf_counter() - start


def report(name: str, args: argparse.Namespace, settings: GanSettings) -> None:
    problem, source, likelihood = make(name, args.events, range(args.first_seed, args.first_seed + args.data_sets))
    steps = args.steps or (1500 if name == "proxy2d" else 3000)
    if name == "proxy1d" and args.settings is None:
        # One combination of the parameters is weakly determined and needs larger steps at the end, as in examples/proxy1d.yaml.
        settings = settings.model_copy(update={"final_rate": 0.1})
    truth = torch.tensor(problem.truth, dtype=torch.float64)
    counts = source.counts.mean(0)
    sigma = cramer_rao(problem, truth, counts, rates=name == "proxy1d").sigma
    estimate, seconds = fit(problem, source, settings, steps)
    print(f"\n{name}, generator {settings.generator.kind}, {args.data_sets} data sets of {args.events} events per channel, {steps} steps")
    for label, values in (("adversarial fit", estimate), ("maximum likelihood", likelihood)):
        result = rms_pull((values - truth) / sigma)
        each = " ".join(f"{v:.2f}" for v in result.per_parameter)
        print(f"  {label:<20} rms pull {result.value:.3f} +- {result.error:.3f}   per parameter {each}")
    distance = ((estimate - likelihood) / sigma).square()
    print(f"  distance between them, rms: {math.sqrt(float(distance.mean())):.3f} sigma; per parameter", end=" ")
    print(" ".join(f"{v:.2f}" for v in distance.mean(0).sqrt().tolist()))
    print(f"  mean pull per parameter: {' '.join(f'{v:+.2f}' for v in ((estimate - truth) / sigma).mean(0).tolist())}")
    print(f"  all fits as one batch: {seconds:.0f} s with {torch.get_num_threads()} threads", flush=True)
    if args.single:
        single = StackedEvents({channel: [source.of_channel(channel, 0)] for channel in problem.channels})
        _, seconds = fit(problem, single, settings, steps)
        print(f"  one fit alone: {seconds:.1f} s ({1000 * seconds / steps:.1f} ms per step)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", choices=["proxy2d", "proxy1d", "both"], default="both")
    parser.add_argument("--generator", choices=["direct", "network"], default="direct")
    parser.add_argument("--data-sets", type=int, default=40)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--steps", type=int, help="1,500 for proxy2d, 3,000 for proxy1d")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--settings", type=Path, help="JSON file with settings of the method")
    parser.add_argument("--single", action=argparse.BooleanOptionalAction, default=True, help="also time one fit alone")
    args = parser.parse_args()
    settings = GanSettings() if args.settings is None else GanSettings.model_validate_json(args.settings.read_text())
    if args.generator == "network":
        settings = settings.model_copy(update={"generator": settings.generator.model_copy(update={"kind": "network"})})
    for name in ("proxy2d", "proxy1d") if args.problem == "both" else (args.problem,):
        report(name, args, settings)


if __name__ == "__main__":
    main()
