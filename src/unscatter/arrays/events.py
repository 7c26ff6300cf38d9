"""Events: named columns in one tensor, with optional weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unscatter.errors import ColumnError, ShapeError


@dataclass(frozen=True, eq=False)
class Events:
    r"""Events with named columns; never NaN or zero as "no event", but a weight of zero.

    Args:
        values: ``[..., num_events, columns]``.
        columns: one name per column.
        weights: ``[..., num_events]``, or None for unit weights.

    Raises:
        ShapeError: names or weights do not fit the values.

    Example:
        >>> events = Events(torch.tensor([[0.1, 2.0], [0.2, 3.0]]), ("x", "Q2"))
        >>> events.column("Q2")
        tensor([2., 3.])
    """

    values: Tensor
    columns: tuple[str, ...]
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        if self.values.ndim < 2 or self.values.shape[-1] != len(self.columns):
            raise ShapeError(
                f"'values' must have the shape [..., num_events, {len(self.columns)}] for the columns {list(self.columns)}, "
                f"got {tuple(self.values.shape)}."
            )
        if self.weights is not None and self.weights.shape != self.values.shape[:-1]:
            raise ShapeError(
                f"'weights' must have the shape {tuple(self.values.shape[:-1])} of the events, got {tuple(self.weights.shape)}."
            )

    @property
    def num_events(self) -> int:
        """Number of events along the event axis."""
        return self.values.shape[-2]

    def index(self, name: str) -> int:
        """Position of a column; :class:`~unscatter.errors.ColumnError` when there is none of that name."""
        if name not in self.columns:
            raise ColumnError(f"there is no column '{name}'; the events have {list(self.columns)}.")
        return self.columns.index(name)

    def column(self, name: str) -> Tensor:
        """Values of one column, ``[..., num_events]``."""
        return self.values[..., self.index(name)]

    def with_columns(self, new: dict[str, Tensor]) -> Events:
        """The same events with columns replaced (same name) or added (new name); weights are kept."""
        parts = {name: self.values[..., i] for i, name in enumerate(self.columns)} | new
        return Events(torch.stack(list(parts.values()), -1), tuple(parts), self.weights)

    def select(self, names: Sequence[str]) -> Events:
        """The same events with only the named columns, in that order."""
        if tuple(names) == self.columns:
            return self
        return Events(self.values[..., [self.index(n) for n in names]], tuple(names), self.weights)

    def weights_or_ones(self) -> Tensor:
        """Weights, ones where there are none, ``[..., num_events]``."""
        return torch.ones_like(self.values[..., 0]) if self.weights is None else self.weights

    def reweighted(self, factor: Tensor) -> Events:
        """The same events with their weights multiplied by ``factor`` (broadcast to ``[..., num_events]``)."""
        return replace(self, weights=self.weights_or_ones() * factor)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Events:
        """The same events on another device or in another precision."""
        weights = None if self.weights is None else self.weights.to(device=device, dtype=dtype)
        return Events(self.values.to(device=device, dtype=dtype), self.columns, weights)
