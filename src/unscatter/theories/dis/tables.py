"""Theory tables of deep-inelastic scattering: densities at the starting scale to structure functions and to densities at other scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unscatter.errors import TableError
from unscatter.theories.dis.nodes import Q_nodes, Q_weights, x_nodes, x_weights
from unscatter.theories.dis.operators import EVOLUTION_FLAVOURS, coefficient_flavours, couplings, on_target
from unscatter.theories.dis.settings import TableSettings

#: Loops at which kernels of the evolution set in that vanish before, or equal another one.
_FIRST_LOOPS = {"minus": 2, "quark_valence": 3}
#: Points worked on at a time, which bounds the memory to some 50 MB.
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class DisTables:
    r"""Linear operators on the eight densities :math:`x f_f(x_k, Q_0)` of a fit, in the order of ``FIT_FLAVOURS``, at :attr:`x_nodes`.

    Made by :func:`~unscatter.theories.dis.building.build_tables`, read by :func:`~unscatter.theories.dis.storage.load_tables`.

    Args:
        settings: physics and grid.
        kernels: ``evolution/nf/name`` ``[Q, x, x]``, ``alpha_s/nf`` ``[Q]`` and ``coefficients/nf/observable/power/name`` ``[x, x]``,
            float64; what they are is explained in :mod:`unscatter.theories.dis.operators`.
        engine: program and version that computed them.

    Example:
        >>> from unscatter.theories.dis.storage import load_tables
        >>> tables = load_tables("lo")
        >>> operator = tables.structure_function("F2_em", torch.tensor([0.01, 0.1]), torch.tensor([10.0, 100.0]))
        >>> tuple(operator.shape)
        (2, 8, 50)
    """

    settings: TableSettings
    kernels: Mapping[str, Tensor] = field(repr=False)
    engine: str = ""

    @cached_property
    def x_nodes(self) -> Tensor:
        """Increasing nodes ``[x nodes]``, float64."""
        return torch.from_numpy(x_nodes(self.settings.x_min, self.settings.num_x_nodes))

    def alpha_s(self, Q_GeV: Tensor, *, below_threshold: bool = False) -> Tensor:
        """Strong coupling at the order of the table, float64, of any shape.

        Args:
            Q_GeV: scales.
            below_threshold: at the bottom mass itself, take the limit from below; at NNLO the two differ.

        Raises:
            TableError: scales outside the table.
        """
        flat = _as_points(Q_GeV)
        self._check_scales(flat**2)
        result = torch.empty_like(flat)
        for num_flavours, chosen in self._regions(flat, below_threshold=below_threshold):
            result[chosen] = self._Q_weights(flat[chosen], num_flavours) @ self.kernels[f"alpha_s/{num_flavours}"]
        return result.reshape(Q_GeV.shape)

    def structure_function(self, name: str, x: Tensor, Q2: Tensor, target: str = "proton") -> Tensor:
        r"""Operator of a structure function, :math:`F_p = \sum_{fk} O_{pfk}\, x f_f(x_k, Q_0)`.

        Args:
            name: such as ``F2_em``, ``FL_Z`` or ``xF3_Wp``; see ``STRUCTURE_FUNCTIONS`` for all, and
                :func:`~unscatter.theories.dis.operators.couplings` for what is included.
            x: Bjorken's x, ``[points]``.
            Q2: in GeV2, ``[points]``.
            target: proton, neutron or deuteron; the deuteron per nucleon, without nuclear corrections.

        Returns:
            ``[points, 8, x nodes]``, float64.

        Raises:
            SettingsError: an unknown structure function or target.
            TableError: points outside the table.
        """
        x, Q2 = _as_points(x), _as_points(Q2)
        if len(x) != len(Q2):
            raise TableError(f"'x' and 'Q2' are the coordinates of the same points, but have {len(x)} and {len(Q2)} values.")
        self._check_x(x)
        self._check_scales(Q2)
        Q = Q2.sqrt()
        result = x.new_zeros(len(x), 8, len(self.x_nodes))
        for num_flavours, chosen in self._regions(Q):
            weights = couplings(name, num_flavours, self.settings.sin2_theta_W)
            for block in chosen.nonzero()[:, 0].split(_BLOCK):
                result[block] = self._structure_function(name.partition("_")[0], weights, num_flavours, x[block], Q[block])
        return on_target(result, target, 1)

    def combination(self, coefficients: Mapping[str, Tensor], x: Tensor, Q2: Tensor, target: str = "proton") -> Tensor:
        r"""Operator of a sum of structure functions with a coefficient per point, :math:`\sum_k c_{pk} F_k`, ``[points, 8, x nodes]``.

        Args:
            coefficients: by the name of the structure function, ``[points]`` each.
            x: Bjorken's x, ``[points]``.
            Q2: in GeV2, ``[points]``.
            target: proton, neutron or deuteron.

        Raises:
            SettingsError: an unknown structure function or target.
            TableError: points outside the table.
        """
        result = torch.zeros(len(x), 8, len(self.x_nodes), dtype=torch.float64)
        for name, coefficient in coefficients.items():
            result += coefficient[:, None, None] * self.structure_function(name, x, Q2, target)
        return result

    def evolution(self, x: Tensor, Q_GeV: Tensor, *, below_threshold: bool = False) -> Tensor:
        r"""Operator of evolution, :math:`x f_p(x, Q) = \sum_{fk} E_{pfk}(x, Q)\, x f_f(x_k, Q_0)`, of the proton.

        Args:
            x: ``[x points]``.
            Q_GeV: ``[scales]``.
            below_threshold: at the bottom mass itself, take the limit from below (four flavours), not from above; at NNLO they differ.

        Returns:
            ``[scales, 11, x points, 8, x nodes]``, float64, partons in the order of ``PDG_IDS``.

        Raises:
            TableError: points outside the table.

        Example:
            >>> from unscatter.theories.dis.storage import load_tables
            >>> operator = load_tables("lo").evolution(torch.tensor([0.1]), torch.tensor([1.65, 100.0]))
            >>> tuple(operator.shape)
            (2, 11, 1, 8, 50)
        """
        x, Q = _as_points(x), _as_points(Q_GeV)
        self._check_x(x)
        self._check_scales(Q**2)
        x_rows = self._x_weights(x)
        result = x.new_zeros(len(Q), 11, len(x), 8, len(self.x_nodes))
        for num_flavours, chosen in self._regions(Q, below_threshold=below_threshold):
            Q_rows = self._Q_weights(Q[chosen], num_flavours)
            for name, kernel in self._evolution_kernels(num_flavours):
                at_points = torch.einsum("sq,qij,xi->sxj", Q_rows, kernel, x_rows)
                result[chosen] += torch.einsum("pf,sxj->spxfj", EVOLUTION_FLAVOURS[name], at_points)
        return result

    def _structure_function(self, observable: str, weights: Tensor, num_flavours: int, x: Tensor, Q: Tensor) -> Tensor:
        """Operator at points that lie in one region, ``[points, 8, x nodes]``."""
        Q_rows = self._Q_weights(Q, num_flavours)
        coupling = (Q_rows @ self.kernels[f"alpha_s/{num_flavours}"]) / (2 * torch.pi)
        result = x.new_zeros(len(x), 8, len(self.x_nodes))
        for name, partons in coefficient_flavours(weights, num_flavours).items():
            row = self._coefficient_row(observable, name, num_flavours, self._x_weights(x), coupling)
            if row is None:
                continue
            for kernel_name, kernel in self._evolution_kernels(num_flavours):
                densities = partons @ EVOLUTION_FLAVOURS[kernel_name]
                if densities.abs().max() > 0:
                    # One matrix product for both the sum over nodes in Q and the product with the kernel.
                    evolved = (Q_rows[:, :, None] * row[:, None, :]).flatten(1) @ kernel.flatten(0, 1)
                    result += densities[:, None] * evolved[:, None, :]
        return result

    def _coefficient_row(self, observable: str, name: str, num_flavours: int, at_x: Tensor, coupling: Tensor) -> Tensor | None:
        """Interpolation in x after the coefficient function, ``[points, x nodes]``; None where it vanishes."""
        row = at_x if observable != "FL" and name in ("plus", "minus") else None
        for power in range(1, self.settings.num_loops):
            kernel = self._alike(f"coefficients/{num_flavours}/{observable}/{power}/{name}")
            if kernel is not None:
                term = coupling[:, None] ** power * (at_x @ kernel)
                row = term if row is None else row + term
        return row

    def _evolution_kernels(self, num_flavours: int) -> Iterator[tuple[str, Tensor]]:
        for name in EVOLUTION_FLAVOURS:
            kernel = self._alike(f"evolution/{num_flavours}/{name}")
            if kernel is not None:
                yield name, kernel

    def _alike(self, name: str) -> Tensor | None:
        """A kernel, or None where it vanishes; low orders do not tell ``minus`` from ``plus`` and store it once."""
        kernel = self.kernels.get(name)
        return self.kernels.get(name.removesuffix("minus") + "plus") if kernel is None and name.endswith("/minus") else kernel

    def _regions(self, Q: Tensor, *, below_threshold: bool = False) -> Iterator[tuple[int, Tensor]]:
        """Numbers of flavours with the points that have them."""
        mass = self.settings.bottom_mass_GeV
        below = mass - Q >= 0 if below_threshold else mass - Q > 0
        for num_flavours, chosen in ((4, below), (5, ~below)):
            if chosen.any():
                yield num_flavours, chosen

    def _x_weights(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x_weights(x.numpy(), self.x_nodes.numpy()))

    def _Q_weights(self, Q: Tensor, num_flavours: int) -> Tensor:
        settings = self.settings
        low, high = {4: (settings.Q0_GeV, settings.bottom_mass_GeV), 5: (settings.bottom_mass_GeV, settings.Q_max_GeV)}[num_flavours]
        return torch.from_numpy(Q_weights(Q.numpy(), Q_nodes(low, high, settings.num_Q_nodes[num_flavours - 4])))

    def _check_x(self, x: Tensor) -> None:
        _check_range("x", x, self.settings.x_range, "")

    def _check_scales(self, Q2: Tensor) -> None:
        _check_range("Q2", Q2, self.settings.Q2_range, " GeV2")


def kernel_shapes(settings: TableSettings) -> dict[str, tuple[int, ...]]:
    """Shapes of the kernels of a table, by their names; see :mod:`unscatter.theories.dis.operators` for what these mean.

    The worker that runs hoppet arrives at the same names by itself, as it computes.  They stand here again on purpose: a file is compared
    with what this theory reads, not with what some program has written.

    Example:
        >>> shapes = kernel_shapes(TableSettings(order="LO"))
        >>> len(shapes), shapes["evolution/4/plus"]
        (14, (10, 50, 50))
    """
    loops, num_x = settings.num_loops, settings.num_x_nodes
    shapes: dict[str, tuple[int, ...]] = {}
    for num_flavours, num_Q in zip((4, 5), settings.num_Q_nodes, strict=True):
        shapes[f"alpha_s/{num_flavours}"] = (num_Q,)
        for name in EVOLUTION_FLAVOURS:
            exists = loops >= _FIRST_LOOPS.get(name.replace("bottom", "quark"), 1) and (num_flavours == 5 or not name.startswith("bottom"))
            shapes |= {f"evolution/{num_flavours}/{name}": (num_Q, num_x, num_x)} if exists else {}
        for power in range(1, loops):
            names = [f"{observable}/{power}/{name}" for observable in ("F2", "FL", "xF3") for name in _coefficients(observable, power)]
            shapes |= {f"coefficients/{num_flavours}/{name}": (num_x, num_x) for name in names}
    return shapes


def _coefficients(observable: str, power: int) -> tuple[str, ...]:
    """Names of the coefficient functions in front of a power of the coupling."""
    own = () if observable == "xF3" else ("gluon",) if power == 1 else ("gluon", "singlet")
    return (*own, "plus") if power == 1 else (*own, "plus", "minus")


def _as_points(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64).reshape(-1)


def _check_range(name: str, values: Tensor, limits: tuple[float, float], unit: str) -> None:
    """Rounding at the edges is forgiven, as to single precision."""
    low, high = limits
    outside = ~((values >= low * (1 - 1e-6)) & (values <= high * (1 + 1e-6)))
    if outside.any():
        seen = np.asarray(values[outside])
        raise TableError(
            f"{int(outside.sum())} of {len(values)} points lie outside the theory table: "
            f"'{name}' reaches from {seen.min():g} to {seen.max():g}{unit} there, and the table from {low:g} to {high:g}{unit}.\n"
            "Cut these points, or build a table with another range: unscatter tables build --help"
        )
