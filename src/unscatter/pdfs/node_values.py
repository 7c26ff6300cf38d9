"""Densities by their values at nodes of x: little prior, many parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unscatter.errors import SettingsError
from unscatter.pdfs.components import COMPONENTS, Norms
from unscatter.pdfs.preprocessing import preprocess

#: Nodes of the logarithm of a shape over its preprocessing, constant beyond them.
_NODES = (1e-3, 5e-3, 2e-2, 6e-2, 0.15, 0.3, 0.5, 0.7, 0.85)
#: Allowed range of the logarithms.
_LOG_RANGE = 3.0


@dataclass(frozen=True)
class NodeValues:
    r"""Densities as a preprocessing factor times what is learnt at nodes.

    .. math:: x f_k(x) = A_k\, x^{b_k} (1 - x)^{c_k} \exp\left(\sum_j v_{kj} h_j(x)\right)

    with functions :math:`h_j` of :math:`\ln \frac{x}{1 - x}` that are one at their node, zero at all others and pass smoothly from node to
    node; without positivity the exponential becomes one plus the sum.

    Args:
        nodes: increasing momentum fractions in (0, 1).
        sum_rules: whether number and momentum sum rules hold.
        positivity: whether densities are positive everywhere.

    Raises:
        SettingsError: fewer than two nodes, or such that do not increase, or are too near to one another to be told apart.

    Example:
        >>> form = NodeValues()
        >>> form(torch.tensor(form.start), torch.tensor([0.1, 0.5])).shape
        torch.Size([8, 2])
    """

    nodes: tuple[float, ...] = _NODES
    sum_rules: bool = True
    positivity: bool = True
    name: str = field(default="nodes", init=False)

    def __post_init__(self) -> None:
        if len(self.nodes) < 2:
            raise SettingsError(f"'nodes' must be at least two momentum fractions that increase between 0 and 1, got {self.nodes}.")
        for left, right in zip(self.nodes, self.nodes[1:], strict=False):
            if not 0 < left < right < 1:
                raise SettingsError(f"'nodes' must increase strictly between 0 and 1, but {right:g} follows {left:g}.")
            if f"{left:g}" == f"{right:g}":
                raise SettingsError(
                    f"the nodes {left!r} and {right!r} are the same in six digits, with which they name their parameters. Move them apart."
                )

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """One number per component and node, and the norms where they are free."""
        values = {f"{name}({node:g})": (-_LOG_RANGE, _LOG_RANGE) for name in COMPONENTS for node in self.nodes}
        return values | self._norms.ranges

    @property
    def fractions(self) -> tuple[str, ...]:
        """Shares in the momentum that valence quarks leave."""
        return self._norms.fractions

    @property
    def start(self) -> tuple[float, ...]:
        """The preprocessing factors as they are."""
        return (*(0.0,) * (len(COMPONENTS) * len(self.nodes)), *self._norms.start)

    @property
    def _norms(self) -> Norms:
        return Norms(self.sum_rules)

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Momentum densities, ``[..., size]`` to ``[..., 8, points]``."""
        values, norms = parameters.split([len(COMPONENTS) * len(self.nodes), self._norms.size], -1)
        values = values.unflatten(-1, (len(COMPONENTS), len(self.nodes)))
        return self._norms(lambda points: preprocess(values @ self._hats(points), points, self.positivity), norms, x)

    def _hats(self, x: Tensor) -> Tensor:
        """The functions :math:`h_j` at x, ``[nodes, points]``."""
        nodes = torch.logit(x.new_tensor(self.nodes))
        position = torch.logit(x.clamp(max=1 - 1e-6)).clamp(nodes[0], nodes[-1])
        right = torch.searchsorted(nodes, position.contiguous()).clamp(1, len(nodes) - 1)
        share = (position - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
        # A cubic passage without kinks: the quadrature of the sum rules would feel them.
        share = share.square() * (3 - 2 * share)
        eye = torch.eye(len(nodes), dtype=x.dtype, device=x.device)
        return eye[:, right - 1] * (1 - share) + eye[:, right] * share
