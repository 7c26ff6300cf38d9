"""What ``unscatter inspect`` shows of stores and of files of events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unscatter.events.formats import open_events
from unscatter.events.locations import find_files
from unscatter.events.store import Verification, read_manifest
from unscatter.files import as_json

#: Sources and files in a table; all of them are in the output of ``--json``.
MAX_FILES = 8


def store_facts(path: str | Path, checked: Verification | None) -> dict[str, Any]:
    """Everything that is known about a store; of its shards without the checksums of their blocks."""
    manifest = read_manifest(Path(path))
    facts = as_json({field: getattr(manifest, field) for field in manifest.__dataclass_fields__})
    shards = [{name: value for name, value in shard.items() if name != "blocks"} for shard in facts.pop("shards")]
    facts = {"store": str(path), **facts, "bytes": sum(shard["bytes"] for shard in shards), "shards": shards}
    facts["blocks"] = -(-manifest.num_rows // manifest.rows_per_block)
    if checked is not None:
        facts["verification"] = {"ok": checked.ok, "bytes": checked.num_bytes, "problems": list(checked.problems)}
    return facts


def store_view(facts: Mapping[str, Any]) -> RenderableType:
    """A store on the terminal."""
    size, shards = _size(facts["bytes"]), len(facts["shards"])
    head = Text(facts["store"], style="bold", overflow="fold").append(
        f"\n{facts['num_rows']:,} events, {facts['dtype']}, {size} in {shards} {'shard' if shards == 1 else 'shards'}", style="not bold"
    )
    parts: list[RenderableType] = [head, _columns(facts), *_sources(facts), *(Text(line) for line in _remarks(facts))]
    return Group(*parts)


def _columns(facts: Mapping[str, Any]) -> Table:
    has_units = any(column["unit"] for column in facts["columns"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("column", overflow="fold")
    for heading in (*(["unit"] if has_units else []), "min", "max", "mean", "std"):
        table.add_column(heading, justify="left" if heading == "unit" else "right", no_wrap=heading != "unit", overflow="fold")
    for column in facts["columns"]:
        numbers = [f"{column[quantity]:.4g}" for quantity in ("min", "max", "mean", "std")]
        name = f"{column['name']} (weights)" if column["name"] == facts["weight"] != "weight" else column["name"]
        table.add_row(Text(name), *([Text(column["unit"])] if has_units else []), *numbers)
    return table


def _sources(facts: Mapping[str, Any]) -> Iterator[RenderableType]:
    sources = facts["sources"]
    if not sources:
        return
    lost = [name for name in ("cut", "dropped") if any(source[f"rows_{name}"] for source in sources)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("source", overflow="fold")
    for heading in ("rows", *lost):
        table.add_column(heading, justify="right", no_wrap=True)
    for source in sources[:MAX_FILES]:
        table.add_row(Text(_name(source["location"])), f"{source['rows_read']:,}", *(f"{source[f'rows_{name}']:,}" for name in lost))
    if len(sources) > 1:
        more = f"and {len(sources) - MAX_FILES} more; " if len(sources) > MAX_FILES else ""
        totals = [sum(source[f"rows_{name}"] for source in sources) for name in ("read", *lost)]
        table.add_section()
        table.add_row(f"{more}all", *(f"{total:,}" for total in totals))
    yield table


def _remarks(facts: Mapping[str, Any]) -> Iterator[str]:
    version = facts["versions"].get("unscatter", "unknown")
    yield f"Made {facts['created'][:10]} by unscatter {version}, {_order(facts)}."
    recipe = facts["recipe"]
    for name in ("columns", "weight", "cuts", "constants"):
        if recipe.get(name):
            yield f"{name}: {_plain(recipe[name])}"
    yield from _verdict(facts)


def _order(facts: Mapping[str, Any]) -> str:
    if facts["shuffle"] is not None:
        return f"rows shuffled with seed {facts['shuffle']}"
    known = {column["name"]: column["order"] for column in facts["columns"] if column["order"] is not None}
    if not known:
        return "rows in the order of the sources"
    name = max(known, key=lambda name: known[name])
    # The spread of block means fluctuates about 1 by this much where rows are in random order.
    if known[name] <= 1 + 6 * math.sqrt(2 / (facts["blocks"] - 1)):
        return "rows in the order of the sources, which looks random"
    times = f"{math.sqrt(known[name]):.3g}"
    return f"rows in the order of the sources, which is not random: the mean of '{name}' varies {times} times as much as by chance"


def _verdict(facts: Mapping[str, Any]) -> Iterator[str]:
    checked = facts.get("verification")
    if checked is None:
        return
    if checked["ok"]:
        yield f"Verified: all {_size(checked['bytes'])} are as they were written."
        return
    yield f"Damaged, {len(checked['problems'])} {'problem' if len(checked['problems']) == 1 else 'problems'}:"
    yield from (f"- {problem}" for problem in checked["problems"])
    yield "Copy these files again from where the store came from, or make the store anew: unscatter ingest"


def file_facts(path: str, tree: str | None) -> dict[str, Any]:
    """Columns and rows of files of events, which a pattern or directory may stand for."""
    files, columns = [], {}
    for location in find_files(path):
        with open_events(location, tree=tree) as reader:
            columns = columns or {name: "not a number" if dtype.kind == "O" else str(dtype) for name, dtype in reader.columns().items()}
            files.append({"location": location, "rows": reader.num_rows()})
    return {"files": files, "columns": columns}


def file_view(facts: Mapping[str, Any]) -> RenderableType:
    """Files of events on the terminal."""
    files = facts["files"]
    lines = [f"{file['location']}: {_rows(file['rows'])}" for file in files[:MAX_FILES]]
    if len(files) > MAX_FILES:
        lines.append(f"and {len(files) - MAX_FILES} more")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("column", overflow="fold")
    table.add_column("type")
    for name, dtype in facts["columns"].items():
        table.add_row(Text(name), dtype)
    return Group(Text("\n".join(lines), overflow="fold"), table)


def _rows(rows: int | None) -> str:
    return "an unknown number of rows" if rows is None else f"{rows:,} {'row' if rows == 1 else 'rows'}"


def _name(location: str) -> str:
    return location.rpartition("/")[2] or location


def _size(num_bytes: int) -> str:
    """Bytes in words.

    Example:
        >>> _size(1_600_000_000), _size(12_345), _size(12)
        ('1.6 GB', '12.3 kB', '12 bytes')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes} bytes"


def _plain(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(str(name) if name == item else f"{name} = {item}" for name, item in value.items())
        case list():
            return ", ".join(map(str, value))
    return str(value)
