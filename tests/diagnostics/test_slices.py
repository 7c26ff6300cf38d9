"""Data over theory in two observables."""

from __future__ import annotations

from itertools import groupby

import pytest
import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.diagnostics import SlicedBin, compare_slices
from unscatter.errors import ShapeError


def flat(num_events: int, seed: int) -> Events:
    return Events(torch.rand(num_events, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), ("x", "Q2"))


def slices_of(rows: list[SlicedBin]) -> list[list[SlicedBin]]:
    return [list(group) for _, group in groupby(rows, key=lambda row: row.slice_low)]


def test_every_event_is_in_one_bin_and_bins_hold_about_equally_many() -> None:
    measured = flat(20_000, 1)
    rows = compare_slices(measured, flat(80_000, 2))
    assert [len(part) for part in slices_of(rows)] == [12] * 6
    assert sum(row.measured for row in rows) == 20_000
    assert [row.synthetic for row in rows] == pytest.approx([20_000 / 72] * 72, rel=0.01)
    assert rows[0].slice_low == pytest.approx(float(measured.values[:, 1].min()), abs=1e-3)
    assert all(row.counted for row in rows)


def test_pulls_of_equal_distributions_have_unit_width() -> None:
    pulls = torch.tensor([row.pull for seed in range(10) for row in compare_slices(flat(20_000, seed), flat(80_000, 100 + seed))])
    # 720 nearly independent pulls: the standard deviation of their root mean square is 1 / sqrt(1440) = 0.026.
    assert float(pulls.square().mean().sqrt()) == pytest.approx(1, abs=0.08)


def test_excess_in_one_slice_shows_there_and_not_in_the_sum() -> None:
    measured = flat(40_000, 1)
    heavy = Events(measured.values, measured.columns, torch.where(measured.values[:, 1] > 5 / 6, 2.0, 1.0))
    ratios = [
        sum(row.measured for row in part) / sum(row.synthetic for row in part)
        for part in slices_of(compare_slices(heavy, flat(160_000, 2)))
    ]
    # Events are scaled as a whole, by 7/6: five slices lack a seventh, and the last has 12/7 of what is expected.
    assert ratios == pytest.approx([6 / 7] * 5 + [12 / 7], rel=0.04)


def test_expected_number_sets_the_scale() -> None:
    rows = compare_slices(flat(10_000, 1), flat(20_000, 2), expected=12_000)
    assert sum(row.synthetic for row in rows) == pytest.approx(12_000)


def test_few_events_make_few_bins() -> None:
    assert len(compare_slices(flat(10, 1), flat(1000, 2))) == 1
    assert len(compare_slices(flat(400, 1), flat(1000, 2))) == 8


def test_values_that_repeat_make_fewer_slices() -> None:
    def steps(events: Events) -> Events:
        values: Tensor = events.values.clone()
        values[:, 1] = torch.where(values[:, 1] > 0.5, 1.0, 0.0)
        return Events(values, events.columns)

    rows = compare_slices(steps(flat(20_000, 1)), steps(flat(40_000, 2)))
    assert sum(row.measured for row in rows) == 20_000


def test_one_column_cannot_be_sliced() -> None:
    events = flat(100, 1).select(("x",))
    with pytest.raises(ShapeError, match="two columns"):
        compare_slices(events, events)
