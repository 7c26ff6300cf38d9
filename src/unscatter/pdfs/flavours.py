"""The flavours of a fit and how they make up the partons of proton, neutron and deuteron."""

from __future__ import annotations

#: Densities that a fit determines at the starting scale, always as x f(x), in this order; ``c+`` is the sum of c and its antiquark.
FIT_FLAVOURS: tuple[str, ...] = ("g", "d", "u", "s", "dbar", "ubar", "sbar", "c+")

#: Partons after evolution, by their number in the scheme of the Particle Data Group; the gluon is 21.
PDG_IDS: tuple[int, ...] = (-5, -4, -3, -2, -1, 21, 1, 2, 3, 4, 5)

#: Targets whose partons follow from those of the proton; isospin symmetry makes the d of the neutron the u of the proton.
TARGETS: tuple[str, ...] = ("proton", "neutron", "deuteron")
