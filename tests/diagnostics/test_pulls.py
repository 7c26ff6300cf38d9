from __future__ import annotations

import math

import pytest
import torch

from unscatter.diagnostics import pulls, rms_pull, settled
from unscatter.errors import SettingsError, ShapeError


def test_rms_of_normal_pulls_is_one_and_its_error_is_the_spread_over_experiments() -> None:
    generator = torch.Generator().manual_seed(5)
    experiments = [rms_pull(torch.randn(40, 5, dtype=torch.float64, generator=generator)) for _ in range(300)]
    values = torch.tensor([e.value for e in experiments])
    assert float(values.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(torch.tensor([e.error for e in experiments]).mean()) == pytest.approx(float(values.std()), rel=0.15)


def test_error_of_rms_allows_for_parameters_that_are_fully_correlated() -> None:
    generator = torch.Generator().manual_seed(5)
    same = torch.randn(4000, 1, dtype=torch.float64, generator=generator)
    assert rms_pull(same.expand(-1, 5)).error == pytest.approx(rms_pull(same).error)
    assert rms_pull(same).error == pytest.approx(1 / math.sqrt(8000), rel=0.1)
    assert rms_pull(same).per_parameter_error[0] == pytest.approx(rms_pull(same).value / math.sqrt(8000))


def test_fixed_and_undetermined_parameters_have_no_pull() -> None:
    found = pulls(torch.tensor([[1.0, 1.0, 1.0]]), torch.zeros(3), torch.tensor([0.5, 0.0, torch.inf]))
    assert found[0, 0] == 2
    assert bool(found[0, 1:].isnan().all())
    summary = rms_pull(found)
    assert summary.value == 2
    assert summary.error == pytest.approx(2 / math.sqrt(2))
    assert math.isnan(summary.per_parameter[1])


def test_pulls_without_any_number_are_an_error() -> None:
    with pytest.raises(ShapeError, match="no finite pull"):
        rms_pull(torch.full((3, 2), torch.nan))
    with pytest.raises(ShapeError, match="no finite pull"):
        rms_pull(torch.empty(0, 2))


def history(moves: list[list[float]]) -> torch.Tensor:
    """Two halves of replicas that moved by ``moves`` ``[replica][parameter]``."""
    after = torch.tensor(moves, dtype=torch.float64)
    return torch.stack([torch.zeros_like(after), after])


def test_a_fit_has_settled_when_no_parameter_moved_more_than_its_share() -> None:
    sigma = torch.tensor([1.0, 0.1], dtype=torch.float64)
    result = settled(history([[0.4, 0.04]]), sigma, names=("a", "b"))
    assert result.passes
    assert result.value == pytest.approx(0.4)
    result = settled(history([[0.4, 0.06]]), sigma, names=("a", "b"))
    assert not result.passes
    assert (result.worst, result.name) == (1, "b")
    assert result.value == pytest.approx(0.6)
    assert settled(history([[0.4, 0.06]]), sigma, share=0.7).passes


def test_opposite_wanderings_of_replicas_do_not_cancel() -> None:
    assert not settled(history([[1.0], [-1.0]]), torch.tensor([1.0])).passes


def test_spread_of_the_replicas_is_the_error_when_none_is_given() -> None:
    after = torch.tensor([[1.0], [-1.0], [0.0]], dtype=torch.float64)
    moved = torch.stack([after - 0.4, after])
    assert settled(moved).value == pytest.approx(0.4)
    with pytest.raises(ShapeError, match="single replica has no spread"):
        settled(moved[:, :1])


def test_undetermined_and_fixed_parameters_cannot_keep_a_fit_from_settling() -> None:
    assert settled(history([[100.0, 100.0, 0.1]]), torch.tensor([torch.inf, 0.0, 1.0])).passes
    nothing = settled(history([[100.0]]), torch.tensor([torch.inf]))
    assert nothing.passes
    assert nothing.worst is None


def test_longer_histories_are_halved_and_infinite_ones_never_settle() -> None:
    records = torch.tensor([0.0, 0.2, 1.0, 1.2], dtype=torch.float64).reshape(4, 1, 1)
    assert settled(records, torch.tensor([1.0])).value == pytest.approx(1.0)
    assert not settled(history([[math.nan, 0.0]]), torch.tensor([1.0, 1.0])).passes


def test_too_short_histories_and_shares_of_zero_are_errors() -> None:
    with pytest.raises(ShapeError, match="two records"):
        settled(torch.zeros(1, 1, 2), torch.ones(2))
    with pytest.raises(SettingsError, match="'share' must be positive"):
        settled(torch.zeros(2, 1, 2), torch.ones(2), share=0.0)
