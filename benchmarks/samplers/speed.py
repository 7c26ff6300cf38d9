"""Events per second of the samplers on one thread, float32, proxy2d density.

$ python benchmarks/samplers/speed.py
$ python benchmarks/samplers/speed.py --events 1000000 --repeats 31

Columns: 'draw' is the drawing of the uniform numbers alone; 'forward' maps numbers that lie ready to events, 'with draw' does both;
'backward' is forward + backward with a gradient of ones, without draw.  Medians of the repeats, and the best one for a busy machine.
The published bar, a serial C++ LOITS: forward 27 (10 x 10 nodes) and 15 (100 x 100) million events/s.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from problem import BOX_POINT, proxy2d

from unscatter.arrays import Density
from unscatter.samplers import Loits, Rosenblatt, Sampler, kernel


@dataclass(frozen=True)
class Case:
    """One line of the table; eager ones stop at a size that takes seconds."""

    name: str
    sampler: Sampler
    most_events: int


COMPILED = [
    Case("Rosenblatt compiled, plain", Rosenblatt(), 10**7),
    Case("Rosenblatt compiled, stratified", Rosenblatt(points="stratified"), 10**7),
]
EAGER = [
    Case("Rosenblatt eager, plain", Rosenblatt(compile=False), 10**6),
    Case("Rosenblatt eager, stratified", Rosenblatt(compile=False, points="stratified"), 10**6),
    Case("LOITS eager, plain", Loits(), 10**6),
]


def seconds(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and best wall-clock time, after one call to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times), min(times)


def measure(case: Case, density: Density, num_events: int, repeats: int) -> list[tuple[float, float]]:
    sampler, generator = case.sampler, torch.Generator().manual_seed(0)
    numbers = sampler.uniforms((1,), num_events, 2, generator=generator)
    leaf = density.values.clone().requires_grad_()
    differentiable = Density(leaf, density.grid, density.channels)
    ones = torch.ones_like(numbers)

    def draw() -> torch.Tensor:
        return sampler.uniforms((1,), num_events, 2, generator=generator)

    def backward() -> None:
        torch.autograd.grad(sampler(differentiable, numbers).values, leaf, ones)

    works = (draw, lambda: sampler(density, numbers), lambda: sampler(density, draw()), backward)
    return [seconds(work, repeats) for work in works]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--compiled-only", action="store_true", help="leave the PyTorch operations and LOITS out")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, float32; million events/s, median (best) of {settings.repeats}")
    if not kernel.available():
        print(f"no compiled kernel: {kernel.why_not()}")
    cases = (COMPILED if kernel.available() else []) + ([] if settings.compiled_only else EAGER)
    print(f"{'':55}{'draw':>16}{'forward':>16}{'with draw':>16}{'backward':>16}")
    for nodes in settings.nodes:
        density = proxy2d(BOX_POINT, nodes, torch.float32)
        for num_events in settings.events:
            for case in cases:
                if num_events > case.most_events:
                    continue
                times = measure(case, density, num_events, settings.repeats)
                rates = [f"{num_events / middle / 1e6:.1f} ({num_events / best / 1e6:.1f})" for middle, best in times]
                cells = "".join(f"{rate:>16}" for rate in rates)
                print(f"{nodes:3} x {nodes:3}, {num_events:>9} {case.name:33}{cells}", flush=True)


if __name__ == "__main__":
    main()
