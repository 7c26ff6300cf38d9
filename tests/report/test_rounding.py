"""Rounding to the precision of an error."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unscatter.report.rounding import decimals_for, percentage, plain_number, rounded_pair, with_error


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        # The three examples of the Particle Data Group, Review of Particle Physics, Introduction, 5.3.
        (0.827, 0.119, ("0.83", "0.12")),
        (0.827, 0.367, ("0.8", "0.4")),
        (14.674, 0.964, ("14.7", "1.0")),
        (12345.6, 678.0, ("12300", "700")),
        (-0.00004, 0.02, ("0.000", "0.020")),
        (2.5e8, 3e6, ("2.500×10⁸", "0.030×10⁸")),
    ],
)
def test_rounding_follows_the_particle_data_group(value: float, error: float, expected: tuple[str, str]) -> None:
    assert rounded_pair(value, error) == expected


@given(st.floats(1e-12, 1e12), st.floats(-1e3, 1e3))
def test_rounding_moves_a_value_by_less_than_a_fifth_of_its_error(error: float, ratio: float) -> None:
    """One digit of an error of 355 is a unit of 100, so that a value moves by at most 50: 0.14 of the error."""
    value = ratio * error
    unit = 10.0 ** -decimals_for(error)
    assert abs(round(value / unit) * unit - value) <= 0.2 * error


@given(st.floats(1e-300, 1e300))
def test_error_keeps_one_or_two_digits(error: float) -> None:
    assert 1 <= math.log10(error * (1 + 1e-9)) + decimals_for(error) + 1 <= 2.56


def test_value_without_error_keeps_its_digits() -> None:
    assert with_error(0.25, None) == "0.25"
    assert with_error(0.25, 0.0) == "0.25"
    assert with_error(0.25, math.nan) == "0.25"


def test_numbers_that_are_not_finite_are_said_to_be() -> None:
    assert rounded_pair(math.inf, 0.1) == ("inf", "")
    assert plain_number(math.nan) == "nan"


def test_integers_are_not_rounded_away() -> None:
    assert plain_number(123456.0) == "123456"
    assert plain_number(-1234.0) == "-1234"
    assert plain_number(0.0) == "0"


def test_percentage_keeps_two_digits() -> None:
    assert [percentage(share) for share in (0.0, 0.01234, 1.0)] == ["0 %", "1.2 %", "100 %"]
