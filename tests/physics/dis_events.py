"""Real events with their kinematics, shared by tests of physics and of the detector."""

from __future__ import annotations

import torch

from unscatter.physics.dis_kinematics import Beams

#: Neutral-current deep-inelastic events of PYTHIA 8.318: electrons of 18 GeV on protons of 275 GeV, photon exchange, Q2 > 10 GeV2, no QED
#: radiation, the scattered electron followed from the hard process.  The first eight of a sample of 299,877 and those with the largest or
#: smallest Q2, x, y, energy or angle, and four at random at higher Q2.  Columns in single precision: x, Q2, y, energy in GeV, polar angle.
PYTHIA_EVENTS = (
    (0.00146315049, 10.4250326, 0.359852463, 11.6674471, 2.91832948),
    (0.0242698211, 13.3103333, 0.0276986379, 17.6862888, 2.93675995),
    (0.0316451155, 24.0781727, 0.0384284519, 17.6427059, 2.86536026),
    (0.00119713612, 10.5215092, 0.443885118, 10.1561995, 2.9011097),
    (0.0327843688, 10.338315, 0.0159264505, 17.8569107, 2.962008),
    (0.0483459122, 13.2004356, 0.0137900095, 17.9351196, 2.93903518),
    (0.0228555314, 13.1383905, 0.0290326662, 17.6598892, 2.93793917),
    (0.0462622494, 11.3162565, 0.012354129, 17.9347954, 2.95409179),
    (0.368762046, 5191.23779, 0.710985601, 77.3025742, 0.524826825),
    (0.0308007393, 609.330261, 0.999143004, 8.47832108, 0.0852673128),
    (0.842409372, 10.3432999, 0.000620114675, 18.132494, 2.96333861),
    (0.936942279, 19.1202831, 0.00103066512, 18.2470074, 2.89972711),
    (0.000520240166, 10.0163288, 0.972390652, 0.636083901, 2.16830826),
    (0.000752000429, 14.6977606, 0.987118125, 0.436008394, 1.63445568),
    (0.010402563, 52.1346207, 0.253117353, 14.1679773, 2.68550992),
    (0.0483005792, 177.623672, 0.185731083, 17.1238289, 2.36294508),
    (0.210454553, 912.384705, 0.218955427, 26.7307739, 1.62269831),
    (0.19088085, 2216.09082, 0.586355925, 38.2245445, 0.914188743),
)
PYTHIA_BEAMS = Beams(electron_energy_GeV=18.0, hadron_energy_GeV=275.0)


def pythia_columns(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """x, Q2, y, energy and angle, ``[events]`` each."""
    return torch.tensor(PYTHIA_EVENTS, dtype=dtype).unbind(-1)
