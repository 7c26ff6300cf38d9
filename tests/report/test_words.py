from __future__ import annotations

import pytest

from unscatter.report.words import fitted_sentence


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
