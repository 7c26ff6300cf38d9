"""Errors and notes on the terminal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unscatter.cli.messages import print_error, print_note, print_warning


@pytest.mark.parametrize("show", [print_error, print_note, print_warning])
@given(message=st.text("\\\\[]/a=@: '", max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_messages_are_shown_as_they_are(show: Callable[[str], None], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (message, r"\[/x]", "[bold]", ":warning: a", "a\\\\"):
        show(text)
        assert capsys.readouterr().err.partition(": ")[2] == f"{text}\n"
