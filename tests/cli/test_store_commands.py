from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from unscatter.cli.app import app
from unscatter.cli.codes import ExitCode
from unscatter.events.store import EventStore

WIDTH = 60


def call(*arguments: str | Path) -> Result:
    environment = {"COLUMNS": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1"}
    return CliRunner().invoke(app, [*map(str, arguments)], env=environment, prog_name="unscatter")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    for number in (1, 2):
        Q2 = rng.uniform(1, 100, 500)
        table = {"Q2": Q2, "y": rng.uniform(0.01, 0.9, 500), "weight": rng.uniform(size=500)}
        pq.write_table(pa.table(table), tmp_path / f"run{number}.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_ingest_makes_a_store_and_says_how_a_runcard_names_it(folder: Path) -> None:
    result = call(
        "ingest", "run*.parquet", "-o", "proton", "--columns", "x=Q2/(s*minimum(y, 1)),Q2", "--weight", "weight", "--constant", "s=98596",
        "--cut", "Q2 > 10", "--cut", "y < 0.8", "--unit", "Q2=GeV^2",
    )  # fmt: skip
    assert result.exit_code == ExitCode.FINE, result.output
    store = EventStore.open("proton")
    assert f"proton: {store.num_rows:,} events, columns x, Q2 and weights\n" in result.output
    assert f"CHANNEL: {folder / 'proton'}" in result.output.replace("\n", "")
    assert store.columns == ("x", "Q2")
    assert store.manifest.summary("Q2").unit == "GeV^2"
    assert store.manifest.recipe["cuts"] == ["Q2 > 10", "y < 0.8"]
    assert store.manifest.recipe["constants"] == {"s": 98596}
    assert store.manifest.summary("Q2").min > 10


def test_inspect_shows_a_store_in_a_narrow_terminal(folder: Path) -> None:
    assert call("ingest", "run1.parquet", "run2.parquet", "-o", "store", "--cut", "Q2 > 50", "--unit", "Q2=GeV^2", "-q").output == ""
    result = call("inspect", "store")
    assert result.exit_code == ExitCode.FINE
    rows = EventStore.open("store").num_rows
    assert f"{rows:,} events, float32, " in result.output
    for text in ("GeV^2", "run2.parquet", f"{1000 - rows:,}", "cuts: Q2 > 50", "order of the"):
        assert text in result.output
    assert max(map(len, result.output.splitlines())) <= WIDTH


def test_inspect_tells_that_rows_are_sorted(folder: Path) -> None:
    pq.write_table(pa.table({"t": np.arange(300_000.0)}), "sorted.parquet")
    call("ingest", "sorted.parquet", "-o", "store")
    assert "which is not random: the mean of 't' varies" in call("inspect", "store").output.replace("\n", " ")
    call("ingest", "sorted.parquet", "-o", "shuffled", "--shuffle", "4")
    assert "rows shuffled with seed 4" in " ".join(call("inspect", "shuffled").output.split())


def test_verify_tells_where_a_store_is_damaged(folder: Path) -> None:
    call("ingest", "run1.parquet", "-o", "store")
    result = call("inspect", "store", "--verify")
    assert result.exit_code == ExitCode.FINE
    assert "are as they were written" in result.output
    path = folder / "store" / "shards" / "00000.arrow"
    data = bytearray(path.read_bytes())
    data[EventStore.open("store").manifest.layout.body(0) + 9] ^= 4
    path.write_bytes(data)
    result = call("inspect", "store", "--verify")
    assert result.exit_code == ExitCode.NOT_GOOD_ENOUGH
    text = result.output.replace("\n", " ")
    assert "Damaged, 1 problem: - block 0 of the shard 'store/shards/00000.arrow' (rows 0 to 499 of the store) is damaged" in text
    path.unlink()
    assert call("inspect", "store").exit_code == ExitCode.BAD_INPUT
    assert "is missing" in call("inspect", "store", "--verify").output


def test_json_is_for_programs(folder: Path) -> None:
    call("ingest", "run1.parquet", "-o", "store")
    facts = json.loads(call("inspect", "store", "--verify", "--json").stdout)
    assert (facts["num_rows"], facts["verification"]["ok"], facts["sources"][0]["rows_read"]) == (500, True, 500)
    facts = json.loads(call("inspect", "run*.parquet", "--json").stdout)
    assert [file["rows"] for file in facts["files"]] == [500, 500]
    assert facts["columns"] == {"Q2": "float64", "y": "float64", "weight": "float64"}


def test_inspect_shows_plain_files(folder: Path) -> None:
    result = call("inspect", "run1.parquet")
    assert result.exit_code == ExitCode.FINE
    assert "run1.parquet: 500 rows" in result.output
    assert "weight   float64" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ingest", "run3.parquet", "-o", "new"), "Did you mean 'run"),
        (("ingest", "run9*.parquet", "-o", "new"), "matches no file"),
        (("ingest", "run1.parquet", "-o", "run2.parquet"), "exists already, and nothing is written over"),
        (("ingest", "run1.parquet", "-o", "new", "--columns", "z"), "there is no column 'z'"),
        (("ingest", "run1.parquet", "-o", "new", "--columns", "a,=b"), "'--columns =b' is not NAME or NAME=FORMULA"),
        (("ingest", "run1.parquet", "-o", "new", "--columns", "y,y"), "'--columns' names 'y' twice"),
        (("ingest", "run1.parquet", "-o", "new", "--constant", "s"), "'--constant s' is not NAME=VALUE"),
        (("ingest", "run1.parquet", "-o", "new", "--constant", "s=many"), "'--constant s=many' is not a number"),
        (("ingest", "run1.parquet", "-o", "new", "--constant", "s=1", "--constant", "s=2"), "'--constant' gives 's' twice: 1 and 2"),
        (("ingest", "run1.parquet", "-o", "new", "--unit", "y=1", "--unit", "y=m"), "'--unit' gives 'y' twice: 1 and m"),
        (("ingest", "run1.parquet", "-o", "new", "--unit", "q2=GeV^2"), "the unit of 'q2' is given, but the store would have the columns"),
        (("ingest", "run1.parquet", "-o", "new", "--cut", "__import__('os')"), "there is no function '__import__'"),
        (("ingest", "run1.parquet", "-o", "new", "--cut", r"\[/x]"), r"'\[/x]' is not a formula"),
        (("ingest", "run1.parquet", "-o", "new", "--columns", "q=pi"), "'pi' names no column of"),
        (("ingest", "run1.parquet", "-o", "new", "--weight", "y*0"), "all weights 'y*0' are zero as float32"),
        (("ingest", "run1.parquet", "-o", "new", "--shuffle", f"{10**23}"), f"from 0 to {2**64 - 1} (64 bits), got 1{'0' * 23}"),
        (("ingest", "run1.parquet", "-o", "n" * 300), "the name is too long. Choose a shorter one"),
        (("ingest", "run1.parquet", "-o", "n" * 250), ".partial': the name is too long. Choose a shorter one"),
        (("inspect", "n" * 300), "there is no 'nnnn"),
        (("ingest", "run1.parquet", "-o", "new", "--cut", "y > 7"), "no events are left: of 500 rows 500 were cut"),
        (("ingest", "run1.parquet", "-o", "new", "--tree", "events"), "has no trees"),
        (("inspect", "stor"), "there is no 'stor'"),
        (("inspect", "run1.parquet", "--verify"), "only stores have checksums"),
    ],
)
def test_mistakes_are_answered_in_words_and_leave_nothing(arguments: tuple[str, ...], message: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = call(*arguments)
    assert result.exit_code == ExitCode.BAD_INPUT, result.output
    assert message in result.stderr.replace("\n", " ")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["/", ".", "/dev/null", "full", "run1.parquet", "loop"])
def test_nothing_but_a_store_is_ever_proposed_for_removal(name: str, folder: Path) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "thesis.tex").touch()
    (folder / "loop").symlink_to("loop")
    error = call("ingest", "run1.parquet", "-o", name).stderr
    assert "exists already, and nothing is written over.\nChoose another name.\n" in error
    assert call("ingest", "run1.parquet", "-o", "store", "-q").exit_code == ExitCode.FINE
    assert "Choose another name, or remove it: rm -r store\n" in call("ingest", "run1.parquet", "-o", "store").stderr


@pytest.mark.parametrize("name", ["a store", "it's", "$(date)"])
def test_lines_to_type_are_such_that_a_shell_takes_them(name: str, folder: Path) -> None:
    assert call("ingest", "run1.parquet", "-o", name, "-q").exit_code == ExitCode.FINE
    said = call("ingest", "run1.parquet", "-o", name).stderr
    assert shlex.split(said.split("remove it: ")[1]) == ["rm", "-r", name]
    said = call("ingest", "run1.parquet", "-o", f"{name}/no such/store").stderr
    assert shlex.split(said.split("Make it first: ")[1]) == ["mkdir", "-p", f"{name}/no such"]


@pytest.mark.parametrize("path", ["", ".", "/", "..", "inner/.."])
def test_paths_without_a_name_are_told_about_as_others_are(path: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "full" / "inner").mkdir(parents=True)
    monkeypatch.chdir(folder / "full")
    message = f"'{path}' is not an event store" if path else "the path is empty"
    result = call("inspect", path, "--verify")
    assert result.exit_code == ExitCode.BAD_INPUT, result.output
    assert message in result.stderr


def test_a_store_that_is_the_working_directory_and_lacks_its_manifest_is_told_about(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("ingest", "run1.parquet", "-o", "store", "-q").exit_code == ExitCode.FINE
    (folder / "store" / "manifest.json").unlink()
    monkeypatch.chdir("store")
    result = call("inspect", ".")
    assert result.exit_code == ExitCode.BAD_INPUT, result.output
    assert f"unscatter ingest SOURCES -o {folder / 'store-new'}" in result.stderr.replace("\n", " ")


def test_names_that_look_like_markup_are_shown_as_they_are(folder: Path) -> None:
    pq.write_table(pa.table({"[/x]": [1.0], "a[b]": [2.0]}), "[bold].parquet")
    assert call("ingest", "[[]bold].parquet", "-o", "store", "--unit", "a[b]=[/m]").exit_code == ExitCode.FINE
    for name in ("store", "[bold].parquet"):
        shown = call("inspect", name)
        assert shown.exit_code == ExitCode.FINE
        for text in ("[/x]", "a[b]", "[bold].parquet", *(["[/m]"] if name == "store" else [])):
            assert text in shown.output


def test_rows_that_are_not_finite_are_dropped_on_demand_and_counted(folder: Path) -> None:
    pq.write_table(pa.table({"x": [1.0, np.nan, 3.0, 4.0]}), "holes.parquet")
    refused = call("ingest", "holes.parquet", "-o", "store")
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "Column 'x' has 1, the first in row 1: nan" in refused.stderr
    assert "--not-finite drop" in refused.stderr
    assert call("ingest", "holes.parquet", "-o", "store", "--not-finite", "drop").exit_code == ExitCode.FINE
    assert EventStore.open("store").manifest.sources[0].rows_dropped == 1


def _heed_interrupts() -> None:
    """Tests that a shell has put into the background ignore them, and what they start would, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_says_how_to_go_on(folder: Path) -> None:
    """A source that takes long, and a formula that takes seconds for so many rows."""
    lines = "".join(f"{row},{row / 7}\n" for row in range(300_000))
    (folder / "long.csv").write_text("x,y\n" + lines * 10)
    cut = "sin(" * 20 + "x" + ")" * 20 + " < 2"
    command = [sys.executable, "-m", "unscatter.cli", "ingest", "long.csv", "-o", "store", "--cut", cut]
    environ = {**os.environ, "COLUMNS": "200"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder, env=environ, preexec_fn=_heed_interrupts)
    deadline = time.monotonic() + 60
    while not list(folder.glob("store.partial/journal*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, errors
    assert "Note: the same command goes on where it stopped. To give it up: rm -r store.partial\n" in errors
    assert call("ingest", "long.csv", "-o", "store", "--cut", cut).exit_code == ExitCode.FINE
    assert EventStore.open("store").num_rows == 3_000_000


@pytest.mark.parametrize("command", ["ingest", "inspect"])
def test_help_fits_a_narrow_terminal(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == ExitCode.FINE
    assert max(map(len, result.output.splitlines())) <= WIDTH
