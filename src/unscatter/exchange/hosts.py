"""Lists of hosts as batch systems write them."""

from __future__ import annotations

import re
from itertools import product

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


def expand_hosts(text: str) -> tuple[str, ...]:
    """The hosts of a list as Slurm compresses it.

    Args:
        text: as in ``SLURM_STEP_NODELIST``.

    Raises:
        ValueError: brackets or ranges that make no sense.

    Example:
        >>> expand_hosts("nid[008-010,100],login1")
        ('nid008', 'nid009', 'nid010', 'nid100', 'login1')
    """
    hosts: list[str] = []
    for part in _split_outside_brackets(text):
        pieces = _BRACKETS.split(part)
        # Pieces at odd places stood in brackets.
        choices = [_numbers(piece) if place % 2 else (piece,) for place, piece in enumerate(pieces)]
        if any("[" in piece or "]" in piece for piece in pieces) or not part:
            raise ValueError(f"'{text}' is not a list of hosts, as in node[01-04,07],login1")
        hosts += ("".join(chosen) for chosen in product(*choices))
    return tuple(hosts)


def expand_counts(text: str) -> tuple[int, ...]:
    """Numbers per node as Slurm compresses them.

    Args:
        text: as in ``SLURM_STEP_TASKS_PER_NODE``.

    Raises:
        ValueError: not such a list.

    Example:
        >>> expand_counts("4(x2),3")
        (4, 4, 3)
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            raise ValueError(f"'{text}' is not a list of numbers per node, as in 4(x2),3")
        counts += [int(match[1])] * int(match[2] or 1)
    return tuple(counts)


def _split_outside_brackets(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text)]


def _numbers(text: str) -> tuple[str, ...]:
    """``"08-10,100"`` as texts that keep their leading zeros."""
    numbers: list[str] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise ValueError(f"'[{text}]' is not a list of numbers, as in [01-04,07]")
        numbers += (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return tuple(numbers)
