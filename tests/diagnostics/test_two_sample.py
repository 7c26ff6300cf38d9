from __future__ import annotations

import itertools
import math

import pytest
import torch

from unscatter.arrays import Events
from unscatter.diagnostics import TwoSampleResult, area_under_curve, combined_p_value, two_sample_test
from unscatter.errors import EventsError, SettingsError, ShapeError


def normal(num_events: int, seed: int, mean: float = 0.0, weights: torch.Tensor | None = None) -> Events:
    values = torch.randn(num_events, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Events(values + torch.tensor([mean, 0.0], dtype=torch.float64), ("x", "y"), weights)


def cheap(measured: Events, synthetic: Events, seed: int) -> TwoSampleResult:
    return two_sample_test(measured, synthetic, seed=seed, num_steps=8, hidden=(8,), batch=64)


def test_p_values_are_uniform_when_both_samples_come_from_one_distribution() -> None:
    p_values = sorted(cheap(normal(300, 2 * s), normal(300, 2 * s + 1), s).p_value for s in range(40))
    distance = max(max(abs(p - i / 40), abs(p - (i + 1) / 40)) for i, p in enumerate(p_values))
    # Kolmogorov's 1 % point, 1.63 / sqrt(n).
    assert distance < 1.63 / math.sqrt(40)


def test_a_network_that_learns_its_training_events_by_heart_is_not_believed() -> None:
    p_values = [
        two_sample_test(normal(80, 2 * s), normal(80, 2 * s + 1), seed=s, num_steps=100, hidden=(64, 64), judged=0.5).p_value
        for s in range(4)
    ]
    assert combined_p_value(p_values) > 0.01


def test_p_values_stay_uniform_with_weights() -> None:
    weights = torch.rand(300, dtype=torch.float64, generator=torch.Generator().manual_seed(9)) * 2
    p_values = sorted(cheap(normal(300, 2 * s), normal(300, 2 * s + 1, weights=weights), s).p_value for s in range(40))
    distance = max(max(abs(p - i / 40), abs(p - (i + 1) / 40)) for i, p in enumerate(p_values))
    assert distance < 1.63 / math.sqrt(40)


def test_a_column_that_is_wrong_by_five_per_cent_is_detected_in_ten_thousand_events() -> None:
    # Unit mean and width one half: a tenth of a standard deviation, an area of 0.528 at best.
    measured, synthetic = (1 + 0.5 * normal(n, s).values for n, s in ((10_000, 1), (20_000, 2)))
    right, wrong = (
        two_sample_test(Events(f * measured, ("x", "y")), Events(synthetic, ("x", "y")), num_steps=100, batch=512) for f in (1.0, 1.05)
    )
    assert right.passes
    assert not wrong.passes
    assert wrong.accuracy > 0.5 + wrong.accuracy_error


def test_correlations_that_no_column_shows_are_detected() -> None:
    plain = normal(4000, 1)
    mixed = Events(torch.stack([plain.column("x"), 0.3 * plain.column("x") + 0.91**0.5 * plain.column("y")], -1), ("x", "y"))
    assert not two_sample_test(mixed, normal(4000, 2), num_steps=100, batch=512).passes


def test_weights_that_undo_a_difference_make_samples_equal() -> None:
    shifted = normal(4000, 3, mean=0.5)
    ratio = torch.exp(-0.5 * shifted.column("x") + 0.125)
    plain = normal(4000, 4)
    assert not two_sample_test(plain, shifted, num_steps=100, batch=512).passes
    assert two_sample_test(plain, Events(shifted.values, shifted.columns, ratio), num_steps=100, batch=512).passes


def test_heavy_tails_constant_columns_and_units_do_no_harm() -> None:
    def cauchy(seed: int, factor: float) -> Events:
        u = torch.rand(4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return Events(torch.cat([1e12 * factor * torch.tan(math.pi * (u - 0.5)), torch.ones_like(u)], -1), ("t", "constant"))

    assert two_sample_test(cauchy(1, 1.0), cauchy(2, 1.0), num_steps=100, batch=512).passes
    assert not two_sample_test(cauchy(1, 1.5), cauchy(2, 1.0), num_steps=100, batch=512).passes


def in_order(events: Events) -> Events:
    return Events(events.values[events.column("x").argsort()], events.columns)


@pytest.mark.parametrize("separate", [True, False])
def test_order_of_the_files_does_not_matter(separate: bool) -> None:
    """A part of the training events only chooses when to stop: of a sorted file it must not be the end."""
    unseen, seen, shifted_unseen, shifted_seen = (normal(2000, s, mean=m) for s, m in ((1, 0.0), (2, 0.0), (3, 0.3), (4, 0.3)))
    synthetic = in_order(normal(8000, 5))

    def verdict(measured: Events, training: Events) -> TwoSampleResult:
        both = Events(torch.cat([measured.values, training.values]), measured.columns)
        parts = (in_order(measured), in_order(training)) if separate else (in_order(both), None)
        return two_sample_test(parts[0], synthetic, training=parts[1], num_steps=100, batch=512)

    right, wrong = verdict(unseen, seen), verdict(shifted_unseen, shifted_seen)
    assert right.passes
    # Three tenths of a standard deviation apart the area is 0.584 at best, whatever the order.
    assert wrong.auc == pytest.approx(0.584, abs=0.03)
    assert not wrong.passes


def test_column_that_is_constant_on_one_side_only_is_a_difference() -> None:
    measured, synthetic = normal(1000, 1), normal(1000, 2)
    frozen = Events(torch.stack([measured.column("x"), torch.full((1000,), 0.3, dtype=torch.float64)], -1), ("x", "y"))
    assert not two_sample_test(frozen, synthetic, num_steps=100, batch=512).passes
    assert two_sample_test(frozen, Events(frozen.values.roll(500, 0), frozen.columns), num_steps=100, batch=512).passes


def test_area_under_the_curve_is_the_weighted_share_of_ordered_pairs() -> None:
    generator = torch.Generator().manual_seed(1)
    positive, negative = (torch.randint(0, 6, (n,), generator=generator).double() for n in (9, 7))
    w, v = torch.rand(9, dtype=torch.float64, generator=generator), torch.rand(7, dtype=torch.float64, generator=generator)
    pairs = [(float(w[i] * v[j]), float(positive[i]), float(negative[j])) for i, j in itertools.product(range(9), range(7))]
    expected = sum(weight * ((a > b) + 0.5 * (a == b)) for weight, a, b in pairs) / sum(weight for weight, _, _ in pairs)
    assert area_under_curve(positive, negative, w, v)[0] == pytest.approx(expected)


def test_error_of_the_area_is_its_spread_over_experiments_with_and_without_weights() -> None:
    generator = torch.Generator().manual_seed(2)
    for weighted in (False, True):
        areas, errors = [], []
        for _ in range(400):
            positive, negative = (
                torch.randn(120, dtype=torch.float64, generator=generator) + 0.5,
                torch.randn(80, dtype=torch.float64, generator=generator),
            )
            w = 2 * torch.rand(120, dtype=torch.float64, generator=generator) if weighted else torch.ones(120, dtype=torch.float64)
            area, error = area_under_curve(positive, negative, w, torch.ones(80, dtype=torch.float64))
            areas.append(area)
            errors.append(error)
        assert sum(errors) / 400 == pytest.approx(float(torch.tensor(areas).std()), rel=0.1)
        # P(a > b) for unit Gaussians half a standard deviation apart is Phi(0.5 / sqrt 2).
        assert sum(areas) / 400 == pytest.approx(0.5 * math.erfc(-0.25), abs=0.01)


def test_combined_p_value_follows_fishers_method() -> None:
    # Two tests: the product q of the p-values exceeds the truth with probability q (1 - ln q).
    assert combined_p_value([0.1, 0.2]) == pytest.approx(0.02 * (1 - math.log(0.02)))
    assert combined_p_value([1.0, 1.0, 1.0]) == pytest.approx(1.0)
    assert combined_p_value([0.0, 0.5]) < 1e-290
    with pytest.raises(SettingsError, match="no p-value"):
        combined_p_value([])


def test_the_same_seed_gives_the_same_verdict() -> None:
    first, second, other = (cheap(normal(200, 1), normal(200, 2), seed) for seed in (1, 1, 2))
    assert first == second
    assert first.auc != other.auc


def test_samples_that_are_apart_are_told_apart_without_doubt() -> None:
    result = two_sample_test(normal(400, 1, mean=50.0), normal(400, 2), num_steps=100, batch=512)
    assert result.auc > 0.99
    assert result.p_value < 1e-100
    assert not result.passes
    assert (result.num_measured, result.num_synthetic) == (200, 200)


def test_unusable_samples_are_errors() -> None:
    good = normal(100, 1)
    with pytest.raises(EventsError, match="at least 40 synthetic events, got 10"):
        two_sample_test(good, normal(10, 2))
    with pytest.raises(ShapeError, match="columns"):
        two_sample_test(good, Events(good.values, ("x", "z")))
    with pytest.raises(SettingsError, match="'judged' must lie between"):
        two_sample_test(good, good, judged=1.0)
    with pytest.raises(EventsError, match="not finite"):
        two_sample_test(good, Events(good.values * torch.nan, good.columns))
