"""Parton densities from the PYTHIA events of the package, against the densities that these were made with.

    python benchmarks/dis/pythia_fit.py                          # ideal detector
    python benchmarks/dis/pythia_fit.py --detector eic-like      # the events folded with resolution, acceptance and efficiency first
    python benchmarks/dis/pythia_fit.py --detector eic-like --reconstruction average   # with y from electron and hadrons

Settings of method and solution are those of the demonstration, ``examples/dis_pythia.yaml``.  Printed are deviations from the truth at
Q = 10 GeV in per cent, with the standard deviation over the replicas, and what a maximum-likelihood fit of the same parametrisation with
the same prior gives on the same events, with the linear error of its posterior: without bins for the ideal detector, in bins of measured
Q2 and y for the others.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from _likelihood import NEARER, maximum_likelihood
from torch import Tensor

from unscatter.arrays import Events, RandomStream
from unscatter.detectors import RECONSTRUCTIONS, unweight
from unscatter.events import read_events
from unscatter.pdfs import PDG_IDS, Functional, Neural, NodeValues, read_lhapdf
from unscatter.pipeline import Problem
from unscatter.problems import dis, example_file
from unscatter.runcards import load_runcard
from unscatter.solve import solve
from unscatter.theories.dis import Beams, DisChannel

#: Luminosity in 1/pb and number of the example's events.
SAMPLES = {"proton": (4.10402, 299_877), "neutron": (4.45738, 299_845)}
DEMONSTRATION = Path(__file__).parents[2] / "examples" / "dis_pythia.yaml"
X = torch.tensor([0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
SCALE_GEV = 10.0
FORMS = {"functional": Functional(), "nodes": NodeValues(), "neural": Neural()}


def make(args: argparse.Namespace) -> tuple[Problem, dict[str, Events]]:
    """Problem and measured events."""
    beams = Beams(18.0, 275.0)
    channels, events = [], {}
    for target in args.targets:
        luminosity, total = SAMPLES[target]
        sample = read_events(example_file(f"pythia_nc_eic_{target}.parquet"), ("x", "Q2", "y"))
        kept = min(args.events, total)
        channels.append(DisChannel(name=target, target=target, beams=beams, luminosity_inv_pb=luminosity * kept / total, exchange="photon"))
        events[target] = Events(sample.values[:kept], sample.columns)
    folded = args.detector != "ideal"
    # Behind a resolution every event of the generator can migrate into the cuts, so the theory covers all of them: Q2 > 10 GeV2, x < 1.
    problem = dis(
        channels,
        parametrisation=FORMS[args.form],
        luminosity_errors=dict.fromkeys(args.targets, 0.01),
        detector=args.detector,
        reconstruction=args.reconstruction,
        ranges=None if args.y_min is None else {"y": (args.y_min, 0.95)},
        y_range=(10.0 / beams.s, 1.0) if folded else (0.01, 0.95),
        nodes=(129, 129) if folded else (129, 97),
    )
    return problem, {name: fold(problem, sample, i) for i, (name, sample) in enumerate(events.items())} if folded else events


def fold(problem: Problem, truth: Events, index: int) -> Events:
    """What the detector records of true events."""
    detector, random = problem.pipeline.detector, RandomStream(11)
    true = Events(truth.select(("Q2", "y")).values.double()[None], ("Q2", "y"))
    noise = torch.rand((1, true.num_events, detector.noise_columns), generator=random.generator("fold", index), dtype=torch.float64)
    recorded = detector(true, noise, {})
    uniforms = torch.rand(recorded.values.shape[:2], generator=random.generator("keep", index), dtype=torch.float64)
    return unweight(recorded, uniforms)[0].select(problem.measured_columns)


def densities(problem: Problem, parameters: Tensor) -> dict[str, Tensor]:
    """Quantities at 10 GeV, ``[replica, points]`` each."""
    theory = problem.pipeline.theory
    operator = theory.tables.evolution(X, torch.tensor([SCALE_GEV], dtype=torch.float64))[0]  # pyright: ignore[reportAttributeAccessIssue]
    return combinations(torch.einsum("pxfn,rfn->rpx", operator, theory.densities_at_start(parameters.double())))  # pyright: ignore[reportAttributeAccessIssue]


def truth() -> dict[str, Tensor]:
    """The same of NNPDF3.1 LO."""
    grid = read_lhapdf(example_file("NNPDF31_lo_as_0130_excerpt")).central
    return combinations(torch.stack([grid.xf(parton, X, SCALE_GEV) for parton in PDG_IDS])[None])


def combinations(xf: Tensor) -> dict[str, Tensor]:
    """Charge-weighted sums and flavours from partons ``[replica, parton, points]``."""
    charges = torch.tensor([0.0 if p == 21 else (4 / 9 if p % 2 == 0 else 1 / 9) for p in PDG_IDS], dtype=torch.float64)
    # The neutron's charge-weighted sum has those of u and d exchanged.
    swapped = torch.tensor([{1: 4 / 9, 2: 1 / 9}.get(abs(p), float(c)) for p, c in zip(PDG_IDS, charges, strict=True)], dtype=torch.float64)
    sums = {"F2 proton": torch.einsum("p,rpx->rx", charges, xf), "F2 neutron": torch.einsum("p,rpx->rx", swapped, xf)}
    return sums | {name: xf[:, PDG_IDS.index(p)] for name, p in {"u": 2, "d": 1, "ubar": -2, "dbar": -1, "g": 21}.items()}


def show(title: str, problem: Problem, parameters: Tensor, draws: Tensor | None = None) -> None:
    print(f"\n{title}: deviation from the truth at Q = {SCALE_GEV:g} GeV in per cent")
    print(f"{'x':>11} " + " ".join(f"{x:11.3g}" for x in X.tolist()))
    found, wanted = densities(problem, parameters), truth()
    drawn, scale = (parameters, 1.0) if draws is None else (draws, 1 / NEARER)
    spreads = {name: scale * values.std(0) for name, values in densities(problem, drawn).items()}
    for name, values in found.items():
        mean, target, spread = values.mean(0), wanted[name][0], spreads[name]
        cells = [f"{100 * (m / t - 1):6.1f}+-{100 * s / abs(t):3.1f}" for m, s, t in zip(mean, spread, target, strict=True)]
        print(f"{name:>11} " + " ".join(f"{cell:>11}" for cell in cells))
    expected = problem.density(parameters.double()).expected_counts
    assert expected is not None
    print("expected before the detector:", [f"{count:.0f}" for count in expected.mean(0).tolist()], flush=True)


def likelihood_beside(problem: Problem, events: dict[str, Events]) -> None:
    """Maximum likelihood with the spread of its posterior."""
    start = time.perf_counter()
    best, *draws = maximum_likelihood(replace(problem, truth=None), events, 200)
    show(f"maximum likelihood, {time.perf_counter() - start:.1f} s", problem, best[None], torch.stack(draws))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", choices=["ideal", "eic-like", "hera-like"], default="ideal")
    parser.add_argument("--reconstruction", choices=RECONSTRUCTIONS, default="electron", help="of events behind a detector")
    parser.add_argument("--y-min", type=float, help="cut on measured y; the preset's when not given")
    parser.add_argument("--targets", nargs="+", choices=list(SAMPLES), default=list(SAMPLES))
    parser.add_argument("--form", choices=list(FORMS), default="functional")
    parser.add_argument("--events", type=int, default=300_000, help="of each target")
    demonstration = load_runcard(DEMONSTRATION)
    parser.add_argument("--replicas", type=int, default=demonstration.solve.replicas)
    parser.add_argument("--seed", type=int, default=demonstration.solve.seed)
    parser.add_argument("--steps", type=int, default=demonstration.solve.steps, help="of the replicas; 0 for the maximum likelihood alone")
    parser.add_argument("--pilot-steps", type=int, default=demonstration.solve.pilot_steps)
    parser.add_argument("--save", type=Path, help="where the parameters go, as a file of torch")
    args = parser.parse_args()
    problem, events = make(args)
    for name, sample in events.items():
        print(f"{name}: {problem.prepare(name, sample).num_events} events", flush=True)
    if args.steps:
        start = time.perf_counter()
        changes = {name: getattr(args, name) for name in ("steps", "replicas", "pilot_steps", "seed")}
        settings = demonstration.solve.model_copy(update={"max_rounds": 1, "diagnose": False} | changes)
        fit = solve(problem, events, method=demonstration.method.build(), settings=settings)
        title = f"{args.form}, {args.detector} detector, {args.replicas} replicas, {args.pilot_steps} + {args.steps} steps"
        show(f"{title}, {time.perf_counter() - start:.0f} s with {torch.get_num_threads()} threads", problem, fit.estimate.parameters)
        if args.save:
            torch.save(fit.estimate.parameters, args.save)
    likelihood_beside(problem, events)


if __name__ == "__main__":
    main()
