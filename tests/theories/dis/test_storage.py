from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unscatter.errors import TableError
from unscatter.theories.dis import storage
from unscatter.theories.dis.settings import TableSettings
from unscatter.theories.dis.storage import SHIPPED, load_tables, save_tables, table_facts
from unscatter.theories.dis.tables import DisTables, kernel_shapes


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "copy.npz"
    path.write_bytes(Path(table_facts("lo")["path"]).read_bytes())
    return path


@pytest.fixture(scope="module")
def small() -> DisTables:
    """A table of the right form; its numbers do not matter."""
    settings = TableSettings(order="LO", x_min=1e-3, num_x_nodes=12, num_Q_nodes=(4, 5))
    return DisTables(settings, {name: torch.rand(shape, dtype=torch.float64) for name, shape in kernel_shapes(settings).items()}, "nobody")


def with_checksum(path: Path, header: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Write whatever it is as :func:`save_tables` would have."""
    header = header | {"checksum": storage._checksum(header, arrays)} if isinstance(header, dict) else header
    np.savez(path, allow_pickle=False, header=np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8), **arrays)


def content(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(arrays.pop("header").tobytes()), arrays


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


@pytest.mark.parametrize("where", [*range(0, 400, 7), 94, 199, *range(-400, 0, 7)])
def test_no_flipped_bit_escapes_as_another_error(small: DisTables, tmp_path: Path, where: int) -> None:
    path = tmp_path / "small.npz"
    save_tables(small, path)
    damaged = bytearray(path.read_bytes())
    damaged[where] ^= 4
    path.write_bytes(damaged)
    # Bits that nobody reads, as those of the time, do not matter.
    with suppress(TableError):
        assert torch.equal(load_tables(path).kernels["alpha_s/4"], small.kernels["alpha_s/4"].float().double())


def test_shipped_tables_have_all_kernels_and_no_others() -> None:
    for name in SHIPPED:
        tables = load_tables(name)
        assert {key: tuple(kernel.shape) for key, kernel in tables.kernels.items()} == kernel_shapes(tables.settings)


WITHOUT = object()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("settings", WITHOUT, "its settings are not given by name, but as None"),
        ("settings", [1, 2], r"but as \[1, 2\]"),
        ("settings", {}, "its settings lack .*'num_x_nodes'"),
        ("engine", WITHOUT, "what computed it, but None"),
        ("settings.num_x_nodes", 13, r"'alpha_s/4'|'evolution/4/plus' must be numbers of the shape \(4, 13, 13\)"),
        ("settings.order", "NLO", "kernels are missing, such as 'evolution/4/minus'"),
        ("settings.colour", 3, "there is no setting 'colour'"),
        ("settings.charm_mass_GeV", 1e-300, "'charm_mass_GeV' must lie between"),
        ("version", "1", "is of format version '1', and this unscatter reads 1"),
        ("version", True, "is of format version True"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_however_right_its_checksum(
    small: DisTables, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    path = tmp_path / "small.npz"
    save_tables(small, path)
    header, arrays = content(path)
    place, _, inner = key.partition(".")
    header |= {place: header[place] | {inner: value} if inner else value}
    with_checksum(path, {name: item for name, item in header.items() if item is not WITHOUT}, arrays)
    for read in (load_tables, table_facts):
        with pytest.raises(TableError, match=message):
            read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda kernel: None, "1 of 14 kernels are missing, such as 'evolution/5/plus'"),
        (lambda kernel: kernel[:-1], r"'evolution/5/plus' must be numbers of the shape \(5, 12, 12\) .* of the shape \(4, 12, 12\)"),
        (lambda kernel: kernel.astype(np.complex64), "but is complex64"),
        (lambda kernel: kernel * np.float32("nan"), "has values that are not finite"),
    ],
)
def test_kernels_that_do_not_fit_the_settings_are_refused(
    small: DisTables, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray | None], message: str
) -> None:
    path = tmp_path / "small.npz"
    save_tables(small, path)
    header, arrays = content(path)
    changed = change(arrays.pop("evolution/5/plus"))
    with_checksum(path, header, arrays if changed is None else arrays | {"evolution/5/plus": changed})
    with pytest.raises(TableError, match=message):
        load_tables(path)


@pytest.mark.parametrize("header", [3, [1, 2], None, "format"])
def test_a_header_that_is_no_mapping_is_refused(tmp_path: Path, header: Any) -> None:
    with_checksum(tmp_path / "odd.npz", header, {})
    with pytest.raises(TableError, match="something else than a header and arrays"):
        load_tables(tmp_path / "odd.npz")


def test_an_array_under_the_name_of_an_archive_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(TableError, match="it is not an archive of arrays"):
        load_tables(tmp_path / "array.npz")


@pytest.mark.parametrize(
    ("path", "message"), [(".", "is a directory, not"), ("", "is a directory"), ("/dev/null", "is not an ordinary file")]
)
def test_what_exists_and_is_no_file_is_not_called_missing(path: str, message: str) -> None:
    with pytest.raises(TableError, match=rf"(?s)^'{path or '.'}' {message}.*Tables in the package are lo"):
        load_tables(path)


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
    with pytest.raises(TableError, match="its content is damaged") as caught:
        load_tables(path)
    assert "allow_pickle" not in str(caught.value)


def test_a_missing_file_is_answered_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="Tables in the package are lo, nlo, nnlo"):
        load_tables(tmp_path / "none.npz")
    with pytest.raises(TableError, match="there is no 'NLO'"):
        load_tables("NLO")


def test_a_lack_of_memory_is_not_taken_for_damage(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr(storage.np, "load", exhausted)
    with pytest.raises(MemoryError, match="none left"):
        load_tables(copy)


def test_a_part_is_checked_before_the_shape_that_it_claims_is_believed(copy: Path) -> None:
    header, arrays = content(copy)
    np.savez(copy, allow_pickle=False, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)
    # The parts are not compressed, and the spaces behind a header leave room for more digits.
    said = f"{arrays['evolution/4/plus'].shape}, }}".encode()
    enormous = b"(99999999999999,), }"
    told = copy.read_bytes().replace(said + b" " * (len(enormous) - len(said)), enormous)
    assert enormous in told
    copy.write_bytes(told)
    with pytest.raises(TableError, match="cannot be read as a theory table"):
        load_tables(copy)
