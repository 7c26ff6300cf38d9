"""``unscatter closure`` and ``unscatter export`` as a user meets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from unscatter.cli.app import app
from unscatter.cli.codes import ExitCode
from unscatter.pdfs import read_lhapdf
from unscatter.runcards import load_runcard
from unscatter.runs import RunDirectory

CARD = """
problem: {name: proxy2d, nodes: 17}
events: {simulate: {num_events: 2000}}
method: {num_events: 128, discriminator: {hidden: [8]}}
solve: {steps: 20, max_rounds: 1, replicas: 3, diagnose: false, held_out: 0.0}
"""
DIS = "problem: {name: dis, nodes: [13, 9]}\nevents: {simulate: {}}\n"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}, prog_name="unscatter")


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.yaml").write_text(CARD)
    return tmp_path / "card.yaml"


def test_closure_prints_a_table_and_goes_on(card: Path) -> None:
    result = call("closure", str(card), "--level", "2", "--fits", "2", "--seed", "7", "-o", "test")
    assert result.exit_code == ExitCode.FINE, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.strip().startswith("p")] == ["parameters", "p0", "p1", "p2", "p3", "p4"]
    assert "level 2, 2 fits" in result.stdout
    assert max(map(len, lines)) <= 80
    assert "fit 2 of 2" in result.stderr
    again = call("closure", str(card), "--fits", "2", "--seed", "7", "-o", "test")
    assert again.exit_code == ExitCode.FINE
    assert again.stdout == result.stdout
    assert "step" not in again.stderr
    quiet = call("closure", str(card), "--fits", "1", "--seed", "7", "-o", "test", "-q")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (ExitCode.FINE, "", "")


def test_closure_says_what_is_wrong_in_one_message(card: Path) -> None:
    result = call("closure", str(card), "-n", "2", "-o", "test", "-s", "solve.replicas=1")
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "Error: level 2 compares the spread of replicas" in result.stderr
    assert not Path("test").exists()
    assert "is 0, 1 or 2, got 4" in call("closure", str(card), "-n", "2", "-o", "test", "--level", "4").stderr


def finished_dis_run(path: Path) -> RunDirectory:
    card, run = load_runcard(DIS), RunDirectory.create(path)
    run.write_runcard(DIS, card.resolved)
    problem = card.build_problem()
    assert problem.start is not None
    rows = [{"replica": r, "name": n, "value": v} for r in (0, 1) for n, v in zip(problem.space.names, problem.start, strict=True)]
    run.write_table("replicas", rows)
    return run


def test_export_writes_a_set_and_refuses_to_write_over_it(card: Path) -> None:
    run = finished_dis_run(Path("fit"))
    result = call("export", "lhapdf", str(run.path), "--name", "MyFit", "--authors", "A. Author")
    assert result.exit_code == ExitCode.FINE, result.output
    assert "MyFit: 3 members" in result.stdout
    pdf_set = read_lhapdf("MyFit")
    assert (len(pdf_set.members), pdf_set.info.authors) == (3, "A. Author")
    grid = pdf_set.central
    assert (len(grid.x_nodes), len(grid.Q_nodes_GeV), grid.pdg_ids) == (100, 37, (-5, -4, -3, -2, -1, 21, 1, 2, 3, 4, 5))
    again = call("export", "lhapdf", str(run.path), "--name", "MyFit")
    assert again.exit_code == ExitCode.BAD_INPUT
    assert "exists already and is not written over. Choose another name, or remove it: rm -r " in again.stderr


def test_export_says_what_is_wrong_in_one_message(card: Path) -> None:
    run = finished_dis_run(Path("fit"))
    for name, message in (("a/b", "is a path, not a name"), ("my set", "is no name for a set")):
        result = call("export", "lhapdf", str(run.path), "--name", name)
        assert result.exit_code == ExitCode.BAD_INPUT
        assert message in " ".join(result.stderr.split())
    assert "there is no 'none'" in call("export", "lhapdf", "none", "--name", "X").stderr
    bare = RunDirectory.create(Path("bare"))
    assert "was started without a runcard" in call("export", "lhapdf", str(bare.path), "--name", "X").stderr
    other = RunDirectory.create(Path("other"))
    other.write_runcard(CARD, load_runcard(CARD).resolved)
    assert "has no parton densities to export" in " ".join(call("export", "lhapdf", str(other.path), "--name", "X").stderr.split())
