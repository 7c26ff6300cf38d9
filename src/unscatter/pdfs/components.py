r"""From the shapes of seven components to parton densities that obey the sum rules exactly.

.. math::
    \int_0^1 u_v\,dx = 2, \qquad \int_0^1 d_v\,dx = 1, \qquad \int_0^1 x \left(g + \sum_q (q + \bar q)\right) dx = 1

The valence shapes are scaled to their numbers; what momentum they leave is shared out among the others in given fractions.

References:
    Karlberg et al., arXiv:2510.09310, "Perturbative evolution in QCD", momentum and valence sum rules;
    R. K. Ellis, W. J. Stirling, B. R. Webber, QCD and Collider Physics (1996), section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unscatter.physics.sum_rules import momentum_integral, number_integral, quadrature

#: Valence components, and how many quarks of each a proton has.
VALENCE = {"uv": 2.0, "dv": 1.0}
#: Components that share the rest of the momentum, with shares as one would guess them; ``s+`` and ``c+`` are sums of quark and antiquark,
#: while ``ubar`` and ``dbar`` stand for antiquark and sea quark alike, which have equal shares.
SHARED = {"g": 0.70, "ubar": 0.11, "dbar": 0.13, "s+": 0.04, "c+": 0.02}
#: How often the momentum of each shared component occurs in a proton.
_MULTIPLICITY = (1.0, 2.0, 2.0, 1.0, 1.0)
#: All components, in the order of the shapes.
COMPONENTS = (*VALENCE, *SHARED)
#: Momentum that the shared components of a proton have together, about.
_SHARED_MOMENTUM = 0.6

#: Shapes of all components at points x: ``[points]`` to ``[..., component, points]``, in any normalisation.
Shapes = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Norms:
    """How parameters set the norms of the components: through sum rules, or freely.

    Components of one group keep the ratio that their shapes have, and share one parameter.  With sum rules gluon and sea are positive as
    long as valence quarks take less than all momentum, which they do everywhere but in corners of very flexible forms.

    Args:
        sum_rules: whether number and momentum sum rules hold.
        groups: name of the group of each of :data:`SHARED`, which by default stand alone.
        shares: starting shares of the shared components in the momentum that valence quarks leave; those of :data:`SHARED` by default.

    Example:
        >>> Norms(sum_rules=True, groups=("g", "sea", "sea", "sea", "sea")).fractions
        ('fraction_g', 'fraction_sea')
    """

    sum_rules: bool = True
    groups: tuple[str, ...] = tuple(SHARED)
    shares: tuple[float, ...] = tuple(SHARED.values())

    @property
    def group_names(self) -> tuple[str, ...]:
        """Groups in their order."""
        return tuple(dict.fromkeys(self.groups))

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Norms as parameters of their own: numbers of valence quarks and momenta of the groups; none with sum rules."""
        if self.sum_rules:
            return {}
        return {f"number_{name}": (0.1, 5.0) for name in VALENCE} | {f"momentum_{name}": (0.0, 2.0) for name in self.group_names}

    @property
    def fractions(self) -> tuple[str, ...]:
        """Shares in the momentum that valence quarks leave; none without sum rules."""
        return tuple(f"fraction_{name}" for name in self.group_names) if self.sum_rules else ()

    @property
    def start(self) -> tuple[float, ...]:
        """A proton as one would guess it: the sea's flavours alike, strange and charm suppressed."""
        shares = [sum(share for share, group in zip(self.shares, self.groups, strict=True) if group == name) for name in self.group_names]
        return tuple(shares) if self.sum_rules else (*VALENCE.values(), *(_SHARED_MOMENTUM * share for share in shares))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.start)

    def __call__(self, shapes: Shapes, norms: Tensor, x: Tensor) -> Tensor:
        """Momentum densities x f of the fit's flavours.

        Args:
            shapes: of the components.
            norms: values of the parameters, ``[..., size]``.
            x: where the densities are wanted, ``[points]``.

        Returns:
            ``[..., 8, points]`` in the order of :data:`~unscatter.pdfs.FIT_FLAVOURS`.
        """
        points = quadrature()[0].to(x)
        values, everywhere = shapes(torch.cat([x, points])).split([len(x), len(points)], -1)
        valence, shared = everywhere.split([len(VALENCE), len(SHARED)], -2)
        numbers, momenta = self._numbers_and_momenta(norms, valence)
        members = self._members(norms)
        # Norm of a group: its momentum over that of all its members' shapes.
        group_norms = momenta / ((momentum_integral(shared) * norms.new_tensor(_MULTIPLICITY)) @ members)
        scale = torch.cat([numbers / number_integral(valence), group_norms @ members.T], -1)
        return to_flavours(values * scale.unsqueeze(-1))

    def _numbers_and_momenta(self, norms: Tensor, valence: Tensor) -> tuple[Tensor, Tensor]:
        if not self.sum_rules:
            return norms[..., : len(VALENCE)], norms[..., len(VALENCE) :]
        numbers = norms.new_tensor(list(VALENCE.values()))
        taken = (numbers / number_integral(valence) * momentum_integral(valence)).sum(-1, keepdim=True)
        return numbers.expand(*norms.shape[:-1], len(VALENCE)), norms * (1 - taken)

    def _members(self, like: Tensor) -> Tensor:
        """Which component belongs to which group, ``[shared component, group]``, zeros and ones."""
        return like.new_tensor([[float(group == name) for name in self.group_names] for group in self.groups])


def to_flavours(components: Tensor) -> Tensor:
    """Components ``[..., 7, points]`` as flavours ``[..., 8, points]``; strange quarks and antiquarks are taken as equal."""
    uv, dv, g, ubar, dbar, s_plus, c_plus = components.unbind(-2)
    return torch.stack([g, dv + dbar, uv + ubar, s_plus / 2, dbar, ubar, s_plus / 2, c_plus], -2)
