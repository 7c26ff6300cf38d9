"""The command line as a user meets it: what is printed, where, and with which exit code."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from unscatter.cli.app import app
from unscatter.cli.codes import EPILOG, ExitCode
from unscatter.events import read_events
from unscatter.pipeline import Problem
from unscatter.problems import proxy2d
from unscatter.runs import RunDirectory

CARD = """
problem: {name: proxy2d, nodes: 17}
events: {simulate: {num_events: 500}}
method: {num_events: 64, discriminator: {hidden: [8]}}
solve: {steps: 6, max_rounds: 1, log_every: 2, held_out: 0.0}
"""
COMMANDS = ("problems", "simulate", "check", "solve", "resume", "health", "submit", "report", "compare", "schema")


def call(*arguments: str, width: int = 60) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": str(width), "TERM": "dumb", "NO_COLOR": "1"}, prog_name="unscatter")


def longest_line(text: str) -> int:
    return max(map(len, text.splitlines()))


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "card.yaml"
    path.write_text(CARD)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    directory = tmp_path_factory.mktemp("finished")
    (directory / "card.yaml").write_text(CARD)
    return directory / "fit", call("solve", str(directory / "card.yaml"), "--run", str(directory / "fit"))


def test_help_names_every_command_and_every_exit_code() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert longest_line(result.stdout) <= 60
    for command in COMMANDS:
        assert f"│ {command} " in result.stdout
    words = " ".join(result.stdout.split())
    assert " ".join(EPILOG.split()) in words
    for code in ExitCode:
        assert re.search(rf"\b{int(code)}\b", EPILOG)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_fits_into_a_narrow_terminal(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"Usage: unscatter {command}" in result.stdout
    assert longest_line(result.stdout) <= 60


def test_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert call("--version").stdout == f"unscatter {version('unscatter')}\n"


def test_problems_are_listed_with_parameters_and_channels() -> None:
    result = call("problems")
    assert result.exit_code == 0
    assert longest_line(result.stdout) <= 60
    words = " ".join(result.stdout.split())
    assert "proxy1d toy parton densities" in words
    assert "channels proton, neutron" in words
    assert "p0 in [-0.5, 1], p1 in [2.75, 4]" in words


def test_solve_writes_run_and_report_and_prints_the_parameters(finished: tuple[Path, Result]) -> None:
    path, result = finished
    assert result.exit_code in (ExitCode.FINE, ExitCode.NOT_GOOD_ENOUGH), result.output
    assert RunDirectory.open(path).read_result("summary")["converged"] == (result.exit_code == 0)
    assert (path / "report.html").stat().st_size > 10_000
    rows = [line.split() for line in result.stdout.splitlines() if line.strip().startswith("p")]
    assert [row[0] for row in rows[:6]] == ["parameter", "p0", "p1", "p2", "p3", "p4"]
    assert [row[3] for row in rows[1:6]] == ["0.5", "3", "0.3", "4", "0.75"]
    assert f"report  {path}/report.html" in result.stdout
    assert "step 6/6" in result.stderr, "progress goes where it does not disturb a pipe"
    assert longest_line(result.stdout.split("run  ")[0]) <= 60


def test_run_directory_of_a_runcard_is_named_after_it_below_the_working_directory(card: Path, tmp_path: Path) -> None:
    result = call("solve", str(card), "--quiet", "--set", "solve.diagnose=false", "--set", "solve.steps=2")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert RunDirectory.open(tmp_path / "runs" / "card").read_metrics()[-1]["step"] == 2


def test_existing_run_is_not_written_over(finished: tuple[Path, Result]) -> None:
    path, _ = finished
    before = (path / "result" / "parameters.json").read_bytes()
    result = call("solve", str(path.parent / "card.yaml"), "--run", str(path))
    assert result.exit_code == ExitCode.BAD_INPUT
    assert f"Error: '{path}' holds a run already, and nothing is written over." in result.stderr
    assert f"for instance '{path}-2'" in result.stderr
    assert (path / "result" / "parameters.json").read_bytes() == before


def test_finished_run_is_not_resumed(finished: tuple[Path, Result]) -> None:
    result = call("resume", str(finished[0]))
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "there is nothing to resume" in result.stderr


def test_report_and_comparison_are_written_again(finished: tuple[Path, Result], tmp_path: Path) -> None:
    path, _ = finished
    (path / "report.html").unlink()
    assert call("report", str(path)).stdout == f"{path}/report.html\n"
    assert (path / "report.html").is_file()
    result = call("compare", str(path), str(path), "--output", str(tmp_path / "both.html"))
    assert result.exit_code == 0, result.output
    assert "proxy2d" in result.stdout
    assert (tmp_path / "both.html").is_file()


def test_comparison_is_not_written_over_what_is_there(finished: tuple[Path, Result], tmp_path: Path) -> None:
    page = tmp_path / "thesis.tex"
    page.write_text("x")
    result = call("compare", str(finished[0]), "-o", str(page))
    assert (result.exit_code, result.stdout, page.read_text()) == (ExitCode.BAD_INPUT, "", "x")
    assert "thesis.tex' exists already and is not written over." in result.stderr


def test_schema_is_json() -> None:
    assert json.loads(call("schema").stdout)["title"] == "Runcard"


def test_simulated_events_are_those_of_python_and_never_written_over(tmp_path: Path) -> None:
    output = tmp_path / "data.csv"
    arguments = ("simulate", "proxy2d", "--events", "50", "--seed", "4", "-p", "p3=4.2", "--set", "problem.nodes=17", "-o", str(output))
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    assert f"{output}: 50 events, columns x, y" in result.stdout
    expected = proxy2d(nodes=17).simulate((0.5, 3.0, 0.3, 4.2, 0.75), num_events=50, seed=4)["events"]
    assert torch.equal(read_events(output, dtype=torch.float64).values, expected.values)
    before = output.read_bytes()
    result = call(*arguments)
    assert result.exit_code == ExitCode.BAD_INPUT
    assert f"'{output}' exists already and is not written over" in result.stderr
    assert output.read_bytes() == before


def test_each_channel_gets_a_file_and_poisson_many_events(tmp_path: Path) -> None:
    result = call(
        "simulate",
        "proxy1d",
        "--set",
        "problem.nodes=17",
        "--set",
        "problem.num_events=900",
        "--format",
        "npy",
        "-o",
        str(tmp_path / "data"),
    )
    assert result.exit_code == 0, result.output
    counts = [read_events(tmp_path / "data" / f"{channel}.npy").num_events for channel in ("proton", "neutron")]
    assert counts[0] != counts[1]
    assert all(750 < count < 1050 for count in counts)
    assert f"events:\n  proton: {tmp_path}/data/proton.npy\n  neutron: {tmp_path}/data/neutron.npy" in result.stdout


def test_simulation_follows_a_runcard(card: Path, tmp_path: Path) -> None:
    result = call("simulate", str(card), "-o", str(tmp_path / "data"))
    assert result.exit_code == 0, result.output
    assert read_events(tmp_path / "data" / "events.parquet").num_events == 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["simulate", "proxy2d", "-o", "out"],
            "problem 'proxy2d' has no luminosity, so the number of events must be given: --events 100000.",
        ),
        (["simulate", "proxy3d", "-o", "out"], "there is no problem and no runcard 'proxy3d'. Did you mean 'proxy2d'?"),
        (["simulate", "proxy1d", "-o", "out.csv"], "each gets a file of its own: give a directory, --output out."),
        (
            ["simulate", "proxy2d", "-n", "5", "-o", "out.csv", "--format", "npy"],
            "'--output out.csv' and '--format npy' contradict one another",
        ),
        (["simulate", "proxy2d", "-n", "5", "-o", "card.yaml"], "no format ends in '.yaml'"),
        (["simulate", "proxy2d", "-n", "5", "-o", "out", "-p", "p0"], "'--parameters': 'p0' is not name=number"),
        (["simulate", "proxy2d", "-n", "5", "-o", "out", "-p", "p9=1"], "'p9' is not a parameter of problem 'proxy2d'"),
        (["simulate", "proxy2d", "-n", "5", "-o", "out", "-p", "p0=99"], "parameter 'p0' is 99, which is not inside its range (-0.5, 1)"),
        (["simulate", "proxy2d", "-n", "5", "-o", "out.txt"], "no format ends in '.txt'; those of events are .parquet, .csv and .npy."),
        (["solve", "proxy2d"], "'proxy2d' is a built-in problem, but a fit needs a runcard."),
        (["solve", "crad.yaml"], "there is no 'crad.yaml'"),
        (["solve", "card.yaml", "--set", "solve.stps=3"], "solve.stps (--set): unknown key. Did you mean 'steps'?"),
        (["solve", "card.yaml", "--set", "method.rates=on"], "'method.rates: on' needs expected numbers of events"),
        (["solve", "card.yaml", "--set", "events={events: nothing.parquet}"], "nothing.parquet'"),
        (["solve", "card.yaml", "--run", "."], " is not empty. Choose another one, for instance"),
        (["solve", "card.yaml", "--set", "run.path=/"], "the directory '/' is not empty. Choose another one, for instance 'runs/fit-2'."),
        (["solve", "card.yaml", "--set", f"run.path={'r' * 300}"], "cannot be a run directory: File name too long"),
        (["solve", "card.yaml", "--set", "solve.steps=!!int abc"], "line 1, column 1: this is not a value of the type 'int'"),
        (["solve", "r" * 300], f"'{'r' * 300}': File name too long. Choose a shorter one."),
        (["simulate", "proxy2d", "-n", "5", "-o", "r" * 300], "File name too long. Choose a shorter one."),
        (
            ["closure", "card.yaml", "-n", "1", "--level", "1", "-o", "/"],
            "the directory '/' is not empty. Choose another one, for instance 'runs/fit-2'.",
        ),
        (["closure", "card.yaml", "-n", "1", "--level", "1", "-o", "r" * 300], "cannot be a run directory: File name too long"),
        (["closure", "card.yaml", "-n", "9" * 23, "-o", "new"], "a closure test has at most 10,000 fits, got 99,999,999,"),
        (["tables", "build", "-o", "/"], "'/' is a directory, and a table is one file. Write for example /my_table.npz."),
        (["tables", "build", "-o", ""], "'.' is a directory, and a table is one file. Write for example my_table.npz."),
        (["tables", "build", "-o", "r" * 300], "the name is too long."),
        (["tables", "show", "r" * 300], "Tables in the package are lo, nlo, nnlo"),
        (["check", "card.yaml", "--set", "problem.nodes=1"], "problem.nodes (--set): must be at least 2, got 1."),
        (["resume", "nothing"], "there is no 'nothing'"),
        (["report", "."], "'.' is not a run directory: it has no run.json."),
        (["compare", "nothing"], "there is no 'nothing'"),
    ],
)
def test_bad_input_is_one_message_without_traceback_and_leaves_nothing(
    card: Path, tmp_path: Path, arguments: Sequence[str], message: str
) -> None:
    result = call(*arguments)
    assert result.exit_code == ExitCode.BAD_INPUT
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert [file.name for file in tmp_path.iterdir()] == ["card.yaml"]


@pytest.mark.parametrize("arguments", [["solv", "card.yaml"], ["solve"], ["solve", "card.yaml", "--runn", "x"], ["simulate", "proxy2d"]])
def test_wrong_usage_has_the_exit_code_of_bad_input(card: Path, arguments: Sequence[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "Usage: unscatter" in result.stderr


def test_debug_shows_the_traceback(card: Path) -> None:
    result = call("--debug", "solve", "nothing.yaml")
    assert type(result.exception).__name__ == "SettingsError"


def test_brackets_in_messages_are_text(card: Path) -> None:
    result = call("solve", "card.yaml", "--set", "run.path=[bold]")
    assert '"bold"]' in result.stderr


def test_check_says_what_it_found_and_its_exit_code(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = call("check", str(card))
    assert result.exit_code == 0, result.output
    assert "events 'events': 500, columns x, y" in result.stdout

    class Bad:
        ok = False

        def lines(self) -> list[str]:
            return ["p0 has no gradient"]

    monkeypatch.setattr(Problem, "check", lambda self: Bad())
    result = call("check", "proxy2d", "--set", "problem.nodes=17")
    assert (result.exit_code, result.stdout) == (ExitCode.NOT_GOOD_ENOUGH, "p0 has no gradient\n")
    assert call("check", str(card)).output == "p0 has no gradient\n", "pseudo-data of a faulty problem would tell the same fault again"


def test_paths_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    output = tmp_path / "[bold]a:x:[" / "x]"
    result = call("simulate", "proxy2d", "--events", "50", "--set", "problem.nodes=17", "-o", str(output))
    assert result.exit_code == ExitCode.FINE, result.output
    assert result.output.count(f"{output}/events.parquet") == 2


def test_setting_without_effect_is_a_warning(card: Path) -> None:
    result = call("check", str(card), "--set", "method.generator.batch=8")
    assert "Warning: method.generator.batch has no effect on a 'direct' generator." in result.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.num_events=100000000000", "the fit needs at least"),
        ("solve.replicas=100000000000", "the fit needs at least"),
        ("method.discriminator.hidden=[100000000, 100000000]", "the fit needs at least"),
        ("problem.nodes=10000000", "the simulation needs at least"),
        ("problem.nodes=1000000000000000", "out of memory: "),
    ],
)
def test_lack_of_memory_is_one_message_and_leaves_nothing(card: Path, tmp_path: Path, override: str, message: str) -> None:
    result = call("solve", str(card), "--set", override)
    assert (result.exit_code, result.stdout) == (ExitCode.BAD_INPUT, "")
    assert result.stderr.startswith(f"Error: {message}")
    assert [file.name for file in tmp_path.iterdir()] == ["card.yaml"]


def test_simulation_beyond_memory_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    result = call("simulate", "proxy2d", "-n", "10000000000000", "-o", str(tmp_path / "x.csv"))
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "the simulation needs at least 320,0" in result.stderr
    assert "for 10,000,000,000,000 events with 2 columns" in result.stderr
    assert not list(tmp_path.iterdir())


def test_forgotten_weights_are_a_note_shown_once_and_not_when_quiet(card: Path) -> None:
    Path("data.csv").write_text("x,y,weight\n" + "".join(f"0.{i},0.{10 - i},-1\n" for i in range(1, 10)))
    result = call("check", str(card), "--set", "events={events: data.csv}")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("Note: the column 'weight' of") == 1
    assert "weight: weight beside path: in a runcard" in result.stderr
    options = ("--quiet", "--set", "events={events: data.csv}", "--set", "solve.diagnose=false", "--set", "solve.steps=2")
    assert call("solve", str(card), *options).output == ""


def test_report_says_what_the_run_directory_lacks(finished: tuple[Path, Result], tmp_path: Path) -> None:
    run = tmp_path / "fit"
    shutil.copytree(finished[0], run)
    assert call("report", str(run)).stderr == ""
    (run / "result" / "parameters.json").unlink()
    (run / "metrics.jsonl").write_text("garbage\n")
    result = call("report", str(run))
    assert result.exit_code == 0
    assert "Note: the report is without the fitted parameters (result/parameters.json)." in result.stderr
    assert "(metrics.jsonl, which holds no record that can be read)" in result.stderr


def test_names_of_settings_are_never_cut(finished: tuple[Path, Result], tmp_path: Path) -> None:
    override = ("--set", "method.discriminator.penalty_events=33", "--set", "solve.diagnose=false")
    call("solve", str(finished[0].parent / "card.yaml"), "--run", str(tmp_path / "other"), "--quiet", *override)
    result = call("compare", str(finished[0]), str(tmp_path / "other"))
    assert result.exit_code == 0, result.output
    assert longest_line(result.stdout) <= 60
    column = "".join(line[:20].strip() for line in result.stdout.splitlines())
    assert "method.discriminator.penalty_events" in column


DIS_CARD = """
problem: {name: dis, nodes: [17, 9], channels: {proton: {target: proton, luminosity_inv_pb: 4.1}}}
events: {proton: example:pythia_nc_eic_proton.parquet}
"""


def test_check_prepares_events_as_a_fit_does(tmp_path: Path) -> None:
    path = tmp_path / "dis.yaml"
    path.write_text(DIS_CARD)
    result = call("check", str(path))
    assert result.exit_code == 0
    assert "events 'proton': 249,520 of 299,877 inside the cuts" in result.output
    other = call("check", str(path), "--set", "problem.beams.electron_energy_GeV=10")
    assert other.exit_code == 2
    assert "belong to other beams" in other.stderr


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("problem.channels.proton.lepton=e-", "249,520 of 299,877 inside the cuts, columns x, Q2, y; 253,587 expected at the start"),
        ("problem.channels.proton.luminosity_inv_pb=4100", "note: channel 'proton' has 249,520 events, but the theory expects 253,586,560"),
        ("method.rates=off", "249,520 of 299,877 inside the cuts, columns x, Q2, y"),
        # Nothing else tells them: Q2 / (x y) is the same.
        (
            "events.proton={path: 'example:pythia_nc_eic_proton.parquet', columns: {x: y, y: x, Q2: Q2}}",
            "170,853 of 299,877 inside the cuts, columns x, y, Q2; 253,587 expected at the start",
        ),
    ],
)
def test_check_shows_how_many_events_the_theory_expects(tmp_path: Path, override: str, words: str) -> None:
    path = tmp_path / "dis.yaml"
    path.write_text(DIS_CARD)
    output = call("check", str(path), "--set", override).output
    assert words in " ".join(output.split())
    assert ("note: " in output) == words.startswith("note: ")
    assert ("expected at the start" in " ".join(output.split())) == (override != "method.rates=off")
