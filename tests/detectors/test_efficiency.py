from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from unscatter.arrays import Events
from unscatter.detectors import Acceptance, Efficiency
from unscatter.errors import ColumnError, GridError, ParameterError, SettingsError, ShapeError


def events_of(*values: float) -> Events:
    return Events(torch.tensor(values, dtype=torch.float64)[None, :, None], ("x",))


def no_noise(events: Events) -> torch.Tensor:
    return torch.empty(*events.values.shape[:-1], 0)


def test_efficiencies_multiply() -> None:
    events = events_of(0.5, 0.8)
    half, square = Efficiency(lambda event: 0.5 * event["x"]), Efficiency(lambda event: event["x"] ** 2)
    weights = square(half(events, no_noise(events), {}), no_noise(events), {}).weights
    torch.testing.assert_close(weights, 0.5 * events.column("x") ** 3)


def test_tabulated_efficiency_equals_numpy_interpolation_on_uneven_nodes() -> None:
    nodes, values = [0.1, 0.2, 0.5, 1.0], [0.0, 0.9, 0.3, 1.0]
    x = np.linspace(-0.2, 1.3, 301)
    events = events_of(*x)
    weights = Efficiency.tabulated("x", nodes, values)(events, no_noise(events), {}).weights
    assert weights is not None
    np.testing.assert_allclose(weights[0].numpy(), np.interp(x, nodes, values), atol=1e-12)


def test_slope_of_tabulated_efficiency_is_that_of_the_cell_and_zero_outside() -> None:
    values = torch.tensor([[[-1.0], [0.15], [0.4], [2.0]]], requires_grad=True)
    stage = Efficiency.tabulated("x", [0.1, 0.2, 0.6], [0.0, 0.5, 0.3])
    weights = stage(Events(values, ("x",)), torch.empty(1, 4, 0), {}).weights
    assert weights is not None
    (slope,) = torch.autograd.grad(weights.sum(), values)
    torch.testing.assert_close(slope.flatten(), torch.tensor([0.0, 5.0, -0.5, 0.0]))


def test_acceptance_is_a_product_of_gaussian_turn_ons() -> None:
    x = np.linspace(0, 1, 11)
    events = events_of(*x)
    weights = Acceptance("x", low=0.2, high=0.7, width=0.1)(events, no_noise(events), {}).weights
    assert weights is not None
    np.testing.assert_allclose(weights[0].numpy(), stats.norm.cdf((x - 0.2) / 0.1) * stats.norm.cdf((0.7 - x) / 0.1))


def test_acceptance_with_one_end_is_open_on_the_other() -> None:
    events = events_of(-9.0, 9.0)
    assert Acceptance("x", low=0.0, width=0.1)(events, no_noise(events), {}).weights.tolist() == [[0.0, 1.0]]  # type: ignore[union-attr]
    assert Acceptance("x", high=0.0, width=0.1)(events, no_noise(events), {}).weights.tolist() == [[1.0, 0.0]]  # type: ignore[union-attr]


def test_gradient_of_expected_count_through_acceptance_matches_closed_form() -> None:
    # x = p + s z: E[Phi((x - c)/w)] = Phi((p - c)/sqrt(s^2 + w^2)), whose slope is a Gaussian density.
    p = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    z = torch.special.ndtri((torch.arange(50_000, dtype=torch.float64) + 0.5) / 50_000)
    events = Events((p + 0.2 * z)[None, :, None], ("x",))
    weights = Acceptance("x", low=0.4, width=0.15)(events, no_noise(events), {}).weights
    assert weights is not None
    (gradient,) = torch.autograd.grad(weights.mean(), p)
    assert float(weights.detach().mean()) == pytest.approx(stats.norm.cdf(0.3, 0.4, 0.25), rel=1e-4)
    assert float(gradient) == pytest.approx(stats.norm.pdf(0.3, 0.4, 0.25), rel=1e-3)


@pytest.mark.parametrize("value", [1.2, -0.1, float("nan")])
def test_validate_finds_values_that_are_no_probabilities(value: float) -> None:
    stage, events = Efficiency(lambda event: event["x"]), events_of(0.5, value)
    with pytest.raises(ParameterError, match=r"1 values of 2 outside \[0, 1\]"):
        stage.validate(events, no_noise(events), {})
    stage.validate(events_of(0.0, 1.0), no_noise(events), {})


def test_bad_tables_are_errors() -> None:
    with pytest.raises(ParameterError, match=r"outside \[0, 1\].* 1.5"):
        Efficiency.tabulated("x", [0.0, 1.0], [0.2, 1.5])
    with pytest.raises(ShapeError, match="one entry per node"):
        Efficiency.tabulated("x", [0.0, 1.0], [0.2, 0.3, 0.4])
    with pytest.raises(GridError, match="increase strictly"):
        Efficiency.tabulated("x", [1.0, 0.0], [0.2, 0.3])


def test_bad_acceptances_are_errors() -> None:
    with pytest.raises(ParameterError, match=r"upside down: low = 2, high = 1"):
        Acceptance("x", low=2.0, high=1.0, width=0.1)
    with pytest.raises(ParameterError, match="must be positive, got 0"):
        Acceptance("x", low=0.0, width=0.0)
    with pytest.raises(SettingsError, match="neither"):
        Acceptance("x", width=0.1)


def test_unknown_columns_are_errors_before_any_event_is_made() -> None:
    for stage in (Acceptance("q", low=0.0, width=0.1), Efficiency.tabulated("q", [0.0, 1.0], [0.0, 1.0])):
        with pytest.raises(ColumnError, match=r"needs the column 'q'.*\['x'\]"):
            stage.columns_out(("x",))
        with pytest.raises(ColumnError, match=r"needs the column 'q'.*\['x'\]"):
            stage(events_of(0.5), torch.empty(1, 1, 0), {})
