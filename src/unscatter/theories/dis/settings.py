"""What a theory table of deep-inelastic scattering is made for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unscatter.errors import SettingsError
from unscatter.files import did_you_mean

#: Orders of perturbative QCD; the number of loops is the position plus one.
ORDERS: tuple[str, ...] = ("LO", "NLO", "NNLO")

#: Lowest and highest value of a number, and why.
_LIMITS: dict[str, tuple[float, float, str]] = {
    "x_min": (1e-9, 0.1, "no experiment reaches lower, and fits need some decades"),
    "alpha_s_MZ": (0.05, 0.2, "measured is 0.118"),
    "sin2_theta_W": (0.01, 0.99, "it is the square of a sine, and couplings are divided by it and by one minus it; measured is 0.231"),
    "charm_mass_GeV": (0.5, 1e4, "below, perturbation theory knows no quark; measured are some 1.5"),
    "top_mass_GeV": (1.0, 1e4, "measured are some 173"),
    "MW_GeV": (1.0, 1e4, "measured are 80.4"),
    "Q_max_GeV": (1.0, 1e6, "no collider that is thought of reaches higher"),
}
#: Fewest and most nodes: in x for interpolation of degree 5; in Q for polynomials.  Kernels grow with the square of the nodes in x times
#: those in Q, to a gigabyte at the upper ends, while 50 in x and 10 to 14 in Q are accurate to a few parts in ten thousand.
_NODES_IN_X, _NODES_IN_Q = (12, 200), (4, 60)


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """Physics and grid of a table.

    The scheme is the massless variable-flavour one in MS-bar: four flavours from ``Q0_GeV`` to the bottom mass and five above, never six;
    renormalisation and factorisation scale are Q.

    Raises:
        SettingsError: an unknown order, scales in the wrong order, numbers without a meaning, too few nodes or too many.

    Example:
        >>> settings = TableSettings(order="NLO", alpha_s_MZ=0.118)
        >>> settings.num_loops, round(settings.Q2_range[0], 4)
        (2, 2.7225)
    """

    order: str = "NLO"
    """Order of evolution, coupling and coefficient functions alike: LO, NLO or NNLO; F2 begins at LO, FL is zero there."""
    alpha_s_MZ: float = 0.118
    """Strong coupling at the mass of the Z."""
    Q0_GeV: float = 1.65
    """Scale at which the densities of a fit are given; between the charm and the bottom mass."""
    charm_mass_GeV: float = 1.51
    """Pole mass of the charm quark; below the starting scale, so that charm is fitted like every other density."""
    bottom_mass_GeV: float = 4.92
    """Pole mass of the bottom quark, where the fifth flavour sets in."""
    top_mass_GeV: float = 172.5
    """Pole mass of the top quark; for the record of exported grids only, as there are five flavours at most."""
    MZ_GeV: float = 91.1876
    """Mass of the Z, where the strong coupling is given."""
    MW_GeV: float = 80.398
    """Mass of the W, for the propagators of cross sections; no structure function depends on it."""
    sin2_theta_W: float = 0.23126
    """Effective weak mixing angle in the couplings of quarks to the Z."""
    x_min: float = 1e-5
    """Lowest x; the highest is 1."""
    num_x_nodes: int = 50
    """Nodes in x, see :mod:`unscatter.theories.dis.nodes`."""
    Q_max_GeV: float = 1e4
    """Highest scale."""
    num_Q_nodes: tuple[int, int] = (10, 14)
    """Chebyshev nodes in ln ln Q2 below and above the bottom mass."""

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise SettingsError(f"'order' must be one of {', '.join(ORDERS)}, got '{self.order}'.{did_you_mean(self.order, ORDERS)}")
        _check_numbers(self)
        _check_scales(self)
        _check_nodes(self)

    @property
    def num_loops(self) -> int:
        """1, 2 or 3."""
        return ORDERS.index(self.order) + 1

    @property
    def x_range(self) -> tuple[float, float]:
        """Range of x; up to 0.7 at the accuracy that the tests promise, and less and less accurate towards 1."""
        return self.x_min, 1.0

    @property
    def Q2_range(self) -> tuple[float, float]:
        """Range of Q2, in GeV2."""
        return self.Q0_GeV**2, self.Q_max_GeV**2

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TableSettings:
        """Settings from names and values, as in the header of a file.

        Raises:
            SettingsError: an unknown name, a value of the wrong type.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        arguments: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise SettingsError(
                    f"there is no setting '{name}' of a theory table.{did_you_mean(name, known)}\nThe settings are {', '.join(known)}."
                )
            _check_type(name, value)
            # JSON knows no tuples.
            arguments[name] = tuple(value) if isinstance(value, list) else value
        return cls(**arguments)


def _check_type(name: str, value: object) -> None:
    """A name for the order, whole numbers for counts, numbers for the rest."""
    match name:
        case "order":
            fits, wanted = isinstance(value, str), "a word"
        case "num_Q_nodes":
            fits = isinstance(value, list | tuple) and len(value) == 2 and all(type(number) is int for number in value)
            wanted = "two whole numbers"
        case "num_x_nodes":
            fits, wanted = type(value) is int, "a whole number"
        case _:
            fits, wanted = type(value) in (int, float), "a number"
    if not fits:
        raise SettingsError(f"'{name}' must be {wanted}, got {value!r}.")


def _check_numbers(settings: TableSettings) -> None:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, float | int) and not 0 < value < math.inf:
            raise SettingsError(f"'{field.name}' must be a positive number, got {value}.")
    for name, (low, high, reason) in _LIMITS.items():
        value = getattr(settings, name)
        if not low <= value <= high:
            raise SettingsError(f"'{name}' must lie between {low:g} and {high:g}, got {value}: {reason}.")


def _check_nodes(settings: TableSettings) -> None:
    (fewest_x, most_x), (fewest_Q, most_Q) = _NODES_IN_X, _NODES_IN_Q
    fits = fewest_x <= settings.num_x_nodes <= most_x and all(fewest_Q <= number <= most_Q for number in settings.num_Q_nodes)
    if not fits:
        raise SettingsError(
            f"a table needs {fewest_x} to {most_x} nodes in x ('num_x_nodes') and {fewest_Q} to {most_Q} in Q on either side of the bottom "
            f"mass ('num_Q_nodes'), got {settings.num_x_nodes} and {settings.num_Q_nodes}.\nUse for example 50, and 10 and 14."
        )


def _check_scales(settings: TableSettings) -> None:
    scales = {name: getattr(settings, name) for name in ("charm_mass_GeV", "Q0_GeV", "bottom_mass_GeV", "MZ_GeV", "Q_max_GeV")}
    values = list(scales.values())
    if any(low >= high for low, high in zip(values, values[1:], strict=False)):
        raise SettingsError(
            f"the scales must increase in the order {' < '.join(scales)}, got {', '.join(f'{value:g}' for value in values)}.\n"
            "Charm is one of the fitted densities, therefore the starting scale lies above its mass."
        )
    if settings.Q0_GeV < 1.0:
        raise SettingsError(f"'Q0_GeV' must be at least 1 GeV, where perturbation theory begins to hold, got {settings.Q0_GeV:g}.")
