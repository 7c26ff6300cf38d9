"""Time of the theory, forward and backward, for 64 sets of densities and the two channels of the demonstration.

OMP_NUM_THREADS=1 python benchmarks/dis/theory.py
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from unscatter.problems import dis
from unscatter.theories.dis import Beams, DisChannel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=31)
    args = parser.parse_args()
    print(f"{args.sets} sets of densities, {torch.get_num_threads()} thread(s), milliseconds forward and backward")
    print(f"{'nodes in Q2 and y':<18} {'median':>8} {'fastest':>8}")
    for nodes in ((97, 49), (129, 97)):
        times = [1e3 * seconds for seconds in measured(nodes, args.sets, args.repeats)]
        print(f"{nodes[0]:>3} x {nodes[1]:<12} {statistics.median(times):8.1f} {min(times):8.1f}")


def measured(nodes: tuple[int, int], sets: int, repeats: int) -> list[float]:
    """Seconds of each repetition but the first, which warms up."""
    beams = Beams(18.0, 275.0)
    channels = [
        DisChannel(name=target, target=target, beams=beams, luminosity_inv_pb=4.0, exchange="photon") for target in ("proton", "neutron")
    ]
    problem = dis(channels, nodes=nodes)
    noise = torch.randn((sets, len(problem.start_latent)), generator=torch.Generator().manual_seed(0))
    latent = (problem.start_latent.float() + 0.1 * noise).requires_grad_()
    found: list[float] = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        density = problem.pipeline.theory(problem.space.to_parameters(latent))
        assert density.expected_counts is not None
        torch.autograd.grad(density.values.square().sum() + density.expected_counts.sum(), latent)
        found.append(time.perf_counter() - start)
    return found[1:]


if __name__ == "__main__":
    main()
