"""Faults of random kind, rank and step on real ranks: no hang, no wrong result, no process left.

    python benchmarks/exchange/faults.py                          # 200 trials
    python benchmarks/exchange/faults.py --trials 20 --kinds kill restart --verbose
    python benchmarks/exchange/faults.py --only 17 --verbose      # one trial again

Every trial is a job of some rank processes on this machine, half of them over shared memory, half over TCP on the loopback device.  They
take a few hundred steps of some milliseconds in two rounds, on a problem whose answer shows every rank's share in it, while something
happens to one rank or, in three trials of ten, to two.  One trial in ten runs a synchronous all-reduce instead, in which every survivor
has to name the rank that is lost within the time-out.  What happens in a trial follows from the seed; when exactly the system delivers
it does not.

Kinds: kill (SIGKILL), stop and pause (SIGSTOP for longer and for shorter than the ring's patience), slow (steps of 100 times the length),
disconnect (connections cut, messages and confirmations withheld), nan and corrupt (damaged messages), drop, delay, duplicate (messages that
are lost, late, or come twice), restart (killed and started again from its last saved weights), late (a rank that starts late).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.exchange.fault_campaign import KINDS, ROUNDS, STEPS, Injection, Trial, Verdict, draw_trial, run_trials, tolerance

LAST = Injection(kind="kill", rank=0, step=STEPS * ROUNDS, lasts=0)


def group(verdict: Verdict) -> str:
    kinds = "+".join(sorted({fault.kind for fault in verdict.trial.faults}))
    two = len(verdict.trial.faults) > 1
    prefix = "" if verdict.trial.exchange == "async-ring" else f"{verdict.trial.exchange}: "
    return "two faults" if two and not prefix else prefix + kinds


def print_table(verdicts: list[Verdict]) -> None:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[group(verdict)].append(verdict)
    rows = [(name, groups[name]) for name in sorted(groups, key=lambda name: (":" in name, " " in name, name))]
    print(f"{'kind':<20}{'trials':>8}{'faults':>8}{'failures':>10}{'median s':>10}{'longest s':>11}{'deviation':>11}{'merged':>8}")
    for name, members in [*rows, ("all", verdicts)]:
        seconds = sorted(verdict.seconds for verdict in members)
        faults = sum(len(verdict.trial.faults) for verdict in members)
        failures = sum(bool(verdict.failures) for verdict in members)
        deviation, merged = max(verdict.deviation for verdict in members), min(verdict.merged for verdict in members)
        counts = f"{len(members):>8}{faults:>8}{failures:>10}"
        print(f"{name:<20}{counts}{seconds[len(seconds) // 2]:>10.1f}{seconds[-1]:>11.1f}{deviation:>11.3f}{merged:>8.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--synchronous", type=float, default=0.1, help="share of trials with a synchronous all-reduce")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of trials to run, instead of all")
    parser.add_argument("--at-once", type=int, default=2, help="trials that run at the same time")
    parser.add_argument("--verbose", action="store_true", help="a line for every trial")
    options = parser.parse_args()
    begin, verdicts = time.monotonic(), []
    trials = [
        draw_trial(options.seed, number, num_ranks=options.ranks, kinds=options.kinds, synchronous=options.synchronous)
        for number in options.only or range(options.trials)
    ]
    print(f"{len(trials)} trials of {options.ranks} ranks, seed {options.seed}, on {os.cpu_count()} cores, {platform.platform()}")
    for verdict in run_trials(trials, seed=options.seed, at_once=options.at_once):
        verdicts.append(verdict)
        if options.verbose or verdict.failures:
            figures = f"deviation {verdict.deviation:.3f}, merged {verdict.merged:.2f}, lost {verdict.lost:g}"
            print(f"{verdict.trial}: {verdict.seconds:.1f} s, {figures}", flush=True)
        for failure in verdict.failures:
            print(f"    FAILURE {failure}", flush=True)
    print_table(verdicts)
    print(
        "Deviation: largest difference of a rank's share in the answer from what it should be. Merged: fewest messages per step of a rank."
    )
    early, late = (Trial(number=0, num_ranks=options.ranks, faults=faults) for faults in ((), (LAST,)))
    print(f"Allowed: {tolerance(early):.3f}, and {tolerance(late):.3f} where a fault strikes, or a rank comes back, in the last round.")
    print(f"{time.monotonic() - begin:.0f} s in all.")
    return int(any(verdict.failures for verdict in verdicts))


if __name__ == "__main__":
    raise SystemExit(main())
