"""How much of dE[x]/dp a sampler keeps, against the exact integral: Rosenblatt (pathwise, score) and LOITS.

$ python benchmarks/samplers/gradient.py
"""

from __future__ import annotations

import argparse

import torch
from problem import BOX_POINT, exact_mean_x, proxy2d
from torch import Tensor

from unscatter.arrays import Density
from unscatter.samplers import Loits, Rosenblatt, Sampler

SAMPLERS: dict[str, Sampler] = {
    "Rosenblatt, pathwise": Rosenblatt(),
    "Rosenblatt, PyTorch operations": Rosenblatt(compile=False),
    "Rosenblatt, score": Rosenblatt(gradient="score"),
    "LOITS as published": Loits(),
}


def gradient(density: Density, sampler: Sampler, uniforms: Tensor, box: Tensor) -> Tensor:
    events = sampler(density, uniforms)
    weights = events.weights_or_ones()
    norm = weights.sum() if isinstance(sampler, Loits) else events.num_events
    return torch.autograd.grad((events.column("x") * weights).sum() / norm, box, retain_graph=True)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2**18)
    parser.add_argument("--nodes", type=int, nargs="+", default=[5, 10, 30, 100])
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    torch.set_printoptions(precision=5, sci_mode=False)
    points = Rosenblatt(points="sobol")
    for nodes in settings.nodes:
        box = BOX_POINT.clone().requires_grad_()
        density = proxy2d(box, nodes, torch.float64)
        exact = torch.autograd.grad(exact_mean_x(density), box, retain_graph=True)[0]
        generator = torch.Generator().manual_seed(settings.seed)
        uniforms = points.uniforms((1,), settings.events, 2, generator=generator, dtype=torch.float64)
        print(f"\n{nodes} nodes a side, {settings.events} events (Sobol points), float64")
        print(f"  {'dE[x]/d(box coordinates)':32}  p0        p1        p2        p3        p4       |error|/|exact|  of dE[x]/dp0")
        print(f"  {'exact integral':32} " + "".join(f"{float(g):9.5f} " for g in exact))
        for name, sampler in SAMPLERS.items():
            found = gradient(density, sampler, uniforms, box)
            error = float((found - exact).norm() / exact.norm())
            numbers = "".join(f"{float(g):9.5f} " for g in found)
            print(f"  {name:32} {numbers}  {100 * error:10.3f} %  {100 * float(found[0] / exact[0]):12.2f} %")


if __name__ == "__main__":
    main()
