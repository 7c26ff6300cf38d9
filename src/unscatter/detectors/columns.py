"""Named access to the columns of events, with errors that name the stage that asked."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from unscatter.arrays import Events
from unscatter.errors import ColumnError, ShapeError


class NamedColumns(dict[str, Tensor]):
    """What user functions receive: ``{name: values}``, each ``[..., num_events]``.

    Raises:
        ColumnError: a name is asked for that the events do not have.
    """

    def __init__(self, events: Events, stage: str) -> None:
        super().__init__((name, events.values[..., i]) for i, name in enumerate(events.columns))
        self.stage = stage

    def __missing__(self, name: str) -> Tensor:
        raise _no_such_column(self.stage, name, self)


def require_columns(stage: str, names: Iterable[str], columns: tuple[str, ...]) -> None:
    """Raise ColumnError, naming ``stage``, for the first of ``names`` that is not in ``columns``."""
    for name in names:
        if name not in columns:
            raise _no_such_column(stage, name, columns)


def one_per_event(stage: str, values: Tensor, events: Events) -> Tensor:
    """``values`` expanded to one number per event, ``[..., num_events]``; ShapeError where that cannot be done."""
    wanted = events.values.shape[:-1]
    if values.ndim > len(wanted) or any(have not in (1, want) for have, want in zip(values.shape[::-1], wanted[::-1], strict=False)):
        raise ShapeError(f"the function of {stage} must return one number per event, {tuple(wanted)}, got the shape {tuple(values.shape)}.")
    return values.expand(wanted)


def _no_such_column(stage: str, name: str, columns: Iterable[str]) -> ColumnError:
    return ColumnError(f"{stage} needs the column '{name}', but the events that reach it have {list(columns)}.")
