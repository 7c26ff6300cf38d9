"""Time to build the theory tables, and their size on disk.

OMP_NUM_THREADS=1 python benchmarks/dis/table_building.py
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from unscatter.theories.dis.building import build_file
from unscatter.theories.dis.settings import ORDERS, TableSettings


def main() -> None:
    print(f"{'order':<6} {'CPU s':>6} {'wall s':>7} {'MB':>6}")
    with tempfile.TemporaryDirectory() as directory:
        for order in ORDERS:
            path, wall, before = Path(directory) / f"{order}.npz", time.perf_counter(), os.times()
            build_file(TableSettings(order=order), path)
            after = os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            print(f"{order:<6} {cpu:6.1f} {time.perf_counter() - wall:7.1f} {path.stat().st_size / 1e6:6.2f}")


if __name__ == "__main__":
    main()
