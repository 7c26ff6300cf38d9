from __future__ import annotations

import pytest
import torch
from scipy import stats

from unscatter.arrays import Events
from unscatter.detectors import Detector, Smearing, UserSmearing, standard_normals
from unscatter.errors import ColumnError, ParameterError, SettingsError, ShapeError

MIDPOINTS = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000


def constant_events(value: float, num_events: int = 20_000) -> Events:
    return Events(torch.full((1, num_events, 1), value, dtype=torch.float64), ("x",))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_normals_are_finite_and_symmetric_over_the_whole_range_of_uniforms(dtype: torch.dtype) -> None:
    largest = 1 - torch.finfo(dtype).eps / 2
    normals = standard_normals(torch.tensor([0.0, 0.25, 0.5, 0.75, largest], dtype=dtype))
    assert bool(normals.isfinite().all())
    torch.testing.assert_close(normals, -normals.flip(0))


def test_standard_normals_follow_the_gaussian_quantiles() -> None:
    expected = torch.from_numpy(stats.norm.ppf(MIDPOINTS.numpy()))
    torch.testing.assert_close(standard_normals(MIDPOINTS), expected)


def test_widths_add_in_quadrature() -> None:
    smear = Smearing("x", absolute=0.3, relative=0.2, function=lambda event: 0.1 * event["x"].sqrt())
    smeared = smear(constant_events(4.0), MIDPOINTS[None, :, None], {})
    assert float(smeared.column("x").mean()) == pytest.approx(4.0, abs=1e-9)
    assert float(smeared.column("x").var()) == pytest.approx(0.3**2 + (0.2 * 4.0) ** 2 + 0.1**2 * 4.0, rel=2e-3)


def test_gradient_of_second_moment_includes_the_slope_of_the_width() -> None:
    # E[v'^2] = v^2 + r^2 v^2 + a^2, so dE/dv = 2 v (1 + r^2).
    value = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    events = Events(value.expand(1, 20_000, 1), ("x",))
    smeared = Smearing("x", absolute=0.5, relative=0.4)(events, MIDPOINTS[None, :, None], {})
    (gradient,) = torch.autograd.grad(smeared.column("x").square().mean(), value)
    assert float(gradient) == pytest.approx(2 * 3.0 * (1 + 0.4**2), rel=1e-3)


def test_gradient_is_finite_where_all_widths_vanish() -> None:
    values = torch.zeros(1, 3, 1, requires_grad=True)
    smear = Smearing("x", relative=0.1, function=lambda event: 0.2 * event["x"].abs())
    smear(Events(values, ("x",)), torch.full((1, 3, 1), 0.9), {}).values.sum().backward()
    assert values.grad is not None
    assert bool(values.grad.isfinite().all())


def test_smearing_leaves_weights_and_other_columns_alone() -> None:
    events = Events(torch.rand(2, 5, 2), ("x", "y"), torch.rand(2, 5))
    smeared = Smearing("y", absolute=0.1)(events, torch.rand(2, 5, 1), {})
    assert torch.equal(smeared.column("x"), events.column("x"))
    assert smeared.weights is events.weights
    assert not torch.equal(smeared.column("y"), events.column("y"))


def test_user_smearing_reaches_any_covariance() -> None:
    root = torch.tensor([[0.3, 0.0], [0.2, 0.1]])

    def correlated(event, normals):
        shift = normals @ root.T
        return {"E": event["E"] + shift[..., 0], "theta": event["theta"] + shift[..., 1]}

    events = Events(torch.ones(1, 40_000, 2), ("E", "theta"))
    uniforms = torch.rand(1, 40_000, 2, generator=torch.Generator().manual_seed(1))
    smeared = UserSmearing(correlated, noise_columns=2)(events, uniforms, {})
    torch.testing.assert_close(torch.cov(smeared.values[0].T), root @ root.T, rtol=0.02, atol=1e-4)


def test_user_smearing_adds_the_columns_that_it_announces() -> None:
    stage = UserSmearing(lambda event, normals: {"s": event["x"] + event["y"]}, noise_columns=0, adds=("s",))
    events = Events(torch.tensor([[[1.0, 2.0]]]), ("x", "y"))
    assert stage.columns_out(("x", "y")) == ("x", "y", "s")
    out = stage(events, torch.empty(1, 1, 0), {})
    assert out.columns == ("x", "y", "s")
    assert out.values.tolist() == [[[1.0, 2.0, 3.0]]]


def test_a_function_may_return_one_number_for_all_events_of_a_channel() -> None:
    stage = UserSmearing(lambda event, normals: {"x": torch.tensor([[1.0], [2.0]])}, noise_columns=0)
    out = stage(Events(torch.zeros(2, 3, 1), ("x",)), torch.empty(2, 3, 0), {})
    assert out.column("x").tolist() == [[1.0] * 3, [2.0] * 3]


@pytest.mark.parametrize("returned", ["z", "nothing"])
def test_user_smearing_with_other_columns_than_announced_is_an_error(returned: str) -> None:
    stage = UserSmearing(
        lambda event, normals: {"z": event["x"]} if returned == "z" else {}, noise_columns=0, adds=() if returned == "z" else ("q",)
    )
    with pytest.raises(ColumnError, match=r"unexpected are \['z'\]" if returned == "z" else r"missing are \['q'\]"):
        stage(constant_events(1.0, 2), torch.empty(1, 2, 0), {})


def test_unknown_column_names_stage_and_available_columns() -> None:
    events = constant_events(1.0, 2)
    with pytest.raises(ColumnError, match=r"Smearing\('y'\) needs the column 'y', .* have \['x'\]"):
        Smearing("y", absolute=0.1)(events, torch.rand(1, 2, 1), {})
    with pytest.raises(ColumnError, match=r"Smearing\('x'\) needs the column 'q'"):
        Smearing("x", function=lambda event: event["q"])(events, torch.rand(1, 2, 1), {})
    with pytest.raises(ColumnError, match=r"Smearing\('y'\)"):
        Detector((Smearing("y", absolute=0.1),)).columns_out(("x",))


def test_function_of_wrong_shape_is_an_error() -> None:
    with pytest.raises(ShapeError, match="one number per event"):
        Smearing("x", function=lambda event: event["x"][..., None])(constant_events(1.0, 2), torch.rand(1, 2, 1).double(), {})


def test_negative_constant_width_is_an_error() -> None:
    with pytest.raises(ParameterError, match=r"'absolute'.*must not be negative, got -0\.1"):
        Smearing("x", absolute=-0.1)
    with pytest.raises(ParameterError, match=r"'relative'.*must not be negative, got nan"):
        Smearing("x", relative=float("nan"))


def test_smearing_without_width_is_an_error() -> None:
    with pytest.raises(SettingsError, match="has no width"):
        Smearing("x")


def test_validate_finds_negative_widths_of_a_function() -> None:
    smear = Smearing("x", function=lambda event: event["x"] - 0.5)
    noise = torch.rand(1, 4, 1)
    smear.validate(constant_events(1.0, 4), noise, {})
    with pytest.raises(ParameterError, match=r"4 widths of 4 that are negative.*-0.25"):
        smear.validate(constant_events(0.25, 4), noise, {})
