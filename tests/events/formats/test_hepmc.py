"""What simulated events of HepMC become."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pyhepmc
import pytest
import torch

from unscatter.errors import EventsError, EventsFileError
from unscatter.events import column_names, read_events
from unscatter.physics.dis_kinematics import Beams, ScatteredElectron, electron_from_Q2_y

BEAMS = Beams(18.0, 275.0)
Q2, Y = [4.0, 30.0, 200.0], [0.1, 0.5, 0.9]
MUON_MASS, PHI = 0.10566, 0.7


def momentum(energy: float, theta: float, phi: float = PHI) -> pyhepmc.FourVector:
    """A particle without mass; the hadron beam goes along +z."""
    across = energy * math.sin(theta)
    return pyhepmc.FourVector(across * math.cos(phi), across * math.sin(phi), energy * math.cos(theta), energy)


def event(
    number: int, electron: ScatteredElectron | None, weight: float, *, lepton: int = 11, unit: str = "GEV", gap: bool = False
) -> pyhepmc.GenEvent:
    """An event with a lepton that radiates, or a neutrino, a faster electron of other origin, and a remnant of the proton."""
    scale = 1000.0 if unit == "MEV" else 1.0
    made = pyhepmc.GenEvent(getattr(pyhepmc.Units, unit), pyhepmc.Units.MM)
    made.event_number, made.weights = number, [weight]

    def particle(p: pyhepmc.FourVector, pid: int, status: int) -> pyhepmc.GenParticle:
        return pyhepmc.GenParticle(pyhepmc.FourVector(scale * p.px, scale * p.py, scale * p.pz, scale * p.e), pid, status)

    beam, hadron = particle(momentum(18.0, math.pi), lepton, 4), particle(momentum(275.0, 0.0), 2212, 4)
    hard, radiation = pyhepmc.GenVertex(), pyhepmc.GenVertex()
    hard.add_particle_in(hadron)
    hard.add_particle_out(particle(momentum(250.0, 0.01), 211, 1))
    if gap:
        made.add_particle(beam)
    else:
        hard.add_particle_in(beam)
    if electron is None:
        hard.add_particle_out(particle(momentum(20.0, 2.0), 12, 1))
    else:
        energy, theta = float(electron.energy_GeV), float(electron.theta)
        middle = particle(momentum(1.2 * energy, theta), lepton, 21)
        hard.add_particle_out(middle)
        radiation.add_particle_in(middle)
        radiation.add_particle_out(particle(momentum(0.2 * energy, theta), 22, 1))
        radiation.add_particle_out(particle(momentum(energy, theta), lepton, 1))
        made.add_vertex(radiation)
    # A fast electron from the decay of a hadron: not the scattered one.
    decay = pyhepmc.GenVertex()
    pion = particle(momentum(260.0, 0.02), 111, 2)
    hard.add_particle_out(pion)
    decay.add_particle_in(pion)
    decay.add_particle_out(particle(momentum(255.0, 0.02), 11, 1))
    made.add_vertex(hard)
    made.add_vertex(decay)
    return made


def electrons() -> list[ScatteredElectron]:
    both = electron_from_Q2_y(torch.tensor(Q2, dtype=torch.float64), torch.tensor(Y, dtype=torch.float64), BEAMS)
    return [ScatteredElectron(both.energy_GeV[i], both.theta[i]) for i in range(3)]


def write(path: Path, events: list[pyhepmc.GenEvent], kind: str | None = None) -> Path:
    with pyhepmc.open(str(path), "w", format=kind) as file:
        for made in events:
            file.write(made)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "unit", "lepton"),
    [("e.hepmc", None, "GEV", 11), ("e.hepmc3.gz", None, "MEV", 11), ("e.hepmc", "HepMC2", "GEV", -11), ("e.hepmc3", None, "GEV", 13)],
)
def test_columns_are_those_of_the_scattered_lepton(tmp_path: Path, name: str, kind: str | None, unit: str, lepton: int) -> None:
    made = [event(i, electron, 0.5 + i, lepton=lepton, unit=unit) for i, electron in enumerate(electrons())]
    path = write(tmp_path / name, made, kind)
    events = read_events(path, weight="weight", dtype=torch.float64)
    both = electron_from_Q2_y(torch.tensor(Q2, dtype=torch.float64), torch.tensor(Y, dtype=torch.float64), BEAMS)
    expected = {
        "E": both.energy_GeV, "theta": both.theta, "phi": torch.full((3,), PHI), "Q2": torch.tensor(Q2), "y": torch.tensor(Y),
        "x": torch.tensor(Q2) / (BEAMS.s * torch.tensor(Y)), "electron_beam_energy": torch.full((3,), 18.0),
        "hadron_beam_energy": torch.full((3,), 275.0), "pz": both.energy_GeV * torch.cos(both.theta),
    }  # fmt: skip
    for column, values in expected.items():
        torch.testing.assert_close(events.column(column), values.double(), rtol=2e-5, atol=0, msg=lambda text, c=column: f"{c}: {text}")
    assert events.weights is not None
    assert events.weights.tolist() == [0.5, 1.5, 2.5]
    assert column_names(path)[-1] == "weight"


def test_gap_in_the_record_is_bridged_by_the_fastest_stable_lepton(tmp_path: Path) -> None:
    path = write(tmp_path / "e.hepmc", [event(0, electrons()[0], 1.0, gap=True)])
    assert read_events(path, ["E"], weight="weight").values.tolist() == [[255.0]]


def test_charged_current_has_no_scattered_lepton_even_if_a_hadron_decays_into_one(tmp_path: Path) -> None:
    path = write(tmp_path / "e.hepmc", [event(0, electrons()[0], 1.0), event(1, None, 1.0)])
    with pytest.raises(EventsError, match=r"1 of 2 events[\s\S]*Column 'Q2' has 1, the first in row 1: nan"):
        read_events(path, ["x", "Q2"], weight="weight")
    with pytest.warns(UserWarning, match="1 of 2"):
        assert read_events(path, ["Q2"], weight="weight", not_finite="drop").num_events == 1


def test_event_that_cannot_be_read_is_missed(tmp_path: Path) -> None:
    path = write(tmp_path / "e.hepmc", [event(i, electron, 1.0) for i, electron in enumerate(electrons())])
    text = path.read_text()
    second = text.index("\nE 1 ")
    path.write_text(text[: second + 60] + "\nP nonsense\n" + text[second + 90 :])
    with pytest.raises(EventsFileError, match=r"3 events begin in it, but only [01] can be read"):
        read_events(path, weight="weight")
    (tmp_path / "e.hepmc.gz").write_bytes(gzip.compress(text.encode())[:-40])
    with pytest.raises(EventsFileError, match=r"e.hepmc.gz"):
        read_events(tmp_path / "e.hepmc.gz", weight="weight")


def test_other_text_is_no_hepmc_file(tmp_path: Path) -> None:
    (tmp_path / "e.hepmc").write_text("x,y\n1,2\n")
    with pytest.raises(EventsFileError, match=r"is not a HepMC file: it starts with b'x,y"):
        read_events(tmp_path / "e.hepmc")


def test_small_angles_keep_their_digits(tmp_path: Path) -> None:
    tiny = electron_from_Q2_y(torch.tensor(1e-7, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64), BEAMS)
    path = write(tmp_path / "e.hepmc", [event(0, tiny, 1.0)])
    np.testing.assert_allclose(read_events(path, ["Q2"], weight="weight", dtype=torch.float64).values.numpy(), [[1e-7]], rtol=1e-3)
