"""What hadrons add to the scattered electron: methods of reconstruction, their widths, fakes, and what measured events must bring along."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from tests.physics.dis_events import PYTHIA_BEAMS
from unscatter.arrays import Events
from unscatter.detectors import (
    ELECTRON_COLUMNS,
    HADRON_COLUMN,
    PRESETS,
    Background,
    CheckedStage,
    ColumnStage,
    DetectorStage,
    ElectronReconstruction,
    Hadrons,
    PhotoproductionSource,
    Reconstruction,
    Resolution,
    electron_detector,
)
from unscatter.errors import SettingsError
from unscatter.physics.dis_kinematics import Beams, Q2_y_from_electron, Q2_y_sigma, y_e_sigma, y_from_hadrons

METHODS: tuple[Reconstruction, ...] = get_args(Reconstruction)
WITH_HADRONS = [method for method in METHODS if method != "electron"]
PERFECT = Resolution()
ENERGY, ANGLE, BALANCE = Resolution(constant=0.012), Resolution(constant=1e-3), Resolution(0.2, 0.08, 0.05)
NUM_EVENTS = 200_000


def stage(method: Reconstruction, energy: Resolution = ENERGY, angle: Resolution = ANGLE, balance: Resolution = BALANCE):
    return ElectronReconstruction(PYTHIA_BEAMS, energy_resolution=energy, angle_resolution=angle, hadrons=Hadrons(balance, method=method))


def fold(detector: DetectorStage, values: Tensor, seed: int = 1) -> Events:
    noise = torch.rand((*values.shape[:-1], detector.noise_columns), dtype=values.dtype, generator=torch.Generator().manual_seed(seed))
    return detector(Events(values, ("Q2", "y")), noise, {})


def one(Q2: float, y: float) -> Tensor:
    return torch.tensor([Q2, y], dtype=torch.float64).expand(1, NUM_EVENTS, 2)


def some(num_events: int = 500) -> Tensor:
    uniforms = torch.rand(2, num_events, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    Q2 = 10 * 100 ** uniforms[0]
    return torch.stack([Q2, (Q2 / PYTHIA_BEAMS.s) ** uniforms[1]], -1)[None]


def test_stage_fulfils_the_protocols_and_says_its_columns() -> None:
    for method in METHODS:
        assert all(isinstance(stage(method), protocol) for protocol in (DetectorStage, ColumnStage, CheckedStage))
        out = fold(stage(method), some())
        assert out.columns == stage(method).columns_out(("Q2", "y")) == (*ELECTRON_COLUMNS, HADRON_COLUMN)


def test_sigma_methods_are_those_of_energies_and_momenta() -> None:
    """Evaluated from E, theta and the hadrons' E - p_z by the definitions of Bassler and Bernardi."""
    energy, theta, balance = (torch.tensor(v, dtype=torch.float64) for v in ([12.0, 25.0, 5.0], [2.8, 1.9, 2.2], [13.0, 3.0, 30.0]))
    Q2, y = Q2_y_from_electron(energy, theta, PYTHIA_BEAMS)
    electron_balance, pT2 = energy * (1 - theta.cos()), (energy * theta.sin()).square()
    y_sigma = balance / (balance + electron_balance)
    Q2_sigma = pT2 / (1 - y_sigma)
    x_sigma = Q2_sigma / (PYTHIA_BEAMS.s * y_sigma)
    hadron_y = y_from_hadrons(balance, PYTHIA_BEAMS)
    torch.testing.assert_close(Q2_y_sigma(Q2, y, hadron_y), (Q2_sigma, y_sigma))
    torch.testing.assert_close(Q2 / (PYTHIA_BEAMS.s * y_e_sigma(y, hadron_y)), x_sigma)


@pytest.mark.parametrize("method", METHODS)
def test_perfect_measurements_are_the_truth_whatever_the_method(method: Reconstruction) -> None:
    values = some()
    out = fold(stage(method, PERFECT, PERFECT, PERFECT), values)
    torch.testing.assert_close(out.select(("Q2", "y")).values, values, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(out.column(HADRON_COLUMN), values[..., 1])
    torch.testing.assert_close(out.column("x") * out.column("y") * PYTHIA_BEAMS.s, values[..., 0])


@pytest.mark.parametrize("y", [0.02, 0.1, 0.7])
def test_width_of_the_hadrons_is_the_one_asked_for(y: float) -> None:
    measured = fold(stage("mixed"), one(30.0, y)).column("y")
    balance = 36 * y
    assert float(measured.std()) / y == pytest.approx(math.sqrt(0.2**2 / balance + 0.08**2 + 0.05**2 / balance**2), rel=0.01)
    assert float(measured.mean()) == pytest.approx(y, rel=0.005)


def test_hadrons_never_balance_below_nothing() -> None:
    out = fold(stage("mixed", balance=Resolution(noise=5.0)), one(30.0, 0.05))
    assert float(out.column(HADRON_COLUMN).min()) == 0
    assert bool(out.values.isfinite().all())


def test_each_method_has_y_and_Q2_of_its_formula() -> None:
    values = some()
    electron = ElectronReconstruction(PYTHIA_BEAMS, energy_resolution=ENERGY, angle_resolution=ANGLE)
    noise = torch.rand(1, 500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    alone = electron(Events(values, ("Q2", "y")), noise[..., :2], {})
    y_e, Q2_e = alone.column("y"), alone.column("Q2")
    found = {method: stage(method)(Events(values, ("Q2", "y")), noise, {}) for method in METHODS}
    y_h = found["electron"].column(HADRON_COLUMN)
    larger = torch.maximum(y_e, y_h)
    width_e, width_h = 0.012 * (1 - y_e), (0.2**2 * 36 * larger + (0.08 * 36 * larger).square() + 0.05**2).sqrt() / 36
    expected = {
        "electron": (Q2_e, y_e),
        "mixed": (Q2_e, y_h),
        "sigma": Q2_y_sigma(Q2_e, y_e, y_h),
        "e-sigma": (Q2_e, y_e_sigma(y_e, y_h)),
        "average": (Q2_e, (y_e / width_e**2 + y_h / width_h**2) / (1 / width_e**2 + 1 / width_h**2)),
    }
    sensible = y_h > 0.01
    for method, (Q2, y) in expected.items():
        for name, column in (("Q2", Q2), ("y", y), ("electron_energy", alone.column("electron_energy"))):
            torch.testing.assert_close(found[method].column(name)[sensible], column[sensible], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("y", [0.03, 0.07, 0.4])
def test_average_is_narrower_than_either_measurement_as_independent_ones_allow(y: float) -> None:
    widths = {method: float(fold(stage(method), one(30.0, y)).column("y").std()) for method in ("electron", "mixed", "average")}
    best = (widths["electron"] ** -2 + widths["mixed"] ** -2) ** -0.5
    assert widths["average"] == pytest.approx(best, rel=0.12)


def test_hadrons_that_were_not_seen_do_not_pass_for_an_exact_measurement() -> None:
    out = fold(stage("average", balance=Resolution(stochastic=0.5)), one(30.0, 0.02))
    unseen = out.column(HADRON_COLUMN) == 0
    assert float(unseen.double().mean()) > 0.01
    assert float(out.column("y")[unseen].mean()) > 0.005


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("uniforms", [(0.5, 0.5, 0.5), (0.0, 0.999999, 0.0), (0.999999, 0.0, 0.999999)])
def test_values_and_gradients_are_finite_at_the_edges_of_phase_space(method: Reconstruction, uniforms: tuple[float, ...]) -> None:
    edges = torch.tensor([[10.0, 1.0], [1e-6, 1.0], [0.0, 1.0], [1e-12, 1e-12], [10.0, 1e-12], [19800.0, 1.0], [5.0, 1.2]])
    for balance in (BALANCE, PERFECT, Resolution(0.9, 0.9, 0.9)):
        values = edges[None].clone().requires_grad_()
        out = stage(method, balance=balance)(Events(values, ("Q2", "y")), torch.tensor(uniforms).expand(1, len(edges), 3), {})
        assert bool(out.values.isfinite().all())
        for name in out.columns:
            (gradient,) = torch.autograd.grad(out.column(name).sum(), values, retain_graph=True)
            assert bool(gradient.isfinite().all()), name


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_the_derivatives(method: Reconstruction) -> None:
    noise = torch.rand(1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    values = torch.tensor([[[12.0, 0.3], [40.0, 0.7], [300.0, 0.5], [60.0, 0.05]]], dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: stage(method)(Events(v, ("Q2", "y")), noise, {}).values, values)


@pytest.mark.parametrize("preset", ["ideal", "eic-like", "hera-like"])
@pytest.mark.parametrize("method", WITH_HADRONS)
def test_presets_record_the_hadrons_of_signal_and_fakes_and_wait_for_no_device(preset: str, method: Reconstruction) -> None:
    detector = electron_detector(preset, PYTHIA_BEAMS, reconstruction=method, background=0.1)
    assert detector.columns_out(("Q2", "y")) == (*ELECTRON_COLUMNS, HADRON_COLUMN)
    out = fold(detector, some(50))
    assert out.columns == (*ELECTRON_COLUMNS, HADRON_COLUMN)
    assert bool(out.values.isfinite().all())
    assert out.num_events > 50
    noise = torch.empty(1, 50, detector.noise_columns, device="meta")
    assert detector(Events(some(50).to("meta"), ("Q2", "y")), noise, {}).values.device.type == "meta"


def test_hadrons_of_fakes_are_what_the_fake_leaves_of_a_photon_with_the_spectrum_of_equivalent_photons() -> None:
    source = PhotoproductionSource(PYTHIA_BEAMS, hadrons=Hadrons(PERFECT, method="electron"), energy_resolution=PERFECT)
    assert source.dimensions == 4
    uniforms = torch.tensor([0.3, 0.4, 0.0, 0.5], dtype=torch.float64).repeat(1001, 1)
    uniforms[:, 2] = torch.linspace(0, 1, 1001, dtype=torch.float64)
    values = dict(zip(source.columns, source(uniforms).unbind(-1), strict=True))
    fake = 1 - values["y"]
    photon = fake + values[HADRON_COLUMN]
    assert float(photon[0]) == pytest.approx(float(fake[0]))
    assert float(photon[-1]) == pytest.approx(1)
    # The spectrum is flat in the logarithm.
    torch.testing.assert_close(photon.log().diff(), torch.full((1000,), float(-fake[0].log() / 1000), dtype=torch.float64))


@pytest.mark.parametrize(("preset", "y", "width"), [("eic-like", 0.1, 0.133), ("eic-like", 0.01, 0.370), ("hera-like", 0.1, 0.170)])
def test_hadrons_of_presets_are_as_wide_as_the_table_says(preset: str, y: float, width: float) -> None:
    beams = PYTHIA_BEAMS if preset == "eic-like" else Beams(27.5, 920.0)
    out = fold(electron_detector(preset, beams, reconstruction="mixed"), one(30.0, y))
    measured = out.column(HADRON_COLUMN)
    # Where nothing is cut off at zero: half the distance between the quantiles of one standard deviation.
    low, high = torch.quantile(measured[0, :50_000], torch.tensor([0.158655, 0.841345], dtype=torch.float64))
    assert float(high - low) / 2 / y == pytest.approx(width, rel=0.02)


def test_fakes_are_smeared_and_reconstructed_as_the_signal() -> None:
    source = PhotoproductionSource(PYTHIA_BEAMS, hadrons=Hadrons(BALANCE, method="average"), energy_resolution=ENERGY)
    uniforms = torch.rand(NUM_EVENTS, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    smeared = dict(zip(source.columns, source(uniforms).unbind(-1), strict=True))
    torch.testing.assert_close(smeared["x"] * smeared["y"] * PYTHIA_BEAMS.s, smeared["Q2"])
    uniforms[:, 3] = 0.5
    exact = dict(zip(source.columns, source(uniforms).unbind(-1), strict=True))[HADRON_COLUMN]
    balance = 36 * exact
    pulls = 36 * (smeared[HADRON_COLUMN] - exact) / (0.2**2 * balance + (0.08 * balance).square() + 0.05**2).sqrt()
    seen = balance > 2
    assert float(pulls[seen].std()) == pytest.approx(1, rel=0.02)
    y_e = Q2_y_from_electron(smeared["electron_energy"], smeared["electron_theta"], PYTHIA_BEAMS)[1]
    larger, y_h = torch.maximum(y_e, smeared[HADRON_COLUMN]), smeared[HADRON_COLUMN]
    width_e, width_h = 0.012 * (1 - y_e), (0.2**2 * 36 * larger + (0.08 * 36 * larger).square() + 0.05**2).sqrt() / 36
    expected = (y_e / width_e**2 + y_h / width_h**2) / (1 / width_e**2 + 1 / width_h**2)
    torch.testing.assert_close(smeared["y"], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", WITH_HADRONS)
def test_presets_give_their_fakes_what_the_signal_has(method: Reconstruction) -> None:
    detector = electron_detector("eic-like", PYTHIA_BEAMS, reconstruction=method, background=0.1)
    (source,) = [stage.source for stage in detector.stages if isinstance(stage, Background)]
    (signal,) = [stage for stage in detector.stages if isinstance(stage, ElectronReconstruction)]
    assert isinstance(source, PhotoproductionSource)
    assert (source.hadrons, source.energy_resolution) == (signal.hadrons, signal.energy_resolution)
    assert signal.hadrons == Hadrons(PRESETS["eic-like"].hadron_resolution, method=method)


def test_two_exact_measurements_agree_on_the_electron() -> None:
    """Neither width is there to weigh with, and fakes may disagree."""
    source = PhotoproductionSource(PYTHIA_BEAMS, hadrons=Hadrons(PERFECT, method="average"), energy_resolution=PERFECT)
    values = dict(zip(source.columns, source(torch.full((1, 4), 0.3, dtype=torch.float64)).unbind(-1), strict=True))
    y_e = Q2_y_from_electron(values["electron_energy"], values["electron_theta"], PYTHIA_BEAMS)[1]
    torch.testing.assert_close(values["y"], y_e)


def test_what_does_not_go_together_is_an_error_with_the_line_to_type() -> None:
    with pytest.raises(SettingsError, match=r"'reconstruction' must be one of .*got 'esigma'. Did you mean 'e-sigma'\?"):
        electron_detector("eic-like", PYTHIA_BEAMS, reconstruction="esigma")
    with pytest.raises(SettingsError, match=r"range of 'hadron_y'.*reconstruction='average'"):
        electron_detector("eic-like", PYTHIA_BEAMS, ranges={HADRON_COLUMN: (0.1, None)})
    with pytest.raises(SettingsError, match="need the resolution of electrons"):
        PhotoproductionSource(PYTHIA_BEAMS, hadrons=Hadrons(PERFECT))


def test_unknown_method_is_an_error_that_suggests_one() -> None:
    with pytest.raises(
        SettingsError, match=r"must be one of electron, mixed, sigma, e-sigma, average, got 'esigma'. Did you mean 'e-sigma'"
    ):
        Hadrons(PERFECT, method="esigma")
