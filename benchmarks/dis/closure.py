"""Closure tests of the deep-inelastic problem at levels 0, 1 and 2: bias, variance and coverage of parton densities.

OMP_NUM_THREADS=1 python benchmarks/dis/closure.py [DIRECTORY] [FITS] [STEPS]

The method is that of the demonstration, ``examples/dis_pythia.yaml``.  A directory that holds a part of the fits already is gone on with.
"""

from __future__ import annotations

import sys
from pathlib import Path

from unscatter.runcards import load_runcard
from unscatter.runcards.closure import LEVELS, run_closure

DEMONSTRATION = Path(__file__).parents[2] / "examples" / "dis_pythia.yaml"
CARD = """
problem:
  name: dis
  channels:
    proton: {target: proton, luminosity_inv_pb: 0.5, exchange: photon}
    neutron: {target: neutron, luminosity_inv_pb: 0.5, exchange: photon}
events: {simulate: {}}
solve: {replicas: 10, max_rounds: 1, held_out: 0.0, diagnose: false}
"""


def main(folder: str = "runs/closure", num_fits: str = "10", steps: str = "400") -> None:
    demonstration = load_runcard(DEMONSTRATION)
    card = load_runcard(CARD, [f"solve.steps={steps}", f"solve.pilot_steps={demonstration.solve.pilot_steps}"])
    card = card.model_copy(update={"method": demonstration.method})
    for level in LEVELS:
        result = run_closure(card, level=level, num_fits=int(num_fits), path=Path(folder) / f"level{level}")
        if result.tables is None:
            sys.exit(f"stopped by {result.interrupted_by}")
        print(f"level {level}, {result.num_fits} fits")
        print(f"  {'group':<36} {'ratio':>16} {'distance':>16} {'coverage':>16}")
        for row in result.tables.groups:
            if row["name"] is None:
                numbers = " ".join(f"{_text(row[key], row[key + '_error']):>16}" for key in ("ratio", "distance", "coverage"))
                print(f"  {row['group']:<36} {numbers}")


def _text(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if error is None else f"{value:.2f} +- {error:.2f}"


if __name__ == "__main__":
    main(*sys.argv[1:])
