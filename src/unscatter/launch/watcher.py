"""Outlives the launcher by a moment: kills the process groups of its ranks when it is gone, however it went.

Run as a script, ``python -I -S watcher.py``.  Lines on its standard input are numbers of process groups to kill, and negative numbers take
them back; the end of the input, which the kernel brings about when the launcher dies, has those killed that are left.  The kernel ends the
ranks themselves (:mod:`unscatter.launch.guard`); this is for what they have started.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable


def main(lines: Iterable[str]) -> None:
    """Read what there is to kill, and at the end kill it."""
    groups: set[int] = set()
    for line in lines:
        number = int(line)
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    # Asked to stop together with the launcher, it still has its work before it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    main(iter(sys.stdin.readline, ""))
