"""Events per second through one full training step: generator, theory, sampler, discriminator, both optimisers.

    python benchmarks/training_step.py                 # 1 and 2 threads
    python benchmarks/training_step.py --threads 1 --repeats 30

Printed are our defaults, the same with ten replicas in one batch, and a step with the sizes of the published recipe: a noise-fed
generator of four hidden layers of 128, 1,024 parameter sets of 100 events each, and a discriminator of that size without penalty.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from _proxies import draw_proxy2d

from unscatter.arrays import RandomStream
from unscatter.events import InMemoryEvents
from unscatter.methods import Gan, GanSettings
from unscatter.methods.gan import DiscriminatorSettings, GeneratorSettings
from unscatter.problems import proxy2d

PUBLISHED = GanSettings(
    loss="nonsaturating",
    num_events=102_400,
    generator=GeneratorSettings(kind="network", batch=1024, hidden=(128, 128, 128, 128)),
    discriminator=DiscriminatorSettings(hidden=(128, 128, 128, 128), activation="leaky-relu", penalty=0.0),
)


def time_steps(settings: GanSettings, *, replicas: int, nodes: int, repeats: int) -> list[float]:
    """Seconds of each of ``repeats`` steps, after three that are not counted."""
    problem = proxy2d(nodes=nodes)
    source = InMemoryEvents({"events": draw_proxy2d(200_000, 1)}, replicas=replicas, bootstrap=replicas > 1)
    method = Gan(settings)
    state = method.init(problem, source, RandomStream(1), num_steps=repeats + 3)
    seconds = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        state, _ = method.step(state, source)
        seconds.append(time.perf_counter() - start)
    return seconds[3:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    cases = [
        ("our defaults, 1 replica", GanSettings(), 1, 129),
        ("our defaults, 10 replicas", GanSettings(), 10, 129),
        ("published sizes, 10 x 10 nodes", PUBLISHED, 1, 10),
    ]
    print(f"{'case':<34} threads  ms per step: min  median     max   events per second (median)")
    for threads in args.threads:
        torch.set_num_threads(threads)
        for label, settings, replicas, nodes in cases:
            seconds = time_steps(
                settings, replicas=replicas, nodes=nodes, repeats=args.repeats if replicas == 1 else max(5, args.repeats // 4)
            )
            median = statistics.median(seconds)
            row = (
                f"{1e3 * min(seconds):16.1f} {1e3 * median:7.1f} {1e3 * max(seconds):7.1f} {replicas * settings.num_events / median:16,.0f}"
            )
            print(f"{label:<34} {threads:>7} {row}", flush=True)


if __name__ == "__main__":
    main()
