r"""The scattered electron of deep-inelastic events: from true (Q2, y) to what is measured and reconstructed from it.

Events of the theory have the columns ``Q2`` in GeV2 and ``y``; measured events have :data:`ELECTRON_COLUMNS`.  Angles count from the
direction of the hadron beam, see :mod:`unscatter.physics.dis_kinematics`.  The first stage of a detector is :class:`DisKinematics`, for
electrons that are measured ideally, or :class:`ElectronReconstruction`; see :func:`~unscatter.detectors.electron_detector` for the others.
Where the hadrons are measured too there is :data:`~unscatter.detectors.HADRON_COLUMN` as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.detectors.columns import NamedColumns, require_columns
from unscatter.detectors.hadrons import HADRON_COLUMN, Hadrons
from unscatter.detectors.resolution import Resolution
from unscatter.detectors.smearing import standard_normals
from unscatter.errors import ParameterError, SettingsError
from unscatter.physics.dis_kinematics import Beams, W2_from_Q2_y, electron_from_Q2_y, light_cone_energies, safe_root, x_from_Q2_y

#: Columns of measured events; energies in GeV, Q2 and W2 in GeV2, the angle in radian.
ELECTRON_COLUMNS = ("x", "Q2", "y", "electron_energy", "electron_theta", "W2")
#: Reconstructed x is not larger than this; it stands for all events with y so small, or negative, that x would be.
LARGEST_X = 2.0


@dataclass(frozen=True, eq=False)
class DisKinematics:
    r"""Add columns that follow from ``Q2`` and ``y`` without any error.

    Args:
        beams: energies of the beams.
        adds: which columns, of ``x``, ``W2``, ``electron_energy``, ``electron_theta`` and ``hadron_y``.

    Raises:
        SettingsError: a column that is not one of these.
        ColumnError: the events lack ``Q2`` or ``y``.

    Example:
        >>> stage = DisKinematics(Beams(18.0, 275.0))
        >>> stage.columns_out(("Q2", "y"))
        ('x', 'Q2', 'y', 'W2')
    """

    beams: Beams
    _: KW_ONLY
    adds: tuple[str, ...] = ("x", "W2")
    noise_columns: int = field(default=0, init=False, repr=False)
    nuisances: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        known = [name for name in (*ELECTRON_COLUMNS, HADRON_COLUMN) if name not in ("Q2", "y")]
        if unknown := [name for name in self.adds if name not in known]:
            raise SettingsError(f"'adds' of DisKinematics names {unknown}, but Q2 and y determine {known}.")

    def __str__(self) -> str:
        return "DisKinematics"

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns of the electron first, in the order of :data:`ELECTRON_COLUMNS`, then those that came along."""
        return _columns_out(str(self), columns, self.adds)

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Add the columns to the events, ``[..., num_events, columns]``."""
        columns = NamedColumns(events, str(self))
        Q2, y = columns["Q2"], columns["y"]
        energy, theta = electron_from_Q2_y(Q2, y, self.beams)
        measured = measured_columns(Q2, y, energy, theta, self.beams) | {HADRON_COLUMN: y}
        return _with_columns(events, {name: measured[name] for name in self.adds})

    def validate(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> None:
        """Raise ParameterError when true events lie outside phase space."""
        _check_truth(events, str(self))


@dataclass(frozen=True, eq=False)
class ElectronReconstruction:
    r"""Smear energy and polar angle of the scattered electron, and reconstruct the event from them.

    Without hadrons that is the electron method,

    .. math::
        E'' = E' (1 + \delta), \quad \delta = \sigma_E(E')\, z_1, \qquad \theta'' = \theta' + \epsilon, \quad
        \epsilon = \sigma_\theta(E')\, z_2, \qquad
        Q^2 = 4 E_e E'' \cos^2\tfrac{\theta''}{2}, \qquad y = 1 - \frac{E''}{E_e} \sin^2\tfrac{\theta''}{2}

    The formulas are evaluated as differences from the true values, with :math:`a = Q^2_\text{true} / 4 E_e`, :math:`b = E_e (1 -
    y_\text{true})`,

    .. math::
        \Delta = (a - b) \sin^2\tfrac\epsilon2 + \sqrt{a b}\, \sin\epsilon, \qquad
        Q^2 = (1 + \delta) (Q^2_\text{true} - 4 E_e \Delta), \qquad y = y_\text{true} - \frac{(1 + \delta) \Delta + \delta b}{E_e},

    so that y loses no digits where it is small, and zero resolution returns the true values exactly.

    Where hadrons are measured too, :class:`~unscatter.detectors.Hadrons` say what becomes of Q2 and y; x and W2 follow from these, energy
    and angle stay those of the electron.

    Everything stays finite, with finite gradients, wherever smearing leads: angles beyond 0 or :math:`\pi` are reflected, energies end at
    zero, y may be negative, and x is :data:`LARGEST_X` for all events that would have more (or y <= 0).  Cut on ``x <= 1`` and on y to be
    rid of these, see :func:`~unscatter.detectors.electron_acceptance`.

    Args:
        beams: energies of the beams.
        energy_resolution: relative width :math:`\sigma_E`.
        angle_resolution: width :math:`\sigma_\theta`, in radian.
        hadrons: how they are measured and used; not at all when None.

    Raises:
        ColumnError: the events lack ``Q2`` or ``y``.
        ParameterError: from :meth:`validate`, when true events lie outside phase space.

    References:
        U. Bassler and G. Bernardi, Nucl. Instrum. Meth. A 361 (1995) 197 (hep-ex/9412004), for the methods.

    Example:
        >>> stage = ElectronReconstruction(
        ...     Beams(18.0, 275.0), energy_resolution=Resolution(stochastic=0.02, constant=0.01), angle_resolution=Resolution(constant=1e-3)
        ... )
        >>> events = stage(Events(torch.tensor([[[100.0, 0.5]]]), ("Q2", "y")), torch.full((1, 1, 2), 0.5), {})
        >>> events.columns
        ('x', 'Q2', 'y', 'electron_energy', 'electron_theta', 'W2')
        >>> round(float(events.column("x")), 4)
        0.0101
    """

    beams: Beams
    _: KW_ONLY
    energy_resolution: Resolution
    angle_resolution: Resolution
    hadrons: Hadrons | None = None
    nuisances: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __str__(self) -> str:
        return "ElectronReconstruction"

    @property
    def noise_columns(self) -> int:
        """Uniform numbers per event: for energy, angle and, where they are measured, hadrons."""
        return 2 if self.hadrons is None else 3

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """:data:`ELECTRON_COLUMNS`, that of the hadrons where they are measured, then the columns that came along."""
        return _columns_out(str(self), columns, ELECTRON_COLUMNS if self.hadrons is None else (*ELECTRON_COLUMNS, HADRON_COLUMN))

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Reconstruct the events, ``[..., num_events, columns]``."""
        columns = NamedColumns(events, str(self))
        Q2, y, normals, beam = columns["Q2"], columns["y"], standard_normals(noise), self.beams.electron_energy_GeV
        forward, backward = light_cone_energies(Q2, y, self.beams)
        energy = forward + backward
        shift = (self.energy_resolution(energy) * normals[..., 0]).clamp(min=-1)
        angle = self.angle_resolution(energy) * normals[..., 1]
        moved, theta = _turn(forward, backward, angle)
        electron = MeasuredElectron(
            Q2=(1 + shift) * (Q2 - 4 * beam * moved).clamp(min=0),
            y=y - ((1 + shift) * moved + shift * backward) / beam,
            energy=(1 + shift) * energy,
            theta=theta,
        )
        if self.hadrons is None:
            return _with_columns(events, measured_columns(*electron, self.beams))
        hadron_y = self.hadrons.measured_y(y, normals[..., 2], self.beams)
        return _with_columns(events, with_hadrons(electron, hadron_y, self.hadrons, self.energy_resolution, self.beams))

    def validate(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> None:
        """Raise ParameterError when true events lie outside phase space."""
        _check_truth(events, str(self))


class MeasuredElectron(NamedTuple):
    """What the electron method has of events, ``[..., num_events]`` each."""

    Q2: Tensor
    y: Tensor
    energy: Tensor
    theta: Tensor


def with_hadrons(
    electron: MeasuredElectron, hadron_y: Tensor, hadrons: Hadrons, energy_resolution: Resolution, beams: Beams
) -> dict[str, Tensor]:
    """All of :data:`ELECTRON_COLUMNS` as the method of the hadrons has them, and :data:`~unscatter.detectors.HADRON_COLUMN`."""
    Q2, y = hadrons.reconstruct(electron.Q2, electron.y, hadron_y, energy_resolution(electron.energy), beams)
    return measured_columns(Q2, y, electron.energy, electron.theta, beams) | {HADRON_COLUMN: hadron_y}


def measured_columns(Q2: Tensor, y: Tensor, energy: Tensor, theta: Tensor, beams: Beams) -> dict[str, Tensor]:
    """All of :data:`ELECTRON_COLUMNS`, ``[..., num_events]``; x is bounded, see :class:`ElectronReconstruction`."""
    # The last term keeps 0 / 0 away, where an electron has lost all its energy.
    lowest_y = (Q2 / (LARGEST_X * beams.s)).clamp(min=1e-12)
    values = (x_from_Q2_y(Q2, torch.maximum(y, lowest_y), beams.s), Q2, y, energy, theta, W2_from_Q2_y(Q2, y, beams.s))
    return dict(zip(ELECTRON_COLUMNS, values, strict=True))


def _turn(forward: Tensor, backward: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    r"""Energy :math:`\Delta` that moves from a to b when the electron turns by an angle, and the new polar angle.

    The roots of a and b are the cosine and the sine of half the polar angle, times that of the energy: they turn by half the angle.
    """
    forward_root, backward_root = safe_root(forward), safe_root(backward)
    sine, cosine = torch.sin(angle / 2), torch.cos(angle / 2)
    moved = (forward - backward) * sine.square() + forward_root * backward_root * torch.sin(angle)
    new_forward_root, new_backward_root = forward_root * cosine - backward_root * sine, backward_root * cosine + forward_root * sine
    return moved, 2 * torch.atan2(new_backward_root.abs(), new_forward_root.abs())


def _columns_out(stage: str, columns: tuple[str, ...], adds: tuple[str, ...]) -> tuple[str, ...]:
    require_columns(stage, ("Q2", "y"), columns)
    return _in_order((*columns, *(name for name in adds if name not in columns)))


def _in_order(columns: tuple[str, ...]) -> tuple[str, ...]:
    electron = tuple(name for name in (*ELECTRON_COLUMNS, HADRON_COLUMN) if name in columns)
    return electron + tuple(name for name in columns if name not in electron)


def _with_columns(events: Events, new: dict[str, Tensor]) -> Events:
    events = events.with_columns(new)
    return events.select(_in_order(events.columns))


def _check_truth(events: Events, stage: str) -> None:
    columns = NamedColumns(events, stage)
    Q2, y = columns["Q2"], columns["y"]
    bad = ~((Q2 > 0) & (y > 0) & (y <= 1))
    if bool(bad.any()):
        raise ParameterError(
            f"{int(bad.sum())} of {bad.numel()} true events that reach {stage} lie outside Q2 > 0, 0 < y <= 1, the first has "
            f"Q2 = {float(Q2[bad][0]):g}, y = {float(y[bad][0]):g}.\nGive the theory a grid inside phase space."
        )
