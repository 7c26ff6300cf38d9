"""Events from files have no known truth unless the user or the files say so, and nothing compares with the built-in one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from unscatter.cli.app import app
from unscatter.cli.tables import parameter_table
from unscatter.errors import EventsFileError, SettingsError
from unscatter.events import read_events, read_parameters, write_events
from unscatter.problems import proxy1d, proxy2d
from unscatter.report import write_report
from unscatter.runcards import load_runcard, start_run
from unscatter.runs import RunDirectory

PROXY2D = dict(zip(proxy2d(nodes=17).space.names, (0.4, 3.2, 0.3, 4.0, 0.7), strict=True))
PROXY1D = dict(zip(proxy1d(nodes=17).space.names, (2.0, -0.4, 3.1, 1.0, -0.6, 4.2), strict=True))


def events_file(path: Path, parameters: dict[str, float] | None = None) -> Path:
    return write_events(proxy2d(nodes=17).simulate(PROXY2D, num_events=300, seed=1)["events"], path, parameters=parameters)


def channel_files(directory: Path, **parameters: dict[str, float] | None) -> dict[str, Path]:
    events = proxy1d(nodes=17).simulate(PROXY1D, num_events=200, seed=1)
    return {
        channel: write_events(events[channel], directory / f"{channel}.parquet", parameters=said) for channel, said in parameters.items()
    }


def truth_of(problem: str, files: dict[str, Path]) -> tuple[float, ...] | None:
    entries = ", ".join(f"{channel}: {file}" for channel, file in files.items())
    return load_runcard(f"problem: {{{problem}, nodes: 17}}\nevents: {{{entries}}}\n").build().problem.truth


@pytest.mark.parametrize("name", ["data.parquet", "data.csv", "data.npy"])
def test_events_of_a_file_have_no_known_truth(tmp_path: Path, name: str) -> None:
    assert truth_of("name: proxy2d", {"events": events_file(tmp_path / name)}) is None


def test_own_problem_keeps_its_truth_for_pseudo_data_only(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("from unscatter.problems import proxy2d\n\ndef make_problem(nodes):\n    return proxy2d(nodes=nodes)\n")
    problem = f"problem: {{name: python, file: {own}, arguments: {{nodes: 17}}}}\n"
    assert load_runcard(f"{problem}events: {{events: {events_file(tmp_path / 'data.parquet')}}}\n").build().problem.truth is None
    assert load_runcard(f"{problem}events: {{simulate: {{num_events: 10}}}}\n").build().problem.truth == proxy2d().truth


def test_truth_in_the_runcard_counts_whatever_the_file_says(tmp_path: Path) -> None:
    file = events_file(tmp_path / "data.parquet", PROXY2D)
    assert truth_of("name: proxy2d, truth: {p1: 3.5}", {"events": file}) == (0.5, 3.5, 0.3, 4.0, 0.75)
    assert truth_of("name: proxy2d, truth: {}", {"events": file}) == proxy2d().truth
    with pytest.raises(SettingsError, match="'p9' is not a parameter of problem 'proxy2d'"):
        truth_of("name: proxy2d, truth: {p9: 1}", {"events": file})


def test_parameters_that_pseudo_data_name_win_over_the_truth_of_the_problem() -> None:
    card = load_runcard(
        "problem: {name: proxy2d, nodes: 17, truth: {p1: 3.5, p3: 4.1}}\nevents: {simulate: {num_events: 9, parameters: {p3: 4.2}}}\n"
    )
    assert card.build().problem.truth == (0.5, 3.5, 0.3, 4.2, 0.75)


def test_simulated_file_carries_its_truth_into_the_fit(tmp_path: Path) -> None:
    file = tmp_path / "data.parquet"
    result = CliRunner().invoke(
        app, ["simulate", "proxy2d", "--events", "300", "--output", str(file), "--parameters", "p0=0.4,p1=3.2,p4=0.7"]
    )
    assert result.exit_code == 0, result.output
    assert truth_of("name: proxy2d", {"events": file}) == (0.4, 3.2, 0.3, 4.0, 0.7)


def test_all_channels_must_say_the_same(tmp_path: Path) -> None:
    for number, (proton, neutron, expected) in enumerate(
        [(PROXY1D, PROXY1D, tuple(PROXY1D.values())), (PROXY1D, PROXY1D | {"p0": 2.1}, None), (PROXY1D, None, None), (None, PROXY1D, None)]
    ):
        directory = tmp_path / str(number)
        directory.mkdir()
        assert truth_of("name: proxy1d", channel_files(directory, proton=proton, neutron=neutron)) == expected


@pytest.mark.parametrize("said", [{"p0": 0.5}, PROXY2D | {"fraction": 0.1}, PROXY2D | {"p0": 99.0}])
def test_parameters_of_another_problem_or_outside_its_space_are_no_truth(tmp_path: Path, said: dict[str, float]) -> None:
    assert truth_of("name: proxy2d", {"events": events_file(tmp_path / "data.parquet", said)}) is None


def test_parameters_are_kept_exactly_and_beside_the_events(tmp_path: Path) -> None:
    said = {"p0": 1 / 3, "p1": 1e-300}
    file = events_file(tmp_path / "data.parquet", said)
    assert read_parameters(file) == said
    assert read_events(file).columns == ("x", "y")
    assert read_parameters(events_file(tmp_path / "data.csv", said)) is None


@pytest.mark.parametrize("text", [b"[1, 2]", b'{"p0": "half"}', b"{"])
def test_unreadable_parameters_are_an_error_that_names_the_file(tmp_path: Path, text: bytes) -> None:
    table = pq.read_table(events_file(tmp_path / "data.parquet"))
    pq.write_table(table.replace_schema_metadata({b"unscatter.parameters": text}), tmp_path / "bad.parquet")
    with pytest.raises(EventsFileError, match=r"bad\.parquet"):
        read_parameters(tmp_path / "bad.parquet")


def test_run_without_a_truth_shows_no_truth_anywhere(tmp_path: Path) -> None:
    file = events_file(tmp_path / "data.parquet")
    card = load_runcard(
        f"problem: {{name: proxy2d, nodes: 17}}\nevents: {{events: {file}}}\nmethod: {{num_events: 64, discriminator: {{hidden: [8]}}}}\n"
        "solve: {steps: 6, max_rounds: 1, log_every: 2, held_out: 0.0}\n"
    )
    fit = start_run(card, path=tmp_path / "fit")
    assert all(row["truth"] is None and row["pull"] is None for row in fit.parameters)
    assert [column.header for column in parameter_table(fit).columns] == ["parameter", "value", "error"]
    run = RunDirectory.open(tmp_path / "fit")
    assert all(row["truth"] is None for row in json.loads((run.path / "result" / "parameters.json").read_text()))
    page = write_report(run).read_text()
    assert "The truth is known" not in page
    assert "Deviations from the truth" not in page
