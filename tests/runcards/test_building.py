"""Runcards become objects in one place."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import yaml

from unscatter.arrays import Events
from unscatter.detectors import Acceptance, Background, Cuts, Efficiency, Smearing
from unscatter.errors import ColumnError, EventsError, EventsFileError, RunError, SettingsError
from unscatter.events import write_events
from unscatter.runcards import json_schema, load_runcard, resume_run, start_run
from unscatter.runcards.yaml_text import parse_value

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = """
problem: {name: proxy2d, nodes: 17}
events: {simulate: {num_events: 500}}
method: {num_events: 64, discriminator: {hidden: [8]}}
solve: {steps: 6, max_rounds: 1, diagnose: false}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    events = Events(torch.linspace(0.1, 0.9, 50)[:, None] * torch.tensor([1.0, 0.5]), ("x", "y"), torch.full((50,), 2.0))
    return write_events(events, tmp_path / "data.parquet")


def write_card(directory: Path, text: str) -> Path:
    path = directory / "card.yaml"
    path.write_text(text)
    return path


def test_defaults_of_a_runcard_are_those_of_python() -> None:
    from unscatter.methods import Gan
    from unscatter.problems import proxy2d
    from unscatter.solve import SolveSettings

    problem, events, method, settings = load_runcard("problem: {name: proxy2d}\nevents: {simulate: {num_events: 50, seed: 4}}\n").build()
    assert method == Gan()
    assert settings == SolveSettings()
    assert torch.equal(events["events"].values, proxy2d().simulate(num_events=50, seed=4)["events"].values)
    assert problem.truth == proxy2d().truth


def test_resolved_runcard_says_everything_and_means_the_same(tmp_path: Path) -> None:
    card = load_runcard(TINY, ["method.rates=off", f"run.path={tmp_path}/fit"])
    resolved = load_runcard(card.resolved)
    assert resolved.model_dump() == card.model_dump()
    record = yaml.safe_load(card.resolved)
    assert record["method"]["rates"] == "off"
    assert next(iter(record["method"])) == "name"
    assert record["solve"]["checkpoint_every"] == 500


def test_every_kind_of_stage_becomes_its_detector(data: Path) -> None:
    text = """
problem:
  name: proxy2d
  nodes: 17
  detector:
  - {kind: smearing, column: x, absolute: 0.01, relative: 0.1}
  - {kind: efficiency, column: x, nodes: [0, 1], values: [0.5, 1]}
  - {kind: acceptance, column: y, low: 0.1, width: 0.02}
  - {kind: background, fraction: 0.2, events: {path: data.parquet, weight: weight}}
  - {kind: cuts, ranges: {x: [0.05, null]}, width: {x: 0.01}}
events: {simulate: {num_events: 10}}
"""
    problem = load_runcard(write_card(data.parent, text)).build_problem()
    smearing, efficiency, acceptance, background, cuts = problem.pipeline.detector.stages
    assert isinstance(smearing, Smearing)
    assert (smearing.column, smearing.absolute, smearing.relative) == ("x", 0.01, 0.1)
    assert isinstance(efficiency, Efficiency)
    assert isinstance(acceptance, Acceptance)
    assert (acceptance.column, acceptance.low, acceptance.high, acceptance.width) == ("y", 0.1, None, 0.02)
    assert isinstance(background, Background)
    assert isinstance(background.events, Events)
    assert background.fraction == 0.2
    assert background.events.weights is not None
    assert isinstance(cuts, Cuts)
    assert (dict(cuts.ranges), dict(cuts.width)) == ({"x": (0.05, None)}, {"x": 0.01})


def test_fitted_background_fraction_becomes_a_parameter(data: Path) -> None:
    text = """
problem:
  name: proxy2d
  detector: [{kind: background, fraction: {name: f, low: 0.1, high: 0.4, truth: 0.3}, events: {path: data.parquet, weight: weight}}]
events: {simulate: {num_events: 10}}
"""
    problem = load_runcard(write_card(data.parent, text)).build_problem()
    assert problem.space.names == ("p0", "p1", "p2", "p3", "p4", "f")
    assert problem.space.nuisances == ("f",)
    assert problem.truth is not None
    assert problem.start is not None
    assert (problem.truth[-1], problem.start[-1]) == (0.3, 0.25)
    low, high = problem.space.to_parameters(torch.full((6,), -30.0)), problem.space.to_parameters(torch.full((6,), 30.0))
    assert (float(low[-1]), float(high[-1])) == pytest.approx((0.1, 0.4))


def test_stage_with_an_unknown_column_is_an_error() -> None:
    text = "problem: {name: proxy2d, detector: [{kind: smearing, column: z, absolute: 1}]}\nevents: {simulate: {num_events: 10}}\n"
    with pytest.raises(ColumnError, match=r"Smearing\('z'\) needs the column 'z'"):
        load_runcard(text).build()


def test_luminosity_and_counts_reach_proxy1d() -> None:
    card = load_runcard("problem: {name: proxy1d, nodes: 33, luminosity: {neutron: 30, proton: 20}}\nevents: {simulate: {}}\n")
    assert card.build_problem().pipeline.theory.luminosity == (20.0, 30.0)  # pyright: ignore[reportAttributeAccessIssue]
    counts = {name: events.num_events for name, events in load_runcard(
        "problem: {name: proxy1d, nodes: 33, num_events: 400}\nevents: {simulate: {}}\n").build().events.items()}  # fmt: skip
    assert all(300 < count < 500 for count in counts.values())


def test_parameters_of_pseudo_data_become_the_truth() -> None:
    card = load_runcard("problem: {name: proxy2d}\nevents: {simulate: {num_events: 10, parameters: {p3: 4.2}}}\n")
    assert card.build().problem.truth == (0.5, 3.0, 0.3, 4.2, 0.75)
    with pytest.raises(SettingsError, match=r"'p9' is not a parameter of problem 'proxy2d', which has"):
        load_runcard("problem: {name: proxy2d}\nevents: {simulate: {num_events: 10, parameters: {p9: 4.2}}}\n").build()


def test_files_are_found_beside_the_runcard_and_read_as_it_says(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = load_runcard(
        write_card(data.parent, "problem: {name: proxy2d}\nevents: {events: {path: data.parquet, columns: {x: y, y: x}, weight: weight}}\n")
    )
    monkeypatch.chdir("/")
    events = card.build().events["events"]
    assert events.columns == ("x", "y")
    assert float(events.column("y").max()) == pytest.approx(0.9)
    assert events.weights is not None
    assert card.input_files() == {"events.events": tmp_path / "data.parquet"}


def test_plain_arrays_take_the_columns_of_the_problem(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.full((5, 2), 0.5, np.float32))
    card = load_runcard(write_card(tmp_path, "problem: {name: proxy2d}\nevents: {events: data.npy}\n"))
    assert card.build().events["events"].columns == ("x", "y")


@pytest.mark.parametrize(
    ("events", "error", "message"),
    [
        ("{events: dta.parquet}", EventsFileError, r"there is no '.*dta.parquet'.*Did you mean 'data.parquet'\?"),
        ("{events: {path: data.parquet, columns: {x: x, y: z}}}", ColumnError, r"there is no column 'z' in '.*data.parquet'"),
        ("{events: {path: data.parquet, columns: [x]}}", SettingsError, r"missing are \['y'\]"),
        ("{proton: data.parquet}", SettingsError, r"'events.proton' is not a channel of problem 'proxy2d', which has \['events'\]"),
        ("{events: empty.csv}", EventsFileError, r"empty.csv' is empty"),
        ("{events: rows.csv}", EventsError, r"1 of 2 events in '.*rows.csv' has values that are NaN[\s\S]*row 1"),
        ("{events: text.csv}", EventsError, r"column 'y' in '.*text.csv' holds text: row 1 is 'abc'"),
        ("{events: {path: negative.csv, weight: w}}", EventsError, r"weights 'w' in .* are negative, the first in row 0"),
        ("{events: outside.csv}", EventsError, r"1 of 2 events lie outside the grid.[\s\S]*'x' has 1 outside[\s\S]*keep_inside: true\}"),
    ],
)
def test_bad_events_are_one_error(data: Path, events: str, error: type[Exception], message: str) -> None:
    directory = data.parent
    (directory / "empty.csv").write_text("")
    (directory / "rows.csv").write_text("x,y\n0.1,0.1\nnan,0.2\n")
    (directory / "text.csv").write_text("x,y\n0.1,0.1\n0.1,abc\n")
    (directory / "negative.csv").write_text("x,y,w\n0.1,0.1,-1\n0.1,0.1,2\n")
    (directory / "outside.csv").write_text("x,y\n0.1,0.1\n3,0.1\n")
    card = load_runcard(write_card(directory, f"problem: {{name: proxy2d}}\nevents: {events}\n"), [f"run.path={directory}/fit"])
    before = sorted(directory.iterdir())
    with pytest.raises(error, match=message):
        start_run(card)
    assert sorted(directory.iterdir()) == before


def test_events_outside_are_dropped_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("x,y\n0.1,0.1\n3,0.1\n")
    card = load_runcard(write_card(tmp_path, "problem: {name: proxy2d}\nevents: {events: {path: outside.csv, keep_inside: true}}\n"))
    assert card.build().events["events"].num_events == 1


def test_missing_channel_is_named() -> None:
    with pytest.raises(SettingsError, match=r"'events.neutron' is missing: problem 'proxy1d' has the channels \['proton', 'neutron'\]"):
        load_runcard("problem: {name: proxy1d}\nevents: {proton: a.csv}\n").build()


OWN = """
import torch
from unscatter import FunctionTheory, Grid, ParameterSpace, Pipeline, Problem


def make_problem(high: float = 2.0) -> Problem:
    theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), Grid.from_axes({"t": torch.linspace(0, 10, 33)}), (1,))
    return Problem("decay", ParameterSpace.from_ranges({"rate": (0.1, high)}), Pipeline(theory), truth=(0.5,))


def number() -> int:
    return 3


def broken() -> Problem:
    return 1 / 0
"""


def own(tmp_path: Path, problem: str, code: str = OWN) -> Path:
    (tmp_path / "own.py").write_text(code)
    return write_card(tmp_path, f"problem: {{name: python, {problem}}}\nevents: {{simulate: {{num_events: 20}}}}\n")


def test_own_problem_is_a_function_of_a_file(tmp_path: Path) -> None:
    problem, events, *_ = load_runcard(own(tmp_path, "file: own.py, arguments: {high: 3.0}")).build()
    assert float(problem.space.to_parameters(torch.tensor([30.0]))) == pytest.approx(3.0)
    assert events["events"].columns == ("t",)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("file: onw.py", r"'problem.file': there is no '.*onw.py'.*Did you mean 'own.py'\?"),
        (
            "file: own.py, function: make_problm",
            r"there is no function 'make_problm' in '.*own.py', which has .*Did you mean 'make_problem'\?",
        ),
        (
            "file: own.py, arguments: {hgh: 3}",
            r"'problem.arguments' do not fit make_problem\(high.*got an unexpected keyword argument 'hgh'",
        ),
        ("file: own.py, function: number", r"number\(\) in '.*own.py' must return a Problem, got int"),
        ("file: own.py, function: broken", r"broken\(\) of the problem failed in '.*own.py', line 16: ZeroDivisionError: division by zero"),
        ("file: own.py, arguments: {high: 0.01}", r"parameter 'rate' has the range \(0.1, 0.01\), which is upside down or empty"),
    ],
)
def test_bad_own_problem_is_one_error(tmp_path: Path, problem: str, message: str) -> None:
    with pytest.raises((SettingsError, ValueError), match=message):
        load_runcard(own(tmp_path, problem)).build()


@pytest.mark.parametrize("code", ["import sys\nsys.exit(0)\n", "import sys\n\n\ndef make_problem():\n    sys.exit(0)\n"])
def test_own_problem_that_leaves_the_process_is_an_error(tmp_path: Path, code: str) -> None:
    with pytest.raises(SettingsError, match=r"of the problem failed in '.*own.py', line \d: SystemExit: 0"):
        load_runcard(own(tmp_path, "file: own.py", code)).build()


def test_keep_inside_is_not_advised_where_nothing_would_be_left(tmp_path: Path) -> None:
    (tmp_path / "far.csv").write_text("x,y\n7,8\n9,9\n")
    card = load_runcard(write_card(tmp_path, TINY.replace("{simulate: {num_events: 500}}", "{events: far.csv}")))
    with pytest.raises(EventsError, match="(?s)far.csv': 2 of 2 events lie outside the grid.*would leave none") as caught:
        card.build()
    assert "keep_inside:" not in str(caught.value)


def test_syntax_error_of_an_own_problem_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the file of the problem failed in '.*own.py', line 2: SyntaxError"):
        load_runcard(own(tmp_path, "file: own.py", "a = 1\ndef f(:\n")).build()


def test_started_run_is_resumed_from_its_own_directory_only_with_the_same_files(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TINY.replace("simulate: {num_events: 500}", "events: {path: data.parquet, weight: weight}")
    path = data.parent / "fit"
    fit = start_run(load_runcard(write_card(data.parent, text)), path=path)
    assert fit.num_steps == 6
    assert (path / "runcard.yaml").read_text() == text
    monkeypatch.chdir("/")
    (path / "result" / "summary.json").unlink()
    assert resume_run(path).parameters == fit.parameters
    (path / "result" / "summary.json").unlink()
    data.unlink()
    write_events(Events(torch.full((50, 2), 0.5), ("x", "y"), torch.ones(50)), data)
    with pytest.raises(RunError, match=r"data.parquet' \(events.events\) has changed since the run"):
        resume_run(path)


def test_run_is_resumed_only_with_the_settings_of_its_start(data: Path) -> None:
    text = TINY.replace("simulate: {num_events: 500}", "events: {path: data.parquet, weight: weight}")
    path = data.parent / "fit"
    fit = start_run(load_runcard(write_card(data.parent, text)), path=path)
    (path / "result" / "summary.json").unlink()
    resolved = path / "resolved.yaml"
    original = resolved.read_text()
    resolved.write_text(original.replace("nodes: 17", "nodes: 19").replace("steps: 6", "steps: 9"))
    with pytest.raises(
        RunError, match=r"(?s)'problem.nodes' was 17 and is 19; 'solve.steps' was 6 and is 9.*unscatter solve .* --run .*fit-2"
    ):
        resume_run(path)
    moved = data.rename(data.with_name("moved.parquet"))
    resolved.write_text("# a comment\n" + original.replace(str(data), str(moved)))
    assert resume_run(path).parameters == fit.parameters


def test_run_without_a_runcard_says_how_to_resume_it(tmp_path: Path) -> None:
    from unscatter.runs import RunDirectory

    RunDirectory.create(tmp_path / "fit")
    with pytest.raises(RunError, match=r"was started without a runcard[\s\S]*unscatter.runs.resume"):
        resume_run(tmp_path / "fit")


def test_settings_without_effect_are_named() -> None:
    text = "method: {schedule: constant, final_rate: 0.1, average: last, tail_start: 0.2, generator: {batch: 8}}"
    card = load_runcard(f"problem: {{name: proxy2d}}\nevents: {{simulate: {{}}}}\n{text}\n")
    assert card.without_effect() == [
        "method.generator.batch has no effect on a 'direct' generator",
        "method.tail_start has no effect while method.average is 'last', not 'tail'",
        "method.final_rate has no effect while method.schedule is 'constant', not 'cosine'",
    ]
    assert load_runcard(TINY).without_effect() == []


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_valid_by_model_and_schema_and_can_be_built(example: Path) -> None:
    simulated = "simulate:" in example.read_text()
    card = load_runcard(example, ["events.simulate.num_events=100"] if simulated else [])
    jsonschema.Draft202012Validator(json_schema()).validate(parse_value(example.read_text(), str(example)))
    jsonschema.Draft202012Validator(json_schema()).validate(parse_value(card.resolved, "resolved"))
    assert card.without_effect() == []
    problem, events, *_ = card.build()
    assert set(events) == set(problem.channels)


def test_schema_describes_every_setting_and_refuses_what_the_model_refuses() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, definition in schema["$defs"].items():
        for key, value in definition.get("properties", {}).items():
            # Pydantic leaves out what the description of the section itself says already.
            assert "$ref" in value or value.get("description"), f"{name}.{key} has no description"
    assert ">>>" not in str(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"problem": {"name": "proxy2d"}, "events": {"events": "a.csv"}})
    for bad in ({"solve": {"stps": 1}}, {"solve": {"steps": 0}}, {"method": {"loss": "x"}}, {"problem": {"name": "proxy3d"}}, {"misc": 1}):
        assert not validator.is_valid({"problem": {"name": "proxy2d"}, "events": {"events": "a.csv"}, **bad})
