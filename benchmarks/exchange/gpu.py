"""What an exchange costs the training thread per step when gradients and weights live on a GPU, beside a plain copy to the host.

    python benchmarks/exchange/gpu.py                      # says that it is skipped where there is no CUDA

Real: processes, messages, buffers on the GPU, which all ranks share.  Emulated: compute, a sleep.  Times include a synchronisation of the
device, so that work that the exchange has only queued is counted; the copies (GPU to pinned memory, same length) are timed likewise.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from _exchanges import EXCHANGES, available, launcher, make_exchange
from _ranks import RankFailedError

from unscatter.exchange.rendezvous import Rendezvous


@dataclass(frozen=True)
class GpuPlan:
    """What every rank does."""

    exchange: str
    num_parameters: int
    num_steps: int
    compute_s: float


def run_gpu_plan(rendezvous: Rendezvous, plan: GpuPlan) -> list[tuple[float, float]]:
    """Seconds in the exchange and of a copy to the host, for each step after five that are not counted."""
    device = torch.device("cuda", rendezvous.world.local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    gradient = torch.randn(1, plan.num_parameters, device=device)
    weights = torch.zeros(1, plan.num_parameters, device=device)
    pinned = torch.empty(1, plan.num_parameters, pin_memory=True)
    exchange = make_exchange(plan.exchange, rendezvous)
    try:
        exchange.start({"weights": weights})
        seconds = []
        for _ in range(plan.num_steps + 5):
            time.sleep(plan.compute_s)
            torch.cuda.synchronize()
            start = time.perf_counter()
            weights.add_(exchange.before_step(gradient), alpha=-1e-3)
            weights = exchange.after_step(weights)
            torch.cuda.synchronize()
            between = time.perf_counter()
            pinned.copy_(gradient, non_blocking=True)
            torch.cuda.synchronize()
            seconds.append((between - start, time.perf_counter() - between))
        return seconds[5:]
    finally:
        exchange.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--parameters", type=int, nargs="+", default=[51_000, 300_000, 1_300_000, 10_000_000])
    parser.add_argument("--exchanges", nargs="+", default=["none", "allreduce", "async-ring"], choices=list(EXCHANGES))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--compute-ms", type=float, default=20.0)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: there is no GPU that this PyTorch could use")
        return
    print(f"{args.ranks} ranks on {torch.cuda.device_count()} x {torch.cuda.get_device_name()}")
    print(f"{'exchange':>16} {'parameters':>10} {'median':>10} {'p90':>10} {'copy':>10}   ms")
    for exchange in available(args.exchanges):
        for size in args.parameters:
            plan = GpuPlan(exchange, size, args.steps, 1e-3 * args.compute_ms)
            try:
                results = launcher(exchange)(run_gpu_plan, args.ranks, plan, timeout_s=240)
            except RankFailedError as error:
                print(f"{exchange:>16} {size:>10,} FAILED: {str(error).strip().splitlines()[-1]}", flush=True)
                continue
            cost, copy = 1e3 * np.concatenate([np.array(rank) for rank in results]).T
            print(f"{exchange:>16} {size:>10,} {np.median(cost):10.3f} {np.quantile(cost, 0.9):10.3f} {np.median(copy):10.3f}", flush=True)


if __name__ == "__main__":
    main()
