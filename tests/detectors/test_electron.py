from __future__ import annotations

import math

import pytest
import torch

from tests.physics.dis_events import PYTHIA_BEAMS, pythia_columns
from unscatter.arrays import Events
from unscatter.detectors import (
    ELECTRON_COLUMNS,
    BackgroundSource,
    CheckedStage,
    ColumnStage,
    Cuts,
    Detector,
    DetectorStage,
    DisKinematics,
    ElectronReconstruction,
    PhotoproductionSource,
    Resolution,
    electron_acceptance,
    electron_detector,
    electron_efficiency,
    photoproduction_background,
)
from unscatter.errors import ColumnError, ParameterError, SettingsError
from unscatter.physics.dis_kinematics import Beams, electron_from_Q2_y, variables_from_electron

HERA = Beams(27.5, 920.0)
PERFECT, FINE = Resolution(), Resolution(stochastic=0.02, constant=0.01)
MILLIRADIAN = Resolution(constant=1e-3)
PRESETS = ("ideal", "eic-like", "hera-like")


def truth(num_events: int = 2000, dtype: torch.dtype = torch.float64, beams: Beams = PYTHIA_BEAMS, seed: int = 1) -> Events:
    """Two channels with Q2 > 10 GeV2 and x < 1."""
    uniforms = torch.rand(2, 2, num_events, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    Q2 = 10 * 100 ** uniforms[0]
    lowest_y = Q2 / beams.s
    return Events(torch.stack([Q2, lowest_y ** uniforms[1]], -1).to(dtype), ("Q2", "y"))


def noise_for(stage: DetectorStage, events: Events, seed: int = 2) -> torch.Tensor:
    shape = (*events.values.shape[:-1], stage.noise_columns)
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(events.values.dtype)


def fold(stage: DetectorStage, events: Events, noise: torch.Tensor | None = None) -> Events:
    return stage(events, noise_for(stage, events) if noise is None else noise, {})


def reconstruction(energy: Resolution = FINE, angle: Resolution = MILLIRADIAN, beams: Beams = PYTHIA_BEAMS) -> ElectronReconstruction:
    return ElectronReconstruction(beams, energy_resolution=energy, angle_resolution=angle)


def one(Q2: float, y: float, num_events: int, dtype: torch.dtype = torch.float64) -> Events:
    """One true event many times."""
    return Events(torch.tensor([Q2, y], dtype=dtype).expand(1, num_events, 2), ("Q2", "y"))


def test_stages_fulfil_the_protocols() -> None:
    for stage in (DisKinematics(HERA), reconstruction()):
        assert isinstance(stage, DetectorStage)
        assert isinstance(stage, ColumnStage)
        assert isinstance(stage, CheckedStage)
    assert isinstance(PhotoproductionSource(HERA), BackgroundSource)


def test_ideal_detector_reproduces_generated_events_in_single_precision() -> None:
    x, Q2, y, energy, theta = pythia_columns(torch.float32)
    out = fold(electron_detector("ideal", PYTHIA_BEAMS), Events(torch.stack([Q2, y], -1)[None], ("Q2", "y")))
    assert out.columns == ELECTRON_COLUMNS
    assert torch.equal(out.column("Q2")[0], Q2)
    assert torch.equal(out.column("y")[0], y)
    torch.testing.assert_close(out.column("x")[0], x, rtol=4e-6, atol=0)
    torch.testing.assert_close(out.column("electron_energy")[0], energy, rtol=5e-6, atol=0)
    # The electron of y = 0.999 goes along with the proton, whose mass the generator has and the formula has not.
    torch.testing.assert_close(out.column("electron_theta")[0], theta, rtol=0, atol=1e-4)
    torch.testing.assert_close(out.column("electron_theta")[0][theta > 1], theta[theta > 1], rtol=0, atol=5e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_resolution_is_the_ideal_measurement_bit_for_bit(dtype: torch.dtype) -> None:
    events = truth(dtype=dtype)
    blurred, ideal = fold(reconstruction(PERFECT, PERFECT), events), fold(electron_detector("ideal", PYTHIA_BEAMS), events)
    assert blurred.columns == ideal.columns
    assert torch.equal(blurred.values, ideal.values)


def test_kinematics_add_only_what_they_are_asked_for() -> None:
    events = truth()
    out = fold(DisKinematics(PYTHIA_BEAMS), events)
    assert out.columns == DisKinematics(PYTHIA_BEAMS).columns_out(("Q2", "y")) == ("x", "Q2", "y", "W2")
    torch.testing.assert_close(out.column("x") * out.column("y") * PYTHIA_BEAMS.s, events.column("Q2"))
    with pytest.raises(SettingsError, match=r"names \['phi'\]"):
        DisKinematics(HERA, adds=("phi",))


def test_reconstructed_columns_are_what_the_electron_method_makes_of_measured_energy_and_angle() -> None:
    out = fold(reconstruction(Resolution(stochastic=0.1, noise=0.2), Resolution(constant=0.02)), truth())
    x, Q2, y = variables_from_electron(out.column("electron_energy"), out.column("electron_theta"), PYTHIA_BEAMS)
    torch.testing.assert_close(out.column("Q2"), Q2, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out.column("y"), y, rtol=0, atol=1e-12)
    sensible = (y > 0) & (x < 2)
    torch.testing.assert_close(out.column("x")[sensible], x[sensible], rtol=1e-7, atol=0)
    assert bool(((y < 0) & ~sensible).any())
    torch.testing.assert_close(out.column("x")[~sensible], torch.full_like(x, 2)[~sensible])
    torch.testing.assert_close(out.column("W2"), y * PYTHIA_BEAMS.s - Q2 + 0.93827208816**2, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize(("Q2", "y"), [(12.0, 0.02), (50.0, 0.5), (400.0, 0.9)])
def test_widths_of_energy_and_angle_are_those_asked_for(Q2: float, y: float) -> None:
    num_events = 100_000
    energy, theta = (float(value) for value in electron_from_Q2_y(torch.tensor(Q2), torch.tensor(y), PYTHIA_BEAMS))
    stage = reconstruction(Resolution(stochastic=0.1, constant=0.01, noise=0.05), Resolution(stochastic=2e-3, constant=1e-3, noise=3e-3))
    out = fold(stage, one(Q2, y, num_events))
    relative = math.sqrt(0.1**2 / energy + 0.01**2 + 0.05**2 / energy**2)
    absolute = math.sqrt(2e-3**2 / energy + 1e-3**2 + 3e-3**2 / energy**2)
    measured_energy, measured_theta = out.column("electron_energy")[0] / energy, out.column("electron_theta")[0]
    # Statistical errors: 1 / sqrt(2 n) = 0.22 % of a width, width / sqrt(n) of a mean; five of them.
    assert float(measured_energy.std()) == pytest.approx(relative, rel=0.012)
    assert float(measured_energy.mean()) == pytest.approx(1, abs=0.016 * relative)
    assert float(measured_theta.std()) == pytest.approx(absolute, rel=0.012)
    assert float(measured_theta.mean()) == pytest.approx(theta, abs=0.016 * absolute + 1e-6)
    correlation = torch.corrcoef(torch.stack([measured_energy, measured_theta]))[0, 1]
    assert abs(float(correlation)) < 0.016


def test_resolution_of_y_degrades_as_one_over_y() -> None:
    # Energy alone: y - y_true = -delta (1 - y_true).
    for y in (0.01, 0.1, 0.5):
        out = fold(reconstruction(Resolution(constant=0.01), PERFECT), one(20.0, y, 50_000))
        assert float(out.column("y").std() / y) == pytest.approx(0.01 * (1 - y) / y, rel=0.02)


@pytest.mark.parametrize(("Q2", "y"), [(10.0, 0.1), (600.0, 0.9999)])
def test_angles_beyond_the_beam_line_are_reflected(Q2: float, y: float) -> None:
    events = one(Q2, y, 10_000)
    theta = fold(reconstruction(PERFECT, Resolution(constant=0.3)), events).column("electron_theta")
    assert 0 <= float(theta.min()) <= float(theta.max()) <= math.pi
    true_theta = electron_from_Q2_y(events.column("Q2"), events.column("y"), PYTHIA_BEAMS).theta
    unfolded = true_theta + 0.3 * torch.special.ndtri(noise_for(reconstruction(), events)[..., 1])
    assert float(((unfolded > math.pi) | (unfolded < 0)).double().mean()) > 0.1
    torch.testing.assert_close(torch.cos(theta), torch.cos(unfolded), rtol=0, atol=1e-6)


def test_no_electron_has_negative_energy_or_Q2() -> None:
    # In single precision Q2 of electrons that go straight on is a difference of equal numbers.
    out = fold(reconstruction(Resolution(constant=0.5), Resolution(constant=0.3)), one(10.0, 0.1, 100_000, torch.float32))
    assert float(out.column("electron_energy").min()) == 0
    assert float(out.column("Q2").min()) == 0
    assert float(out.column("x").min()) >= 0


def test_single_precision_agrees_with_double() -> None:
    exact, stage = truth(), reconstruction()
    noise = noise_for(stage, exact).float()
    single, double = fold(stage, exact.to(dtype=torch.float32), noise), fold(stage, exact, noise.double())
    assert single.values.dtype == torch.float32
    scales = {"Q2": 3e-6, "y": 3e-7, "electron_energy": 3e-6, "electron_theta": 3e-6, "W2": 3e-7 * PYTHIA_BEAMS.s}
    for name, scale in scales.items():
        unit = double.column(name).abs() if name in ("Q2", "electron_energy") else 1.0
        assert float(((single.column(name).double() - double.column(name)).abs() / unit).max()) < scale, name
    sensible = (double.column("x") < 1) & (double.column("y") > 1e-2)
    torch.testing.assert_close(single.column("x").double()[sensible], double.column("x")[sensible], rtol=3e-5, atol=0)


def test_small_y_keeps_its_digits_in_single_precision() -> None:
    # The electron method itself, in single precision, would lose them: 6e-8 of 1e-3.
    stage, noise = reconstruction(Resolution(constant=1e-6), Resolution(constant=1e-7)), torch.tensor([[[0.7, 0.2]]])
    single, double = fold(stage, one(10.0, 1e-3, 1, torch.float32), noise), fold(stage, one(10.0, 1e-3, 1), noise.double())
    assert float(single.column("y")) == pytest.approx(float(double.column("y")), rel=3e-7)


EDGES = torch.tensor(
    [[10.0, 1.0], [1e-6, 1.0], [0.0, 1.0], [0.0, 0.5], [1e-12, 1e-12], [10.0, 1e-12], [19800.0, 1.0], [5.0, 1.2], [1e-3, 1 - 1e-7]]
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("uniforms", [(0.5, 0.5), (0.0, 0.0), (0.0, 0.999999), (0.999999, 0.0), (0.3, 0.8)])
@pytest.mark.parametrize(
    "stage", [reconstruction(), reconstruction(PERFECT, PERFECT), reconstruction(Resolution(0.5, 0.5, 0.5), Resolution(2.0))]
)
def test_values_and_gradients_are_finite_at_the_edges_of_phase_space(
    stage: ElectronReconstruction, uniforms: tuple[float, float], dtype: torch.dtype
) -> None:
    values = EDGES.to(dtype)[None].requires_grad_()
    noise = torch.tensor(uniforms, dtype=dtype).expand(1, len(EDGES), 2)
    out = stage(Events(values, ("Q2", "y")), noise, {})
    assert bool(torch.isfinite(out.values).all())
    for name in ELECTRON_COLUMNS:
        (gradient,) = torch.autograd.grad(out.column(name).sum(), values, retain_graph=True)
        assert bool(torch.isfinite(gradient).all()), name


def test_gradients_are_the_derivatives() -> None:
    stage, noise = reconstruction(Resolution(0.1, 0.02, 0.05), Resolution(0.0, 2e-3, 3e-3)), torch.rand(1, 6, 2, dtype=torch.float64)
    pairs = torch.tensor([[12.0, 0.3], [40.0, 0.7], [300.0, 0.5], [900.0, 0.9], [15.0, 0.1], [60.0, 0.05]], dtype=torch.float64)

    def columns(values: torch.Tensor) -> torch.Tensor:
        return stage(Events(values, ("Q2", "y")), noise, {}).values

    assert torch.autograd.gradcheck(columns, pairs[None].requires_grad_())


def fitted_background(preset: str) -> Detector:
    return electron_detector(preset, PYTHIA_BEAMS, background="f")


@pytest.mark.parametrize("preset", PRESETS)
def test_vmap_equals_the_loop(preset: str) -> None:
    detector, fractions = fitted_background(preset), torch.tensor([0.1, 0.2], dtype=torch.float64)
    sets = torch.stack([truth(50, seed=seed).values for seed in (3, 4)])
    noise = torch.rand(2, 2, 50, detector.noise_columns, dtype=torch.float64)

    def folded(values: torch.Tensor, noise: torch.Tensor, fraction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = detector(Events(values, ("Q2", "y")), noise, {"f": fraction})
        return out.values, out.weights_or_ones()

    mapped = torch.func.vmap(folded)(sets, noise, fractions)
    for i in range(2):
        torch.testing.assert_close((mapped[0][i], mapped[1][i]), folded(sets[i], noise[i], fractions[i]))


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_reads_values_so_none_waits_for_the_device(preset: str) -> None:
    detector, events = fitted_background(preset), truth(20)
    out = detector(events.to("meta"), noise_for(detector, events).to("meta"), {"f": torch.tensor(0.1, device="meta")})
    assert out.values.device.type == "meta"


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_measure_all_columns_and_keep_gradients_finite(preset: str) -> None:
    detector = electron_detector(preset, PYTHIA_BEAMS, background=0.05)
    assert detector.columns_out(("Q2", "y")) == ELECTRON_COLUMNS
    values = truth(dtype=torch.float32).values.requires_grad_()
    events = Events(values, ("Q2", "y"))
    detector.validate(events, noise_for(detector, events), {})
    out = fold(detector, events)
    assert out.columns == ELECTRON_COLUMNS
    (gradient,) = torch.autograd.grad((out.weights_or_ones() * torch.log1p(out.values.abs()).sum(-1)).sum(), values)
    assert bool(torch.isfinite(gradient).all())
    assert bool(gradient.any())


def test_further_columns_come_along_behind_those_of_the_electron() -> None:
    events = truth(5).with_columns({"id": torch.arange(10.0, dtype=torch.float64).reshape(2, 5)})
    for stage in (reconstruction(), DisKinematics(PYTHIA_BEAMS)):
        out = fold(stage, events)
        assert out.columns == stage.columns_out(events.columns)
        assert out.columns[-1] == "id"
        assert torch.equal(out.column("id"), events.column("id"))


def test_weights_of_true_events_are_kept() -> None:
    weights = torch.rand(2, 2000, dtype=torch.float64)
    out = fold(reconstruction(), Events(truth().values, ("Q2", "y"), weights))
    assert out.weights is not None
    assert torch.equal(out.weights, weights)


def test_missing_columns_are_named() -> None:
    with pytest.raises(ColumnError, match=r"ElectronReconstruction needs the column 'y'.*\['Q2', 'x'\]"):
        reconstruction().columns_out(("Q2", "x"))
    with pytest.raises(ColumnError, match="DisKinematics needs the column 'Q2'"):
        fold(DisKinematics(HERA), Events(torch.rand(1, 3, 1), ("y",)))


def test_true_events_outside_phase_space_are_found_by_validation() -> None:
    events = Events(torch.tensor([[[10.0, 0.5], [10.0, 1.5], [-1.0, 0.5]]]), ("Q2", "y"))
    for stage in (reconstruction(), DisKinematics(HERA)):
        with pytest.raises(ParameterError, match=r"2 of 3 true events.*the first has Q2 = 10, y = 1.5"):
            stage.validate(events, noise_for(stage, events), {})


def test_negative_resolutions_are_errors() -> None:
    with pytest.raises(ParameterError, match="'constant' of a Resolution must not be negative, got -0.1"):
        Resolution(constant=-0.1)


def test_cuts_keep_exactly_what_lies_inside_the_ranges() -> None:
    ranges = {
        "electron_energy": (5.0, None),
        "electron_theta": (0.2, 2.9),
        "y": (0.05, 0.9),
        "W2": (20.0, None),
        "Q2": (12.0, 500.0),
        "x": (None, 1.0),
    }
    events = fold(reconstruction(Resolution(0.1), Resolution(0.01)), truth())
    weights = fold(Detector(electron_acceptance(ranges)), events).weights
    assert weights is not None
    inside = torch.ones_like(weights, dtype=torch.bool)
    for name, (low, high) in ranges.items():
        value = events.column(name)
        inside &= (value >= (-torch.inf if low is None else low)) & (value <= (torch.inf if high is None else high))
    assert torch.equal(weights, inside.double())
    assert 0.1 < float(weights.mean()) < 0.9


def test_x_cut_removes_all_events_with_negative_y() -> None:
    events = fold(reconstruction(Resolution(0.3)), truth())
    assert bool((events.column("y") < 0).any())
    weights = fold(Detector(electron_acceptance({"x": (None, 1.0)})), events).weights_or_ones()
    assert bool((events.column("y")[weights > 0] > 0).all())


def test_width_of_a_cut_follows_its_edge_or_the_distance_from_the_end_of_phase_space() -> None:
    ranges = {"y": (0.01, 0.95), "electron_theta": (None, 3.0), "Q2": (12.0, 500.0), "electron_energy": (0.0, None)}
    lows, highs = (stage for stage in electron_acceptance(ranges, edge_width=0.5))
    assert isinstance(lows, Cuts)
    assert isinstance(highs, Cuts)
    assert dict(lows.width) == pytest.approx({"y": 0.005, "Q2": 6.0})
    assert dict(highs.width) == pytest.approx({"y": 0.025, "electron_theta": (math.pi - 3.0) / 2, "Q2": 250.0})


def test_gradient_of_the_count_above_a_cut_is_the_flux_through_it() -> None:
    # Q2 falls as (Q2/10)^-p: the fraction above c is (c/10)^-p, whose derivative in p is -ln(c/10) (c/10)^-p.
    p = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    uniforms = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    Q2 = 10 * (1 - uniforms) ** (-1 / p)
    events = Events(torch.stack([Q2, torch.full_like(Q2, 0.5)], -1)[None], ("Q2", "y"))
    weights = fold(Detector(electron_acceptance({"Q2": (15.0, None)})), events).weights_or_ones()
    (gradient,) = torch.autograd.grad(weights.mean(), p)
    assert float(weights.detach().mean()) == pytest.approx(1 / 1.5, abs=1e-4)
    assert float(gradient) == pytest.approx(-math.log(1.5) / 1.5, rel=0.03)


def test_smooth_turn_on_replaces_the_cut_of_its_column() -> None:
    stages = electron_acceptance({"electron_energy": (10.0, None)}, turn_on={"electron_energy": 2.0})
    energy = torch.tensor([[[10.0], [12.0], [30.0]]], dtype=torch.float64)
    weights = fold(Detector(stages), Events(energy, ("electron_energy",))).weights_or_ones()
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.841344746, 1.0]], dtype=torch.float64))


def test_bad_ranges_are_errors() -> None:
    with pytest.raises(ParameterError, match="the range of 'y' is upside down"):
        electron_acceptance({"y": (0.9, 0.1)})
    with pytest.raises(SettingsError, match="'y' has neither"):
        electron_acceptance({"y": (None, None)})
    with pytest.raises(SettingsError, match=r"'turn_on' names \['Q2'\]"):
        electron_acceptance({"y": (0.1, 0.9)}, turn_on={"Q2": 1.0})
    with pytest.raises(ParameterError, match="must be positive"):
        electron_acceptance({"y": (0.1, 0.9)}, edge_width=0.0)


def test_efficiency_is_half_of_the_plateau_at_threshold_and_sets_the_rate() -> None:
    stage = electron_efficiency(plateau=0.8, threshold_GeV=5.0, width_GeV=0.5)
    energy = torch.linspace(0, 10, 100_001, dtype=torch.float64)[None, :, None]
    weights = fold(stage, Events(energy, ("electron_energy",))).weights_or_ones()
    assert float(weights[0, 50_000]) == pytest.approx(0.4)
    assert float(weights[0, 55_000]) == pytest.approx(0.8 * 0.841344746)
    assert float(weights.mean()) == pytest.approx(0.4, rel=1e-4)
    assert float(weights[0, -1]) == pytest.approx(0.8, abs=1e-6)
    for bad in ({"plateau": 1.2}, {"plateau": 0.0}, {"width_GeV": 0.0}):
        with pytest.raises(ParameterError):
            electron_efficiency(**{"plateau": 0.9, "threshold_GeV": 5.0, "width_GeV": 1.0, **bad})


def test_fake_electrons_follow_the_stated_density() -> None:
    source = PhotoproductionSource(PYTHIA_BEAMS, slope_GeV=1.5, energy_range_GeV=(1.0, 6.0), pseudorapidity_range=(-3.0, -1.0))
    grid = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    values = dict(zip(source.columns, source(torch.cartesian_prod(grid, grid)).unbind(-1), strict=True))
    energy, eta = values["electron_energy"], -torch.log(torch.tan(values["electron_theta"] / 2))
    norm = math.exp(-1 / 1.5) - math.exp(-6 / 1.5)
    for edge in (1.0, 2.0, 3.5, 6.0):
        expected = (math.exp(-1 / 1.5) - math.exp(-edge / 1.5)) / norm
        assert float((energy <= edge).double().mean()) == pytest.approx(expected, abs=2e-3)
    assert float(energy.min()) >= 1
    assert float(eta.mean()) == pytest.approx(-2, abs=1e-6)
    assert float(eta.std()) == pytest.approx(2 / math.sqrt(12), rel=1e-3)
    x, Q2, y = variables_from_electron(energy, values["electron_theta"], PYTHIA_BEAMS)
    torch.testing.assert_close((values["x"], values["Q2"], values["y"]), (x, Q2, y))
    assert float(y.mean()) > 0.8


@pytest.mark.parametrize("fraction", [0.1, 0.4])
def test_background_holds_the_fraction_of_the_weights(fraction: float) -> None:
    events = fold(reconstruction(), truth())
    stage = photoproduction_background(fraction, PhotoproductionSource(PYTHIA_BEAMS))
    out = fold(stage, events)
    weights = out.weights_or_ones()
    torch.testing.assert_close(weights[:, 2000:].sum(-1) / weights.sum(-1), torch.full((2,), fraction, dtype=torch.float64))
    assert torch.equal(out.values[:, :2000], events.values)


def test_background_of_a_preset_is_a_fraction_before_the_cuts_of_electrons_that_are_found() -> None:
    everything: dict[str, tuple[None, None]] = dict.fromkeys(ELECTRON_COLUMNS, (None, None))
    detector = electron_detector("hera-like", HERA, background=0.3, ranges=everything)
    weights = fold(detector, truth(beams=HERA)).weights_or_ones()
    assert float(weights[:, :2000].min()) < 0.9
    torch.testing.assert_close(weights[:, 2000:].sum(-1) / weights.sum(-1), torch.full((2,), 0.3, dtype=torch.float64))


def test_fitted_background_fraction_has_a_gradient() -> None:
    detector, events = fitted_background("eic-like"), truth(100)
    fraction = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    weights = detector(events, noise_for(detector, events), {"f": fraction}).weights_or_ones()
    (gradient,) = torch.autograd.grad(weights.sum(), fraction)
    assert float(gradient) > 0
    assert detector.nuisances == ("f",)


def test_bad_sources_of_fakes_are_errors() -> None:
    with pytest.raises(ParameterError, match="'energy_range_GeV' is upside down"):
        PhotoproductionSource(HERA, energy_range_GeV=(5.0, 1.0))
    with pytest.raises(ParameterError, match="'pseudorapidity_range' is upside down"):
        PhotoproductionSource(HERA, pseudorapidity_range=(1.0, -1.0))
    with pytest.raises(ParameterError, match="must be positive, got 'slope_GeV' = 0"):
        PhotoproductionSource(HERA, slope_GeV=0.0)


def test_ranges_of_a_preset_can_be_replaced_removed_and_added() -> None:
    detector = electron_detector("hera-like", HERA, ranges={"electron_energy": (None, None), "Q2": (100.0, None), "y": (0.2, 0.3)})
    out = fold(detector, truth(beams=HERA))
    kept = out.weights_or_ones() > 0
    assert float(out.column("Q2")[kept].min()) >= 100
    assert float(out.column("y")[kept].min()) >= 0.2
    assert float(out.column("y")[kept].max()) <= 0.3
    cut = {name for stage in detector.stages if isinstance(stage, Cuts) for name in stage.ranges}
    assert cut == {"Q2", "y", "electron_theta", "W2", "x"}


def test_unknown_preset_is_an_error_that_suggests_one() -> None:
    with pytest.raises(SettingsError, match="must be one of ideal, eic-like, hera-like, got 'eic'"):
        electron_detector("eic", HERA)
