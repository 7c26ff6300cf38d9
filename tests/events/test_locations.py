"""Which files are meant."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from unscatter.errors import EventsFileError
from unscatter.events.locations import find_files, identity, natural


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x\n1\n")


def names(folder: Path, found: list[str]) -> list[str]:
    return [str(Path(file).relative_to(folder)) for file in found]


def test_numbers_in_names_are_sorted_by_value() -> None:
    ordered = ["a", "run2.csv", "run2b.csv", "run10.csv", "run10/2.csv", "run10/11.csv"]
    assert sorted(random.Random(1).sample(ordered, len(ordered)), key=natural) == ordered


def test_patterns_and_lists_are_expanded_in_their_order(tmp_path: Path) -> None:
    make(tmp_path, "b1.csv", "a10.csv", "a9.csv", "deep/er/a1.csv", "a9.txt")
    assert names(tmp_path, find_files(tmp_path / "a*.csv")) == ["a9.csv", "a10.csv"]
    assert names(tmp_path, find_files([tmp_path / "b1.csv", str(tmp_path / "a*.csv")])) == ["b1.csv", "a9.csv", "a10.csv"]
    assert names(tmp_path, find_files(f"{tmp_path}/**/a*.csv")) == ["a9.csv", "a10.csv", "deep/er/a1.csv"]


def test_directory_stands_for_the_files_of_events_below_it(tmp_path: Path) -> None:
    make(tmp_path, "year=2024/part-2.parquet", "year=2023/part-1.parquet", "_metadata.parquet", ".hidden.parquet", "_SUCCESS", "notes.txt")
    assert names(tmp_path, find_files(tmp_path)) == ["year=2023/part-1.parquet", "year=2024/part-2.parquet"]


def test_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    make(tmp_path, "run[1].csv", "run1.csv")
    assert names(tmp_path, find_files(tmp_path / "run[1].csv")) == ["run[1].csv"]


def test_pattern_that_finds_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EventsFileError, match=r"'.*nothing\*.root' matches no file"):
        find_files(tmp_path / "nothing*.root")
    with pytest.raises(EventsFileError, match="no file of events is named"):
        find_files([])


def test_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a1.csv", "a2.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "a1.csv")
    with pytest.raises(EventsFileError, match=r"a2.csv' is named twice, by '.*a2.csv' and by '.*a\*.csv': its events would count double"):
        find_files([tmp_path / "a2.csv", tmp_path / "a*.csv"])
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "a1.csv")
    for link in ("link.csv", "hard.csv"):
        with pytest.raises(EventsFileError, match="named twice"):
            find_files([tmp_path / "a1.csv", tmp_path / link])


@pytest.mark.parametrize("target", ["a.csv", "gone.csv"])
def test_link_that_leads_nowhere_is_not_said_to_be_missing(tmp_path: Path, target: str) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / target)
    with pytest.raises(EventsFileError, match=rf"a.csv' is a link that leads nowhere: to '.*{target}'\.$"):
        find_files(tmp_path / "a.csv")
    with pytest.raises(EventsFileError, match="there is no '.*nnn' "):
        find_files("n" * 300)


def test_identity_tells_a_changed_file(tmp_path: Path) -> None:
    make(tmp_path, "a.csv")
    path = tmp_path / "a.csv"
    before = identity(path)
    assert identity(path) == before
    os.utime(path, ns=(0, 17))
    assert identity(path) != before
    with pytest.raises(EventsFileError, match="there is no"):
        identity(tmp_path / "b.csv")
