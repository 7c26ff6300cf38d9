from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from unscatter.arrays import Events
from unscatter.diagnostics import chi_square, compare_columns
from unscatter.errors import EventsError, SettingsError, ShapeError


def uniform(num_events: int, seed: int, columns: tuple[str, ...] = ("x",)) -> Events:
    return Events(torch.rand(num_events, len(columns), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), columns)


@pytest.mark.parametrize("bins", ["uniform", "equal-count"])
def test_chi_square_of_equal_distributions_is_its_degrees_of_freedom(bins: str) -> None:
    found = [chi_square(compare_columns(uniform(3000, s), uniform(6000, 1000 + s), num_bins=20, bins=bins)) for s in range(60)]  # type: ignore[arg-type]
    assert all(ndf == 19 for _, ndf in found)
    mean = sum(value for value, _ in found) / len(found)
    # Standard deviation of the mean of 60: sqrt(2 * 19 / 60) = 0.8.
    assert mean == pytest.approx(19, abs=2.4)


def test_rates_keep_the_normalisation_as_a_degree_of_freedom() -> None:
    measured, synthetic = uniform(1000, 1), uniform(4000, 2)
    right, wrong = (compare_columns(measured, synthetic, num_bins=10, expected=n) for n in (1000, 1300))
    assert chi_square(right)[1] == 10
    assert sum(row.synthetic for row in wrong) == pytest.approx(1300)
    assert chi_square(wrong)[0] > chi_square(right)[0] + 30
    assert sum(row.synthetic for row in compare_columns(measured, synthetic)) == pytest.approx(1000)


def test_errors_are_poisson_and_those_of_synthetic_events_shrink_with_their_number() -> None:
    row = compare_columns(uniform(1000, 1), uniform(100_000, 2), num_bins=1)[0]
    assert row.measured_error == pytest.approx(1000**0.5)
    assert row.synthetic_error == pytest.approx(1000 / 100_000**0.5)


def test_weights_count_with_their_squares_in_the_error() -> None:
    values = torch.tensor([[0.1], [0.2], [0.9]], dtype=torch.float64)
    row = compare_columns(Events(values, ("x",), torch.tensor([1.0, 2.0, 0.0])), Events(values, ("x",)), num_bins=1)[0]
    assert row.measured == 3
    assert row.measured_error == pytest.approx(5**0.5)


def test_wide_positive_columns_are_binned_in_their_logarithm_and_all_events_find_a_bin() -> None:
    flat = uniform(2000, 1)
    wide = Events(10 ** (4 * flat.values), ("Q2",))
    rows = compare_columns(wide, wide, num_bins=8)
    ratios = [row.high / row.low for row in rows]
    assert ratios == pytest.approx([ratios[0]] * 8)
    assert sum(row.measured for row in rows) == 2000
    widths = [row.high - row.low for row in compare_columns(flat, flat, num_bins=8)]
    assert widths == pytest.approx([widths[0]] * 8)


@pytest.mark.parametrize(
    ("values_of", "is_logarithmic"),
    [
        pytest.param(lambda u: 10 * u**-0.7, True, id="a power law, as of Q2, whose central 98 % span less than 30"),
        pytest.param(lambda u: 10 ** (2.5 * u), True, id="equally many in every decade"),
        pytest.param(lambda u: -2.2 * torch.log(u), False, id="times of decay"),
        pytest.param(lambda u: torch.arccos(2 * u - 1), False, id="angles"),
        pytest.param(lambda u: torch.cat([90 + 20 * u, u.new_tensor([[0.01]])]), False, id="one event far off"),
        pytest.param(lambda u: 100 + u**-0.7, False, id="a tail on a large offset"),
        pytest.param(lambda u: 10 * u**-0.7 - 11, False, id="values of both signs"),
    ],
)
def test_columns_with_a_long_tail_have_logarithmic_bins_and_times_and_angles_linear_ones(
    values_of: Callable[[torch.Tensor], torch.Tensor], *, is_logarithmic: bool
) -> None:
    events = Events(values_of(uniform(20_000, 1).values), ("column",))
    rows = compare_columns(events, events)
    steps = [row.high / row.low if is_logarithmic else row.high - row.low for row in rows]
    assert steps == pytest.approx([steps[0]] * 40)
    assert max(row.measured for row in rows) < 0.5 * events.num_events or not is_logarithmic


def test_equal_count_bins_hold_equal_counts_and_repeated_values_make_fewer() -> None:
    rows = compare_columns(uniform(1000, 1), uniform(5000, 2), num_bins=10, bins="equal-count")
    assert [row.synthetic for row in rows] == pytest.approx([100.0] * 10)
    one = Events(torch.ones(10, 1), ("x",))
    assert [row.measured for row in compare_columns(one, one, bins="equal-count")] == [10]
    assert [row.measured for row in compare_columns(one, one)] == [10]


def test_columns_are_compared_by_name_and_rows_carry_channel_and_column() -> None:
    measured = uniform(500, 1, ("x", "y"))
    swapped = measured.select(("y", "x"))
    rows = compare_columns(measured, swapped, channel="proton", num_bins=5)
    assert [(row.channel, row.column, row.bin) for row in rows[4:6]] == [("proton", "x", 4), ("proton", "y", 0)]
    assert all(row.pull == 0 for row in rows)


def test_sparse_bins_stay_out_of_chi_square() -> None:
    few = Events(torch.cat([torch.rand(500, 1, generator=torch.Generator().manual_seed(1)), torch.tensor([[9.0]])]), ("x",))
    rows = compare_columns(few, few, num_bins=10)
    assert [row.counted for row in rows] == [True, True] + [False] * 8
    assert all(row.pull == 0 for row in rows)


def test_events_that_cannot_be_compared_are_errors() -> None:
    good = uniform(10, 1)
    with pytest.raises(ShapeError, match=r"\['x'\], synthetic ones \['y'\]"):
        compare_columns(good, uniform(10, 1, ("y",)))
    with pytest.raises(ShapeError, match="(?s)synthetic events must.*one channel at a time"):
        compare_columns(good, Events(torch.zeros(2, 10, 1), ("x",)))
    with pytest.raises(EventsError, match="no measured events"):
        compare_columns(Events(torch.empty(0, 1), ("x",)), good)
    with pytest.raises(EventsError, match="1 of 3 synthetic events are not finite.*row 1"):
        compare_columns(good, Events(torch.tensor([[1.0], [torch.nan], [1.0]]), ("x",)))
    with pytest.raises(EventsError, match="all zero"):
        compare_columns(good, Events(torch.ones(2, 1), ("x",), torch.zeros(2)))
    with pytest.raises(SettingsError, match="at least one"):
        compare_columns(good, good, num_bins=0)


@pytest.mark.parametrize("bins", ["uniform", "equal-count"])
def test_constant_column_is_one_bin_that_agrees(bins: str) -> None:
    constant = Events(torch.full((100, 1), 2.5), ("x",))
    (row,) = compare_columns(constant, Events(constant.values[:60], ("x",)), bins=bins)  # pyright: ignore[reportArgumentType]
    assert (row.low, row.high, row.measured, row.synthetic, row.pull) == (2.0, 3.0, 100.0, 100.0, 0.0)
