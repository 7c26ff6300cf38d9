"""Stores whose rows are not in random order."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from unscatter.events.store import EventStore
from unscatter.files import quoted

#: Variance of block means, in units of that of shuffled rows, below which nobody needs to be told.
_LEAST_ORDER = 2.0


def sorted_columns(store: EventStore, columns: Sequence[str]) -> dict[str, float]:
    r"""Columns whose blocks differ more than chance allows, and how much: variance of the block means over that of shuffled rows.

    For B blocks of shuffled rows it is :math:`1 \pm \sqrt{2 / (B - 1)}`; the manifest has it for every column.
    """
    most = max(_LEAST_ORDER, 1 + 6 * math.sqrt(2 / max(1, store.num_blocks - 1)))
    found = {name: store.manifest.summary(name).order or 0.0 for name in columns}
    return {name: order for name, order in found.items() if order > most}


def warn_if_sorted(store: EventStore, columns: Sequence[str], channel: str, *, window_blocks: int, num_ranks: int) -> None:
    """Say that windows of a sorted store do not look like the whole, nor do the consecutive rows that ranks get.

    A single rank whose windows hold all blocks is not harmed.
    """
    found = sorted_columns(store, columns)
    if not found or (num_ranks == 1 and store.num_blocks <= window_blocks):
        return
    worst = max(found, key=lambda name: found[name])
    harm = (
        f"each of the {num_ranks} ranks gets another kind of events"
        if num_ranks > 1
        else f"batches of one window of {window_blocks} blocks differ from those of the next"
    )
    warnings.warn(
        f"the rows of '{store.path}' (channel '{channel}') are not in random order: block means of the column '{worst}' vary "
        f"{found[worst]:.3g} times as much as those of shuffled rows, so {harm}.\n"
        f"Shuffle the store once: unscatter ingest SOURCES -o {quoted(f'{store.path}-shuffled')} --shuffle 1",
        UserWarning,
        stacklevel=4,
    )
