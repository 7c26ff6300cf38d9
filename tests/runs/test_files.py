"""Files that are complete or not there."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from unscatter.arrays import Events
from unscatter.errors import EventsFileError, RunError
from unscatter.events import write_events
from unscatter.files import as_json, atomic_write, missing_path, write_json, write_table, write_text
from unscatter.runs import RunDirectory


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs the rights of root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_write(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"half"


@pytest.mark.parametrize("failure", [ValueError("bug"), KeyboardInterrupt()])
def test_interrupted_write_leaves_the_old_file_and_no_other(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def interrupted() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            raise failure

    with pytest.raises(type(failure)):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_content_is_on_the_disk_before_the_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b))[1])
    write_text(tmp_path / "a.txt", "x")
    assert calls == ["fsync", "replace", "fsync"]


def test_full_disk_is_one_error_with_the_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write '.*a.txt': no space left \(.* MB free of .* MB"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_missing_directory_and_missing_rights_are_errors_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"mkdir -p .*new$"):
        write_text(tmp_path / "new" / "a.txt", "x")
    with pytest.raises(RunError, match=r"Choose a directory that you may write to|cannot write"):
        write_text("/proc/unscatter.txt", "x")


def test_full_disk_keeps_the_previous_checkpoint(small_disk: Path) -> None:
    run = RunDirectory.create(small_disk / "fit")
    run.save_checkpoint(1, {"w": torch.arange(10_000.0)}, {})
    with pytest.raises(RunError, match=r"step-000000002.safetensors': no space left \(.* MB free of 0.3 MB"):
        run.save_checkpoint(2, {"w": torch.zeros(1_000_000)}, {})
    assert [file.name for file in run.checkpoints.iterdir()] == ["step-000000001.safetensors"]
    assert torch.equal(run.load_checkpoint().tensors["w"], torch.arange(10_000.0))


def test_full_disk_leaves_complete_metrics_and_no_half_tables(small_disk: Path) -> None:
    run = RunDirectory.create(small_disk / "fit")

    def append_without_end() -> None:
        for step in range(10_000):
            run.append_metrics({"step": step, "history": "x" * 5000})

    with pytest.raises(RunError, match=r"metrics.jsonl': no space left"):
        append_without_end()
    records = run.read_metrics()
    assert [record["step"] for record in records] == list(range(len(records)))
    assert run.metrics.read_bytes().endswith(b"}\n")
    with pytest.raises(RunError, match="parquet': no space left"):
        run.write_table("big", {"x": np.random.default_rng(0).random(100_000)})
    with pytest.raises(EventsFileError, match="no space left"):
        write_events(Events(torch.rand(100_000, 2), ("x", "y")), small_disk / "events.npy")
    assert list(run.result.iterdir()) == []
    assert not list(small_disk.glob("*events*"))


def test_json_is_strict_and_holds_tensors_arrays_paths_and_dates(tmp_path: Path) -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    value = {
        "tensor": torch.tensor([[1.0, math.inf], [2.0, math.nan]]),
        "scalar": np.float32(0.5),
        "flag": np.bool_(True),
        "path": Path("a/b"),
        "when": when,
        "tuple": (1, "x"),
    }
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    back = json.loads(text, parse_constant=pytest.fail)
    assert back == {
        "tensor": [[1.0, None], [2.0, None]], "scalar": 0.5, "flag": True, "path": "a/b", "when": str(when), "tuple": [1, "x"],
    }  # fmt: skip
    with pytest.raises(TypeError, match=r"cannot write .* of type object"):
        as_json({"x": object()})


@pytest.mark.parametrize("by_row", [False, True])
def test_table_stands_in_parquet_and_json_alike(tmp_path: Path, by_row: bool) -> None:
    columns = {"name": ["p0", "p1"], "value": torch.tensor([0.5, math.nan], dtype=torch.float64), "steps": np.array([3, 4])}
    rows = [{name: column[i] for name, column in columns.items()} for i in range(2)]
    parquet, text = write_table(tmp_path / "parameters", rows if by_row else columns)
    table = pq.read_table(parquet)
    assert table.column_names == ["name", "value", "steps"]
    assert math.isnan(table["value"][1].as_py())
    assert json.loads(text.read_text()) == [{"name": "p0", "value": 0.5, "steps": 3}, {"name": "p1", "value": None, "steps": 4}]


def test_directory_of_the_system_is_not_said_to_be_missing() -> None:
    with pytest.raises(RunError, match="cannot write '/proc/fit': no file can be made in '/proc'") as caught:
        RunDirectory.create("/proc/fit")
    assert "mkdir" not in str(caught.value)


@pytest.mark.parametrize("line", ["5", "[1]", '{"loss": 1}', '{"step": "x"}'])
def test_metrics_without_a_step_are_damaged(tmp_path: Path, line: str) -> None:
    run = RunDirectory.create(tmp_path / "fit")
    run.metrics.write_text(f'{line}\n{{"step": 2}}\n')
    with pytest.raises(RunError, match="line 1 of '.*metrics.jsonl' is damaged"):
        run.read_metrics()


def test_what_is_there_is_not_said_to_be_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert missing_path(tmp_path) == f"'{tmp_path}' is a directory, not a file."
    assert missing_path(tmp_path / "file") == f"'{tmp_path / 'file'}' is a file, not a directory."
    assert missing_path(Path("/dev/null")) == "'/dev/null' is not an ordinary file."
    assert missing_path(tmp_path / "fiel").endswith("Did you mean 'file'?")
