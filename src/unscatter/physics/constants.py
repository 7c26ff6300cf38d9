r"""Constants of nature that cross sections need, in natural units: GeV, :math:`\hbar = c = 1`.

The electroweak masses, the mixing angle and Fermi's constant are those of the theory behind NNPDF4.0 (arXiv:2109.02653), so that tables and
cross sections can be compared with published ones.  All are defaults of keyword arguments; none is hidden inside a formula.
"""

from __future__ import annotations

#: Fine-structure constant at zero momentum (Thomson limit; CODATA 2018: 0.0072973525693), to the six digits at which PYTHIA runs have it
#: fixed.  HERA's reduced cross sections divide by this one, too.  It runs: :math:`\alpha(M_Z) = 1/127.95`, 7 % more, and at
#: :math:`Q^2 = 10` GeV2 it has grown by about 2.5 %, which is 5 % of a cross section.
ALPHA_EM = 0.00729735
#: Mass of the Z boson in GeV (PDG).
MZ_GEV = 91.1876
#: Mass of the W boson in GeV.  PDG 2024: 80.3692, which changes a charged-current cross section by 0.15 % at most.
MW_GEV = 80.398
#: Fermi's constant in 1/GeV2 (PDG).
FERMI_CONSTANT = 1.1663787e-5
#: Effective weak mixing angle, :math:`\sin^2\theta_W`.
SIN2_THETA_W = 0.23126
#: Mass of the proton in GeV (PDG).
PROTON_MASS_GEV = 0.93827208816
#: Cross sections: 1/GeV2 in picobarn, :math:`(\hbar c)^2` (PDG).
PB_PER_INVERSE_GEV2 = 3.893793721e8
