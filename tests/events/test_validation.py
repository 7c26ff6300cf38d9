"""Events against the ranges of a grid."""

from __future__ import annotations

import pytest
import torch

from unscatter.arrays import Events
from unscatter.errors import ColumnError, EventsError
from unscatter.events import check_events, check_inside, keep_inside

EVENTS = Events(torch.tensor([[0.1, 1.0], [0.5, 20.0], [0.9, 2.0], [1.5, 30.0]]), ("x", "Q2"), torch.tensor([1.0, 2.0, 3.0, 4.0]))


def test_events_outside_are_counted_per_column_with_the_range_seen() -> None:
    with pytest.raises(EventsError) as caught:
        check_inside(EVENTS, [0.2, 1.0], [1.0, 25.0], ["x", "Q2"])
    message = str(caught.value)
    assert message.startswith("2 of 4 events lie outside the grid.")
    assert "Column 'x' has 2 outside [0.2, 1]; seen are 0.1 to 1.5." in message
    assert "Column 'Q2' has 1 outside [1, 25]; seen are 1 to 30." in message
    assert "keep_inside(events, grid.low, grid.high, grid.names)" in message


def test_columns_without_events_outside_are_not_mentioned() -> None:
    with pytest.raises(EventsError) as caught:
        check_inside(EVENTS, [0.0, 1.0], [1.0, 99.0], ["x", "Q2"])
    assert "'Q2'" not in str(caught.value)


def test_events_on_the_edge_are_inside_whatever_their_precision() -> None:
    events = Events(torch.tensor([[0.1], [0.3]]), ("x",))
    assert check_inside(events, [0.1], [0.3], ["x"]) is events
    with pytest.raises(EventsError):
        check_inside(events.to(dtype=torch.float64), [0.1], [0.3], ["x"])


def test_kept_events_are_inside_and_keep_their_weights() -> None:
    kept = keep_inside(EVENTS, [0.2, 1.0], [1.0, 25.0], ["x", "Q2"])
    assert kept.values.tolist() == EVENTS.values[1:3].tolist()
    assert kept.weights is not None
    assert kept.weights.tolist() == [2.0, 3.0]


def test_cutting_away_everything_is_an_error() -> None:
    with pytest.raises(EventsError, match="4 of 4 events lie outside"):
        keep_inside(EVENTS, [5.0], [6.0], ["x"])


def test_range_of_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ColumnError, match="no column 'y'"):
        check_inside(EVENTS, [0.0], [1.0], ["y"])


def test_no_events_is_an_error_and_good_events_pass_unchanged() -> None:
    with pytest.raises(EventsError, match="no events in channel 'proton'"):
        check_events(Events(torch.empty(0, 2), ("x", "Q2")), "channel 'proton'")
    assert check_events(EVENTS) is EVENTS


def test_events_are_counted_once_when_several_columns_are_bad() -> None:
    nan = float("nan")
    with pytest.raises(EventsError, match=r"(?s)^2 of 3 events.*'x' has 2, the first in row 0.*'weight' has 1, the first in row 2"):
        check_events(Events(torch.tensor([[nan], [1.0], [nan]]), ("x",), torch.tensor([1.0, 1.0, nan])))


def test_cutting_is_not_advised_where_nothing_would_be_left() -> None:
    outside = Events(torch.tensor([[5.0], [6.0]]), ("x",))
    with pytest.raises(EventsError, match="(?s)2 of 2 events lie outside.*would leave none: compare units") as caught:
        check_inside(outside, [0.0], [1.0], ["x"])
    assert "keep_inside" not in str(caught.value)
