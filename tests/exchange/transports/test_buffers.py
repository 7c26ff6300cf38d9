"""Compiled passes over buffers against PyTorch operations, which are the slow and obvious reference."""

from __future__ import annotations

import math

import pytest
import torch

from unscatter.exchange.transports import buffers
from unscatter.exchange.transports.buffers import PIECE, blend_, copy, copy_and_sum, payload_sum

SIZES = [1, 2, 15, 16, 17, 1000, PIECE + 5]
DTYPES = [torch.float32, torch.float64]


def random(size: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_sums_agree_with_exact_ones(size: int, dtype: torch.dtype) -> None:
    payload = random(size, 1, dtype)
    exact, magnitude = math.fsum(payload.tolist()), float(payload.abs().sum())
    assert payload_sum(payload) == pytest.approx(exact, abs=1e-13 * magnitude if buffers._kernels(dtype) else 1e-6 * magnitude)
    assert buffers.payload_sum_by_torch(payload) == pytest.approx(exact, abs=1e-6 * magnitude)


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_and_its_sum_are_those_of_the_source(size: int) -> None:
    source, one, other, plain = random(size, 2, torch.float32), *(torch.zeros(size) for _ in range(3))
    assert copy_and_sum(source, one) == payload_sum(source)
    buffers.copy_and_sum_by_torch(source, other)
    copy(source, plain)
    assert torch.equal(one, source)
    assert torch.equal(other, source)
    assert torch.equal(plain, source)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.499, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_blends_agree_with_torch(size: int, dtype: torch.dtype, share: float) -> None:
    own, other = random(size, 3, dtype), random(size, 4, dtype)
    reference, found = own.clone(), own.clone()
    reference_sum, found_sum = buffers.blend_by_torch_(reference, other, share), blend_(found, other, share)
    torch.testing.assert_close(found, reference, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)
    assert found_sum == payload_sum(found)
    assert found_sum == pytest.approx(reference_sum, abs=1e-5 * float(found.abs().sum()))


def test_a_large_opinion_that_hardly_counts_leaves_the_other_one_precise() -> None:
    own = torch.full((20,), 1e8)
    blend_(own, torch.ones(20), 1 - 2.0**-24)
    torch.testing.assert_close(own, torch.full((20,), 1 + 1e8 * 2.0**-24))


def test_equal_opinions_stay_equal_bit_for_bit() -> None:
    own = random(1000, 5, torch.float32)
    for share in (0.1, 0.5, 0.9):
        blended = own.clone()
        blend_(blended, own, share)
        assert torch.equal(blended, own)


def test_a_share_of_one_replaces_what_is_not_finite() -> None:
    own = torch.tensor([math.nan, math.inf])
    assert blend_(own, torch.tensor([1.0, 2.0]), 1.0) == 3.0
    assert own.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_shows_in_the_sum(bad: float) -> None:
    payload = torch.ones(1000)
    payload[997] = bad
    assert not math.isfinite(payload_sum(payload))


def test_buffers_that_do_not_lie_in_one_piece_are_left_to_torch() -> None:
    table = torch.arange(8.0).reshape(4, 2)
    target = torch.zeros(4)
    assert copy_and_sum(table[:, 1], target) == 16.0
    assert target.tolist() == [1.0, 3.0, 5.0, 7.0]
    copy(table[:, 0], target)
    assert target.tolist() == [0.0, 2.0, 4.0, 6.0]
    assert blend_(table[:, 0], torch.zeros(4), 0.5) == 6.0
    assert table[:, 1].tolist() == [1.0, 3.0, 5.0, 7.0]
