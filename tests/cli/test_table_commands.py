from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from unscatter.cli.app import app
from unscatter.cli.codes import ExitCode
from unscatter.theories.dis.storage import load_tables

needs_hoppet = pytest.mark.skipif(importlib.util.find_spec("hoppet") is None, reason="needs hoppet: pip install 'unscatter[qcd]'")
SMALL = ("-s", "num_x_nodes=14", "-s", "num_Q_nodes=5,6", "-s", "x_min=1e-3")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tables", *arguments], env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}, prog_name="unscatter")


@needs_hoppet
def test_build_writes_a_table_and_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    result = call("build", "-o", str(path), "--order", "lo", "--alpha-s", "0.13", *SMALL)
    assert result.exit_code == ExitCode.FINE, result.output
    assert "alpha_s_MZ       0.13\n" in result.stdout
    settings = load_tables(path).settings
    assert (settings.order, settings.num_Q_nodes) == ("LO", (5, 6))
    again = call("build", "-o", str(path), *SMALL)
    assert again.exit_code == ExitCode.BAD_INPUT
    assert "--force" in again.stderr
    assert load_tables(path).settings == settings


def test_show_lists_the_settings_of_a_shipped_table() -> None:
    result = call("show", "nnlo")
    assert result.exit_code == ExitCode.FINE
    assert "order            NNLO\n" in result.stdout
    assert "SHA-256, correct" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "none.npz"), "Tables in the package are lo, nlo, nnlo"),
        (("build", "-o", "x.npz", "-s", "Q0_GeV"), "is not KEY=NUMBER"),
        (("build", "-o", "x.npz", "-s", "Q0_GEV=1.6"), "Did you mean 'Q0_GeV'"),
        (("build", "-o", "x.npz", "--order", "N4LO"), "'order' must be one of"),
    ],
)
def test_mistakes_are_answered_in_words(arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == ExitCode.BAD_INPUT
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_hoppet_the_command_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = call("build", "-o", str(tmp_path / "x.npz"), *SMALL)
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "pip install 'unscatter[qcd]'" in result.stderr
    assert list(tmp_path.iterdir()) == []
