from __future__ import annotations

import math

import pytest
import torch

from unscatter.exchange.buffers import checksum, merged, sums_agree


@pytest.mark.parametrize("size", [1, 7, 131_072, 300_001])
def test_merged_is_the_linear_interpolation_with_the_sums_of_both(size: int) -> None:
    own, other, out = torch.randn(size), torch.randn(size), torch.empty(size)
    sums = merged(own, other, 0.3, out)
    torch.testing.assert_close(out.double(), 0.7 * own.double() + 0.3 * other.double(), rtol=1e-6, atol=1e-6)
    assert sums == pytest.approx((float(other.double().sum()), float(out.double().sum())), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_not_finite_shows_in_the_checksum(bad: float) -> None:
    buffer = torch.ones(200_000)
    assert checksum(buffer) == 200_000
    buffer[199_999] = bad
    assert not math.isfinite(checksum(buffer))
    assert not sums_agree(checksum(buffer), checksum(buffer))


def test_checksums_tell_a_changed_number_from_another_order_of_summation() -> None:
    buffer = torch.randn(100_000)
    shuffled = buffer[torch.randperm(100_000)]
    assert sums_agree(checksum(buffer), checksum(shuffled))
    shuffled[5] += 0.01
    assert not sums_agree(checksum(buffer), checksum(shuffled))
