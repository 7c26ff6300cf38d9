"""Errors and endings become exit codes."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from unscatter.cli.app import _Group
from unscatter.cli.codes import ExitCode, code_of_fit
from unscatter.errors import DivergenceError, EventsError


@pytest.mark.parametrize(
    ("stop_reason", "interrupted_by", "code"),
    [
        ("converged", None, 0), ("not judged", None, 0), ("out of rounds", None, 3), ("interrupted", "SIGINT", 130),
        ("interrupted", "SIGTERM", 143), ("interrupted", None, 130),
    ],
)  # fmt: skip
def test_ending_of_a_fit_has_its_exit_code(stop_reason: str, interrupted_by: str | None, code: int) -> None:
    assert code_of_fit(stop_reason, interrupted_by) == code


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (EventsError("no events [none]"), 2, "Error: no events [none]\n"),
        (DivergenceError("too many"), 4, "Error: too many\n"),
        (KeyboardInterrupt(), 130, "Error: stopped by Ctrl-C.\n"),
    ],
)
def test_errors_that_users_cause_are_one_message(error: BaseException, code: ExitCode, message: str) -> None:
    app = typer.Typer(cls=_Group, pretty_exceptions_enable=False)

    @app.callback()
    def options() -> None: ...

    @app.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(app, ["fail"])
    assert (result.exit_code, result.stderr) == (code, message)


def test_unexpected_errors_keep_their_traceback() -> None:
    app = typer.Typer(cls=_Group, pretty_exceptions_enable=False)

    @app.callback()
    def options() -> None: ...

    @app.command()
    def fail() -> None:
        raise ZeroDivisionError("our own bug")

    result = CliRunner().invoke(app, ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)
