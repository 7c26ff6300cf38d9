"""Processes above this one."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def nearest_ancestor(names: Collection[str]) -> int:
    """Number of the nearest process above this one that has one of the names; its parent where none has.

    Example:
        >>> nearest_ancestor(()) == os.getppid()
        True
    """
    pid = os.getppid()
    while pid > 1:
        name, parent = _name_and_parent(pid)
        if name in names:
            return pid
        pid = parent
    return os.getppid()


def _name_and_parent(pid: int) -> tuple[str, int]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", 0
    # The name stands in parentheses and may hold any character, a parenthesis included; the kernel keeps 15 of them.
    head, _, tail = text.rpartition(")")
    return head.partition("(")[2], int(tail.split()[1])
