"""Weights on their way between a device and main memory."""

from __future__ import annotations

import time

import pytest
import torch

from unscatter.exchange.staging import Snapshot, Staging, staging_for

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))]


def made(device: str, weights: torch.Tensor) -> Staging:
    weights = weights.to(device)
    staging = staging_for(weights)
    staging.adopt(weights)
    return staging


def arrived(snapshot: Snapshot) -> tuple[torch.Tensor, float]:
    end = time.monotonic() + 10
    while not snapshot.ready():
        assert time.monotonic() < end
    return snapshot.take()


@pytest.mark.parametrize("device", DEVICES)
def test_messages_are_averaged_into_the_weights_where_they_are(device: str) -> None:
    own, other = torch.randn(2, 50), torch.randn(100)
    staging = made(device, own.clone())
    staging.blend(other, 0.3)
    assert staging.current().device.type == device
    torch.testing.assert_close(staging.current().cpu(), torch.lerp(own, other.reshape(2, 50), 0.3))
    staging.blend(other, 1.0)
    assert torch.equal(staging.current().cpu(), other.reshape(2, 50))


@pytest.mark.parametrize("device", DEVICES)
def test_a_snapshot_holds_the_weights_and_their_sum(device: str) -> None:
    weights = torch.randn(2, 50)
    flat, total = arrived(made(device, weights).snapshot())
    assert torch.equal(flat, weights.reshape(-1))
    assert total == pytest.approx(float(weights.double().sum()), abs=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_snapshot_of_a_device_is_not_touched_by_later_steps() -> None:
    staging = made("cuda", torch.zeros(1, 1_000_000))
    snapshots = []
    for step in range(5):
        snapshots.append(staging.snapshot())
        staging.adopt(staging.current().add_(1.0))
        staging.blend(torch.full((1_000_000,), step + 1.0), 0.5)
    for step, snapshot in enumerate(snapshots):
        flat, total = arrived(snapshot)
        assert torch.equal(flat, torch.full((1_000_000,), float(step)))
        assert total == step * 1e6


def test_weights_that_do_not_lie_in_one_piece_come_back_in_their_shape() -> None:
    weights = torch.arange(6.0).reshape(3, 2).T
    staging = made("cpu", weights)
    staging.blend(torch.zeros(6), 0.5)
    assert torch.equal(staging.current(), weights / 2)


def test_weights_in_one_piece_are_changed_in_place() -> None:
    weights = torch.ones(2, 3)
    staging = made("cpu", weights)
    staging.blend(torch.zeros(6), 0.5)
    assert staging.current().data_ptr() == weights.data_ptr()
    assert torch.equal(weights, torch.full((2, 3), 0.5))
