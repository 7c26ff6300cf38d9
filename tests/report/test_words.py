from __future__ import annotations

import pytest

from unscatter.report.record import ParameterRow
from unscatter.report.words import below_bound, count_sentences, fitted_sentence


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({"num_ranks": 1, "exchange": {}}, "by the method 'gan'."),
        ({"num_ranks": 3, "exchange": {"lost_ranks": 0.0}}, "by the method 'gan' on 3 ranks."),
        ({"num_ranks": 3, "exchange": {"lost_ranks": 1.0}}, "by the method 'gan' on 3 ranks (1 of them went silent on the way)."),
    ],
)
def test_a_report_says_on_how_many_ranks_and_how_many_were_lost(summary: dict[str, object], expected: str) -> None:
    assert fitted_sentence({"problem": "dis", "method": "gan", "num_events": {"a": 5}} | summary).endswith(expected)


def test_numbers_of_events_are_compared_in_units_of_their_standard_deviation() -> None:
    (text,) = count_sentences({"rates": True, "num_events": {"a": 10_250, "b": 90}, "expected_counts": {"a": 10_000.0, "b": 100.0}})
    assert "10,250 events measured and 10,000 events expected in channel 'a' (+2.5 standard deviations)" in text
    assert "in channel 'b' (-1.0 standard deviations)" in text


def test_replicas_that_lie_much_closer_than_the_bound_are_named() -> None:
    rows = [
        ParameterRow("narrow", 1.0, error=0.4, bound=1.0),
        ParameterRow("fair", 1.0, error=0.6, bound=1.0),
        ParameterRow("single", 1.0, bound=1.0),
    ]
    (text,) = below_bound(tuple(rows))
    assert "bound for narrow:" in text
    assert below_bound(tuple(rows[1:])) == []
