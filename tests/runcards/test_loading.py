# ruff: noqa: E501 (one case per line)
"""What is wrong with a runcard is said at once, with key, line, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from unscatter.errors import SettingsError
from unscatter.runcards import load_runcard
from unscatter.runcards.detectors import SmearingSection

BASE = "problem: {name: proxy2d}\nevents: {events: data.parquet}\n"


def message(text: str, *overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_runcard(text, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("solve: {stps: 5}", "solve.stps (line 3): unknown key. Did you mean 'steps'? Known are steps, max_rounds, seed,"),
        (
            "sovle: {steps: 5}",
            "sovle (line 3): unknown key. Did you mean 'solve'? Known are problem, events, method, solve, exchange, run.",
        ),
        (
            "method:\n  generator:\n    learning_rat: 1",
            "method.generator.learning_rat (line 5): unknown key. Did you mean 'learning_rate'?",
        ),
        ("solve: {steps: many}", "solve.steps (line 3): must be a whole number, got 'many'."),
        ("solve: {steps: 1.5}", "solve.steps (line 3): must be a whole number, got 1.5."),
        ("solve: {steps: true}", "solve.steps (line 3): must be a number, got true."),
        ("solve: {steps: -5}", "solve.steps (line 3): must be at least 1, got -5."),
        ("solve: {held_out: 1}", "solve.held_out (line 3): must be less than 1.0, got 1."),
        ("solve: {diagnose: perhaps}", "solve.diagnose (line 3): must be true or false, got 'perhaps'."),
        ("solve: 5", "solve (line 3): must be a mapping, 'key: value', got 5."),
        ("solve: {device: gpu}", "solve.device (line 3): 'gpu' is not one of 'auto', 'cpu', 'cuda'. Did you mean"),
        ("method: {name: gam}", "method.name (line 3): 'gam' is not one of 'gan'. Did you mean 'gan'?"),
        (
            "method: {loss: relativ}",
            "'relativ' is not one of 'relativistic', 'nonsaturating', 'least-squares', 'wasserstein-gp'. Did you mean",
        ),
        ("method: {rates: true}", "method.rates (line 3): true is not one of 'auto', 'on', 'off'."),
        (
            "method: {discriminator: {logarithms: 3}}",
            "method.discriminator.logarithms (line 3): must be true or false or must be a list, got 3.",
        ),
        ("method: {num_events: 10, generator: {kind: network}}", "generator.batch is 64, more than the 10 events of a step"),
        ("run: {path: [a]}", 'run.path (line 3): must be a path, got ["a"].'),
        ("method: {rates: on}", "'method.rates: on' needs expected numbers of events, but 'problem.luminosity' is null"),
    ],
)
def test_wrong_setting_is_named_with_line_value_and_what_is_allowed(text: str, expected: str) -> None:
    assert expected in message(BASE + text + "\n")


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        ("{nodes: 5}", "problem.name (line 1): this key is missing; it says which one: 'proxy1d', 'proxy2d', 'dis', 'python'."),
        ("{name: proxy3d}", "problem.name (line 1): 'proxy3d' is not one of 'proxy1d', 'proxy2d', 'dis', 'python'. Did you mean 'proxy2d'?"),
        ("proxy2d", "problem (line 1): must be a mapping, 'key: value', got 'proxy2d'."),
        ("{name: python}", "problem.file (line 1): this key is missing."),
        ("{name: proxy1d, num_events: 9, luminosity: {proton: 1, neutron: 1}}", "'num_events' and 'luminosity' contradict one another"),
        ("{name: proxy1d, luminosity: {proton: 1}}", "'luminosity' must name both channels, proton and neutron, got ['proton']"),
        ("{name: proxy1d, rates: false, num_events: 9}", "'rates: false' and 'num_events' contradict one another"),
        ("{name: proxy2d, detector: [{column: x}]}", "problem.detector.0.kind (line 1): this key is missing; it says which one: 'smearing',"),
        ("{name: proxy2d, detector: [{kind: smear}]}", "'smear' is not one of 'smearing', 'efficiency', 'acceptance', 'cuts', 'background'."),
        ("{name: proxy2d, detector: [{kind: smearing, colum: x}]}", "unknown key. Did you mean 'column'? Known are kind, column, absolute, relative."),
        ("{name: proxy2d, detector: [{kind: smearing, column: x}]}", "smearing has no width: give 'absolute' or 'relative'."),
        ("{name: proxy2d, detector: [{kind: cuts, ranges: {x: [0.9, 0.1]}}]}", "the range of 'x' is upside down or empty, [0.9, 0.1]; write the lower"),
        ("{name: proxy2d, detector: [{kind: cuts, ranges: {x: [null, null]}}]}", "the range of 'x' has no end"),
        ("{name: proxy2d, detector: [{kind: cuts, ranges: {x: [0, 1]}, width: {y: 1}}]}", "'width' names ['y'], but there are cuts on ['x'] only"),
        ("{name: proxy2d, detector: [{kind: acceptance, column: x, low: 1, high: 0, width: 1}]}", "the range of 'x' is upside down or empty"),
        ("{name: proxy2d, detector: [{kind: acceptance, column: x, width: 1}]}", "acceptance has neither 'low' nor 'high'"),
        ("{name: proxy2d, detector: [{kind: efficiency, column: x, nodes: [0, 1], values: [1]}]}", "'nodes' has 2 entries but 'values' has 1"),
        ("{name: proxy2d, detector: [{kind: efficiency, column: x, nodes: [1, 0], values: [1, 1]}]}", "'nodes' must increase strictly, but 0 follows 1"),
        ("{name: proxy2d, detector: [{kind: efficiency, column: x, nodes: [0, 1], values: [1, 2]}]}", "detector.0.values.1 (line 1): must be at most 1.0"),
        ("{name: proxy2d, detector: [{kind: background, fraction: 1, events: a.npy}]}", "detector.0.fraction (line 1): must be less than 1.0, got 1."),
        ("{name: proxy2d, detector: [{kind: background, fraction: {name: f, hgh: 1}, events: a.npy}]}", "Did you mean 'high'? Known are name, low, high"),
        ("{name: proxy2d, detector: [{kind: background, fraction: {name: f, low: 0.4, high: 0.2}, events: a.npy}]}", "the range of 'f' is upside down"),
        ("{name: proxy1d, nodes: 99999999999999999999}", "problem.nodes (line 1): must be at most 1000000000000000"),
        ("{name: dis, nodes: [99999999999999999999, 3]}", "problem.nodes.0 (line 1): must be at most 1000, got 99999999999999999999."),
        ("{name: dis, Q2_range: [10]}", "problem.Q2_range (line 1): needs another entry behind [10]."),
        ("{name: dis, Q2_range: [10, 20, 30]}", "problem.Q2_range (line 1): must have at most 2 entries, got [10, 20, 30]."),
        ("{name: dis, Q2_range: [10, .inf]}", "problem.Q2_range.1 (line 1): must be a finite number, got Infinity."),
        ("{name: dis, detector: {ranges: {Q2: [.nan, null]}}}", "problem.detector.ranges.Q2.0 (line 1): must be a finite number, got NaN."),
        ("{name: dis, channels: {p: {target: proton, luminosity: 0.27}}}", "luminosity (line 1): unknown key. Did you mean 'luminosity_inv_pb'?"),
        ("{name: dis, channels: {p: {target: proton, luminosity_eror: 0.1}}}", "(line 1): unknown key. Did you mean 'luminosity_error'?"),
        (
            "{name: dis, channels: {p: {target: proton, luminosity_inv_pb: 1, luminosity: 0.1}}}", "unknown key. Did you mean 'luminosity_error'?",
        ),
        ("{name: dis, tables: ''}", "problem.tables (line 1): must be one of 'lo', 'nlo', 'nnlo' or must be a path, got ''."),
        ("{name: dis, truth_pdf: ''}", "problem.truth_pdf (line 1): must be a path, got ''."),
        ("{name: dis, parametrisation: {kind: nodes, nodes: [0.3, 0.1]}}", "'nodes' must increase strictly between 0 and 1, but 0.1 follows 0.3."),
        ("{name: dis, parametrisation: {kind: nodes, nodes: [0.1, 0.1000000000001]}}", "nodes 0.1 and 0.1000000000001 are the same in six digits"),
        ("{name: dis, parametrisation: {kind: neural, seed: 100000000000000000000000}}", "parametrisation.seed (line 1): must be at most 18446744"),
        ("{name: dis, parametrisation: {kind: neural, hidden: [1000000, 1000000]}}", "make 1,000,011,000,007 weights, each a parameter of the fit"),
    ],
)  # fmt: skip
def test_wrong_problem_is_explained(problem: str, expected: str) -> None:
    assert expected in message(f"problem: {problem}\nevents: {{simulate: {{num_events: 10}}}}\n")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("", "events: this key is missing."),
        ("events: {}", "events (line 2): needs at least 1 entries, got {}."),
        ("events: data.parquet", "events (line 2): must be a mapping, 'key: value', got 'data.parquet'."),
        ("events: {events: 3}", "events.events (line 2): must be a path, got 3."),
        ("events: {events: ''}", "events.events (line 2): must be a path, got ''."),
        ("events: {events: {path: ''}}", "events.events.path (line 2): must be a path, got ''."),
        (
            "events: {events: {pth: a.csv}}",
            "events.events.pth (line 2): unknown key. Did you mean 'path'? "
            "Known are path, tree, columns, weight, cuts, constants, not_finite, keep_inside, window_blocks.",
        ),
        ("events: {events: {columns: [x]}}", "events.events.path (line 2): this key is missing."),
        ("events: {simulate: {num_events: 0}}", "events.simulate.num_events (line 2): must be at least 1, got 0."),
        ("events: {simulate: {num_events: {events: 0}}}", "events.simulate.num_events.events (line 2): must be at least 1, got 0."),
        ("events: {simulate: {}, events: a.csv}", "events.events (line 2): unknown key."),
    ],
)
def test_wrong_events_are_explained(events: str, expected: str) -> None:
    assert expected in message(f"problem: {{name: proxy2d}}\n{events}\n")


def test_steps_that_no_fit_would_see_the_end_of_are_refused() -> None:
    assert f"solve.steps (line 3): must be at most 1000000000000, got {'1' * 77}..." in message(BASE + f"solve: {{steps: {'1' * 4000}}}\n")


def test_all_errors_of_a_runcard_come_at_once_in_the_order_of_its_lines() -> None:
    text = message(BASE + "solve: {steps: 0}\nmisc: 1\nmethod:\n  loss: wgan\n  num_events: x\n")
    assert [line.split(":")[0] for line in text.splitlines()] == [
        "'the runcard' has 4 errors", "- solve.steps (line 3)", "- misc (line 4)", "- method.loss (line 6)", "- method.num_events (line 7)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [("\n", "is empty"), ("- 1\n- 2\n", "holds list, not a mapping"), ("just\ntext\n", "holds str, not")]
)
def test_what_is_no_mapping_is_no_runcard(text: str, expected: str) -> None:
    assert expected in message(text)


def test_missing_file_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "proxy.yaml").write_text(BASE)
    with pytest.raises(SettingsError, match=r"there is no '.*prxy.yaml'.*Did you mean 'proxy.yaml'\?"):
        load_runcard(tmp_path / "prxy.yaml")
    with pytest.raises(SettingsError, match=r"is a directory, not a runcard. Name one of its files: \['proxy.yaml'\]"):
        load_runcard(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"cannot read '.*binary.yaml'"):
        load_runcard(tmp_path / "binary.yaml")


def test_overrides_replace_settings_and_are_read_as_yaml() -> None:
    card = load_runcard(
        BASE, ["solve.steps=1e2", "method.rates=off", "method.generator.hidden=[8, 4]", "run.path=runs/a b", "problem.luminosity="]
    )
    assert (card.solve.steps, card.method.rates, card.method.generator.hidden, str(card.run.path)) == (100, "off", (8, 4), "runs/a b")


def test_overrides_reach_into_lists() -> None:
    text = "problem: {name: proxy2d, detector: [{kind: smearing, column: x, absolute: 0.1}]}\nevents: {simulate: {}}\n"
    (stage,) = load_runcard(text, ["problem.detector.0.absolute=0.2"]).problem.detector  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(stage, SmearingSection)
    assert stage.absolute == 0.2
    assert "'problem.detector' is a list of 1 entries, counted from 0; '1' is none of them" in message(
        text, "problem.detector.1.absolute=0.2"
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("solve.steps", "'solve.steps' is not an override. Write key=value"),
        ("=3", "'=3' is not an override"),
        ("solve..steps=3", "is not an override"),
        ("solve.stps=3", "solve.stps (--set): unknown key. Did you mean 'steps'?"),
        ("solve.steps=0", "solve.steps (--set): must be at least 1, got 0."),
        ("solve.steps=[1", "'solve.steps=[1' is not YAML"),
        ("problem.name.x=1", "'problem.name' is 'proxy2d' in the runcard, not a mapping with a key 'x'"),
    ],
)
def test_bad_override_is_named(override: str, expected: str) -> None:
    assert expected in message(BASE, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("solve.device=gpu", r"'gpu' is not one of 'auto', 'cpu', 'cuda'. Did you mean 'cuda'\?"),
        ("method.discriminator.hidden=[-3]", "must be at least 1, got -3"),
        ("method.generator.hidden=[8, 0]", "must be at least 1, got 0"),
    ],
)
def test_near_misses_are_answered_with_what_was_meant(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_runcard("problem: {name: proxy2d}\nevents: {simulate: {num_events: 5}}\n", [override])
