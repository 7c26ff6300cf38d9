"""Curves: functions of the parameters that people look at instead of the parameters themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from unscatter.errors import ShapeError


@dataclass(frozen=True, eq=False)
class CurveFamily:
    r"""Curves over one abscissa, :math:`f_k(t; p)`, for instance all parton densities at one scale.

    Reports draw each family as one figure with bands, and say where the events and where the prior sets their width.

    Args:
        name: of the family, unique in a problem.
        curves: name of each curve.
        abscissa: points :math:`t`, increasing, ``[points]``.
        function: maps parameters ``[..., size]`` to ``[..., curve, points]``, differentiable.
        abscissa_label: what is on the horizontal axis, with its unit.
        label: what the curves are, with their unit.
        logarithmic: whether the abscissa suits a logarithmic axis.

    Raises:
        ShapeError: an abscissa that is no increasing axis, or curves of the same name.

    Example:
        >>> import torch
        >>> t = torch.linspace(0, 1, 5)
        >>> lines = CurveFamily("lines", ("rising", "falling"), t, lambda p: torch.stack([p[..., :1] * t, -p[..., :1] * t], -2))
        >>> lines.function(torch.ones(3, 1)).shape
        torch.Size([3, 2, 5])
    """

    name: str
    curves: tuple[str, ...]
    abscissa: Tensor
    function: Callable[[Tensor], Tensor]
    abscissa_label: str = ""
    label: str = ""
    logarithmic: bool = False

    def __post_init__(self) -> None:
        if self.abscissa.ndim != 1 or len(self.abscissa) < 2 or not bool((self.abscissa.diff() > 0).all()):
            raise ShapeError(
                f"the abscissa of curves '{self.name}' must increase along one axis, got the shape {tuple(self.abscissa.shape)}."
            )
        if not self.curves or len(set(self.curves)) != len(self.curves):
            raise ShapeError(f"the curves of '{self.name}' need different names, got {list(self.curves)}.")
