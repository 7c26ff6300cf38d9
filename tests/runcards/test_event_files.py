"""Files of events in runcards: patterns, lists, formulas, cuts; and what a resume makes of them."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import uproot

from unscatter.errors import EventsFileError, RunError, SettingsError
from unscatter.events import read_events
from unscatter.runcards import json_schema, load_runcard, resume_run, start_run

TINY = """
problem: {name: proxy2d, nodes: 17}
events: {events: EVENTS}
method: {num_events: 64, discriminator: {hidden: [8]}}
solve: {steps: 6, max_rounds: 1, diagnose: false}
"""


def card(folder: Path, events: str) -> Path:
    (folder / "card.yaml").write_text(TINY.replace("EVENTS", events))
    return folder / "card.yaml"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for number in (2, 10):
        random = np.random.default_rng(number)
        with uproot.recreate(tmp_path / f"run{number}.root") as file:
            columns = {"a": random.uniform(0.1, 0.9, 200), "b": random.uniform(10, 90, 200), "n": np.arange(200.0)}
            file.mktree("events", dict.fromkeys(columns, "f8")).extend(columns)
            file.mktree("other", {"a": "f8"}).extend({"a": np.ones(3)})
    return tmp_path


FULL = (
    "{path: run*.root, tree: events, columns: {x: a, y: b / scale}, weight: 'where(n > 100, 2, 1)', cuts: [n >= 10, 0.1 < y < 0.8], "
    "constants: {scale: 100}, not_finite: drop}"
)


def test_pattern_tree_formulas_cuts_and_constants_are_read_as_the_runcard_says(runs: Path) -> None:
    path = card(runs, FULL)
    loaded = load_runcard(path)
    events = loaded.build().events["events"]
    files = [runs / f"run{number}.root" for number in (2, 10)]
    raw = [read_events(file, ["a", "b", "n"], tree="events", dtype=torch.float64).values for file in files]
    rows = [(a, b / 100, 1 + (n > 100)) for a, b, n in torch.cat(raw).tolist() if n >= 10 and 10 < b < 80]
    np.testing.assert_array_equal(events.values.numpy(), np.array([row[:2] for row in rows], np.float32))
    assert events.weights is not None
    assert events.weights.tolist() == [row[2] for row in rows]
    assert loaded.input_files() == {f"events.events.{i}": file for i, file in enumerate(files)}
    again = load_runcard(loaded.resolved).build().events["events"]
    assert again.values.equal(events.values)


def test_list_of_files_is_read_in_its_order(runs: Path) -> None:
    loaded = load_runcard(card(runs, "{path: [run10.root, run2.root], tree: events, columns: {x: a, y: b / 100}}"))
    assert list(loaded.input_files().values()) == [runs / "run10.root", runs / "run2.root"]
    assert loaded.build().events["events"].num_events == 400


def test_schema_knows_the_keys(runs: Path) -> None:
    import yaml

    for events in (FULL, "run*.root", "{path: [run2.root, run10.root]}"):
        jsonschema.validate(yaml.safe_load(card(runs, events).read_text()), json_schema())


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ("{path: []}", r"path \(line 3\): needs at least 1 entries"),
        ("{path: [3]}", r"path.0 \(line 3\): must be a path, got 3"),
        ("{path: run2.root, not_finite: skip}", r"not_finite \(line 3\): 'skip' is not one of 'fail', 'drop'"),
        ("{path: run2.root, cuts: a > 1}", r"cuts \(line 3\): must be a list, got 'a > 1'"),
        ("{path: run2.root, constants: {s: big}}", r"constants.s \(line 3\): must be a number, got 'big'"),
    ],
)
def test_wrong_keys_are_explained_with_their_line(runs: Path, events: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_runcard(card(runs, events))


def test_urls_stay_urls(tmp_path: Path) -> None:
    loaded = load_runcard(card(tmp_path, "{path: ['https://example.org//a/run*.root?x=1', b.root]}"))
    assert loaded.input_sources()["events.events"] == ("https://example.org//a/run*.root?x=1", tmp_path / "b.root")
    assert "https://example.org//a/run*.root?x=1" in loaded.resolved


def test_channels_may_share_a_file_only_for_other_trees_or_cuts(runs: Path) -> None:
    def text(proton: str, neutron: str) -> str:
        columns = "tree: events, columns: {x: a}"
        problem = "problem: {name: proxy1d, nodes: 33}"
        return f"{problem}\nevents:\n  proton: {{path: {proton}, {columns}}}\n  neutron: {{path: {neutron}, {columns}}}\n"

    (runs / "a.yaml").write_text(text("run*.root", "run2.root"))
    with pytest.raises(SettingsError, match=r"'events.proton' and 'events.neutron' are the same file, '.*run2.root'"):
        load_runcard(runs / "a.yaml").build()
    (runs / "b.yaml").write_text(text("run2.root, cuts: [n < 50]", "run2.root, cuts: [n >= 50]"))
    assert {name: events.num_events for name, events in load_runcard(runs / "b.yaml").build().events.items()} == {
        "proton": 50,
        "neutron": 150,
    }


@pytest.mark.parametrize(
    ("proton", "neutron", "message"),
    [
        ("run2.root", "soft.root", r"are the same file, '.*run2.root', which is '.*soft.root', too: channels are independent"),
        ("run2.root", "hard.root", r"are the same file, '.*run2.root', which is '.*hard.root', too"),
        ("run2.root, cuts: [n<50]", "run2.root, cuts: ['50 > n']", "are the same file"),
        ("run2.root, tree: events", "run2.root, tree: null", "are the same file"),
        ("run2.root", "run2.root, cuts: [n<50]", "cuts of 'events.neutron' keep a part of what 'events.proton' reads of the same file, '"),
        ("run2.root, cuts: [n<50, a>0]", "soft.root, cuts: ['0<a']", "cuts of 'events.proton' keep a part of what 'events.neutron' reads"),
    ],
)
def test_channels_that_certainly_share_events_are_refused(runs: Path, proton: str, neutron: str, message: str) -> None:
    (runs / "soft.root").symlink_to(runs / "run2.root")
    (runs / "hard.root").hardlink_to(runs / "run2.root")
    events = "".join(f"  {name}: {{path: {text}, columns: {{x: a}}}}\n" for name, text in (("proton", proton), ("neutron", neutron)))
    (runs / "a.yaml").write_text(f"problem: {{name: proxy1d, nodes: 33}}\nevents:\n{events}")
    with pytest.raises(SettingsError, match=message):
        load_runcard(runs / "a.yaml").build()


@pytest.mark.parametrize("neutron", ["cuts: [a > s], constants: {s: 0.2}", "cuts: [x > 0.5], columns: {x: b}"])
def test_channels_whose_cuts_differ_in_their_constants_or_columns_may_share_a_file(runs: Path, neutron: str) -> None:
    proton = neutron.replace("0.2", "0.1").replace("x: b", "x: a")
    columns = {name: "" if "columns" in text else ", columns: {x: a}" for name, text in (("proton", proton), ("neutron", neutron))}
    (runs / "a.yaml").write_text(
        f"problem: {{name: proxy1d, nodes: 33}}\nevents:\n  proton: {{path: run2.root, {proton}{columns['proton']}}}\n"
        f"  neutron: {{path: run2.root, {neutron}{columns['neutron']}}}\n"
    )
    assert set(load_runcard(runs / "a.yaml").input_sources()) == {"events.proton", "events.neutron"}


def test_pattern_that_finds_nothing_is_an_error(runs: Path) -> None:
    with pytest.raises(EventsFileError, match=r"nothing\*.root' matches no file"):
        load_runcard(card(runs, "{path: nothing*.root, columns: {x: a, y: b}}")).build()


def test_resume_notices_files_that_have_changed_and_files_that_are_new(runs: Path) -> None:
    path = runs / "fit"
    start_run(load_runcard(card(runs, FULL)), path=path)
    (path / "result" / "summary.json").unlink()
    resume_run(path)
    (path / "result" / "summary.json").unlink()
    (runs / "run3.root").write_bytes((runs / "run2.root").read_bytes())
    with pytest.raises(RunError, match=r"started with the files of events \['events.events.0', 'events.events.1'\], and now there are"):
        resume_run(path)
    (runs / "run3.root").unlink()
    original = (runs / "run10.root").read_bytes()
    (runs / "run10.root").write_bytes((runs / "run2.root").read_bytes())
    with pytest.raises(RunError, match=r"run10.root' \(events.events.1\) has changed since the run"):
        resume_run(path)
    (runs / "run10.root").write_bytes(original)
    resolved = path / "resolved.yaml"
    (path / "result" / "summary.json").unlink(missing_ok=True)
    (runs / "moved").mkdir()
    for number in (2, 10):
        (runs / f"run{number}.root").rename(runs / "moved" / f"run{number}.root")
    resolved.write_text(resolved.read_text().replace(f"{runs}/run", f"{runs}/moved/run"))
    resume_run(path)
    (path / "result" / "summary.json").unlink()
    resolved.write_text(resolved.read_text().replace("scale: 100", "scale: 101"))
    with pytest.raises(RunError, match=r"'events.events.constants.scale' was 100.0 and is 101"):
        resume_run(path)
