"""What a fit of parton densities expects of a parametrisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class PdfParametrisation(Protocol):
    """Differentiable map from numbers to parton densities at the starting scale; an object of one's own needs no base class."""

    @property
    def name(self) -> str:
        """Used in runcards and reports."""
        ...

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Parameters with an allowed range, which may be infinite."""
        ...

    @property
    def fractions(self) -> tuple[str, ...]:
        """Parameters that are positive and add up to one; they follow those with a range, and there may be none."""
        ...

    @property
    def start(self) -> tuple[float, ...]:
        """Where fits start: ranges first, fractions last."""
        ...

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Momentum densities x f of :data:`~unscatter.pdfs.FIT_FLAVOURS`.

        Args:
            parameters: ``[..., size]``, ranges first, fractions last.
            x: momentum fractions in (0, 1], ``[points]``.

        Returns:
            ``[..., 8, points]``.
        """
        ...
