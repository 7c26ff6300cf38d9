from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from unscatter.errors import TableError
from unscatter.theories.dis.storage import SHIPPED, load_tables, save_tables, table_facts


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "copy.npz"
    path.write_bytes(Path(table_facts("lo")["path"]).read_bytes())
    return path


def rewrite(path: Path, **changes: object) -> None:
    """Change the header and leave everything else as it is."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays.pop("header").tobytes()) | changes
    np.savez(path, allow_pickle=False, header=np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8), **arrays)


def test_shipped_tables_are_small_and_say_what_they_are() -> None:
    facts = [table_facts(name) for name in SHIPPED]
    assert [fact["settings"]["order"] for fact in facts] == ["LO", "NLO", "NNLO"]
    assert [fact["settings"]["alpha_s_MZ"] for fact in facts] == [0.130, 0.118, 0.118]
    assert all(fact["engine"].startswith("hoppet") for fact in facts)
    sizes = [fact["size"] for fact in facts]
    assert max(sizes) <= 2.5e6
    assert sum(sizes) <= 6e6


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    tables = load_tables("lo")
    save_tables(tables, tmp_path / "again.npz")
    again = load_tables(tmp_path / "again.npz")
    assert (again.settings, again.engine) == (tables.settings, tables.engine)
    assert all(torch.equal(again.kernels[name], kernel) for name, kernel in tables.kernels.items())
    assert table_facts(tmp_path / "again.npz")["checksum"] == table_facts("lo")["checksum"]


@pytest.mark.parametrize("where", [0.2, 0.5, 0.999])
def test_a_file_cut_short_is_refused(copy: Path, where: float) -> None:
    content = copy.read_bytes()
    copy.write_bytes(content[: int(where * len(content))])
    with pytest.raises(TableError, match="cannot be read as a theory table.*unscatter tables build"):
        load_tables(copy)


def test_a_flipped_bit_is_noticed(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    with pytest.raises(TableError, match="cannot be read as a theory table"):
        load_tables(copy)


def test_changed_settings_do_not_match_the_checksum(copy: Path) -> None:
    rewrite(copy, settings=table_facts(copy)["settings"] | {"alpha_s_MZ": 0.118})
    with pytest.raises(TableError, match="checksum does not match"):
        load_tables(copy)


def test_changed_numbers_do_not_match_the_checksum(copy: Path) -> None:
    with np.load(copy) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["alpha_s/4"] = arrays["alpha_s/4"] * np.float32(1.001)
    np.savez(copy, allow_pickle=False, **arrays)
    with pytest.raises(TableError, match="checksum does not match"):
        load_tables(copy)


def test_another_version_is_refused(copy: Path) -> None:
    rewrite(copy, version=2)
    with pytest.raises(TableError, match="format version 2, and this unscatter reads 1. Build it: unscatter tables build"):
        load_tables(copy)


def test_another_file_is_refused(tmp_path: Path) -> None:
    text, numbers = tmp_path / "text.npz", tmp_path / "numbers.npz"
    text.write_text("not a table")
    np.savez(numbers, allow_pickle=False, x=np.zeros(3))
    for path in (text, numbers):
        with pytest.raises(TableError, match="cannot be read as a theory table"):
            load_tables(path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, header=np.array([{"format": "anything"}], dtype=object))
    with pytest.raises(TableError, match="cannot be read as a theory table"):
        load_tables(path)


def test_a_missing_file_is_answered_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="Tables in the package are lo, nlo, nnlo"):
        load_tables(tmp_path / "none.npz")
    with pytest.raises(TableError, match="there is no 'NLO'"):
        load_tables("NLO")
