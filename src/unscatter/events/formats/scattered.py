"""The scattered lepton of a simulated event, and the invariants of deep-inelastic scattering."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: What :func:`scattered_lepton` returns, in this order.
COLUMNS = ("E", "px", "py", "pz", "theta", "phi", "electron_beam_energy", "hadron_beam_energy", "x", "Q2", "y", "weight")

_LEPTONS = (11, -11, 13, -13)
_BEAM, _FINAL = 4, 1
_MISSING = math.nan


def scattered_lepton(event: Any) -> tuple[float, ...]:
    r"""Columns of one event of HepMC: energies and momenta in GeV, angles in radian, Q2 in GeV2.

    The scattered lepton is the stable particle of the beam lepton's kind (electron or muon, with its charge) at the end of its line: from
    vertex to vertex the one with the largest energy; where the line has a gap, the stable one with the largest energy.  With the momenta
    :math:`k, P` of the beams and :math:`q = k - k'`

    .. math:: Q^2 = 4 |\mathbf k| |\mathbf k'| \sin^2\tfrac\alpha2, \qquad y = \frac{P q}{P k}, \qquad x = \frac{Q^2}{2 P q}

    with the angle :math:`\alpha` between :math:`\mathbf k` and :math:`\mathbf k'`; the lepton's mass is neglected in :math:`Q^2`.

    ``theta`` counts from the direction of the hadron beam, as in :mod:`unscatter.physics.dis_kinematics`.  What an event does not
    have, as the lepton of a charged current, is NaN.
    """
    particles = event.numpy.particles
    pid, status = particles.pid, particles.status
    unit = 1e-3 if event.momentum_unit.name == "MEV" else 1.0
    momenta = unit * np.stack([particles.e, particles.px, particles.py, particles.pz], 1)
    beams = np.flatnonzero(status == _BEAM)
    leptons = [i for i in beams if pid[i] in _LEPTONS]
    hadrons = [i for i in beams if pid[i] not in _LEPTONS]
    weight = float(event.weights[0]) if len(event.weights) else 1.0
    beam = momenta[leptons[0]] if leptons else None
    hadron = momenta[hadrons[0]] if hadrons else None
    found = _end_of_line(event.particles[int(leptons[0])], pid, status, momenta) if leptons else None
    return (*_kinematics(beam, hadron, None if found is None else momenta[found]), weight)


def _end_of_line(lepton: Any, pid: np.ndarray, status: np.ndarray, momenta: np.ndarray) -> int | None:
    """Place of the stable particle that a beam lepton becomes; None where it becomes another one, as in charged currents."""
    kind = lepton.pid
    while children := lepton.children:
        same = [child for child in children if child.pid == kind]
        if not same:
            return None
        lepton = max(same, key=lambda child: child.momentum.e)
    if lepton.status == _FINAL:
        return lepton.id - 1
    # The record has a gap.
    stable = np.flatnonzero((pid == kind) & (status == _FINAL))
    return int(stable[momenta[stable, 0].argmax()]) if len(stable) else None


def _kinematics(beam: np.ndarray | None, hadron: np.ndarray | None, out: np.ndarray | None) -> tuple[float, ...]:
    """All columns but the weight."""
    energies = tuple(_MISSING if p is None else float(p[0]) for p in (beam, hadron))
    if out is None:
        return (*[_MISSING] * 6, *energies, *[_MISSING] * 3)
    phi = math.atan2(out[2], out[1])
    if beam is None or hadron is None:
        return (*map(float, out), _MISSING, phi, *energies, *[_MISSING] * 3)
    # A target at rest has no direction: the one against the lepton beam.
    axis = hadron[1:] if np.any(hadron[1:]) else -beam[1:]
    theta = _angle(out[1:], axis)
    Q2 = _four_momentum_transfer(beam, out)
    Pk, Pq = _product(hadron, beam), _product(hadron, beam - out)
    return (*map(float, out), theta, phi, *energies, Q2 / (2 * Pq) if Pq else _MISSING, Q2, Pq / Pk)


def _four_momentum_transfer(before: np.ndarray, after: np.ndarray) -> float:
    r""":math:`Q^2` by the angle, since the products of four-momenta cancel at small angles."""
    lengths = float(np.linalg.norm(before[1:]) * np.linalg.norm(after[1:]))
    return 4 * lengths * math.sin(_angle(before[1:], after[1:]) / 2) ** 2


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))


def _product(a: np.ndarray, b: np.ndarray) -> float:
    return float(a[0] * b[0] - a[1:] @ b[1:])
