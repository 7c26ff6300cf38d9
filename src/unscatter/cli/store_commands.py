"""Commands about event stores: ``unscatter ingest`` and ``unscatter inspect``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unscatter.cli.codes import ExitCode
from unscatter.cli.messages import print_note
from unscatter.cli.notes import as_command
from unscatter.cli.store_tables import file_facts, file_view, store_facts, store_view
from unscatter.errors import SettingsError
from unscatter.events.recipe import Recipe
from unscatter.events.store import EventStore, Verification, is_store
from unscatter.events.store import Progress as IngestProgress
from unscatter.events.store import ingest as ingest_files
from unscatter.events.store import verify as verify_store
from unscatter.events.store.layout import partial_path
from unscatter.files import is_directory, quoted

#: A comma that is not inside brackets, as far as formulas nest them.
_COMMA = re.compile(r",(?![^(\[]*[)\]])")


@as_command
def ingest(
    sources: Sequence[str], output: Path, recipe: Recipe, *, tree: str | None, workers: int | None, shuffle: int | None, quiet: bool
) -> None:
    """Convert files of events to a store, with a bar in a terminal."""
    try:
        with _bar(quiet=quiet) as show:
            store = ingest_files(list(sources), output, recipe, tree=tree, workers=workers, shuffle=shuffle, progress=_as_rows(show))
    except KeyboardInterrupt:
        if partial_path(output).is_dir() and not quiet:
            print_note(f"the same command goes on where it stopped. To give it up: rm -r {quoted(partial_path(output))}")
        raise
    if not quiet:
        columns = ", ".join(store.columns) + (" and weights" if store.weighted else "")
        _print(f"{output}: {store.num_rows:,} events, columns {columns}")
        _print(f"For a runcard:\nevents:\n  CHANNEL: {output.absolute()}")


@as_command
def inspect(path: str, *, tree: str | None, verify: bool, as_json: bool, quiet: bool = False) -> ExitCode:
    """Show a store or a file of events."""
    if not path:
        raise SettingsError("the path is empty. Write for example: unscatter inspect events.parquet")
    if not (is_store(path) or _looks_like_store(path)):
        if verify:
            raise SettingsError(f"'{path}' is not an event store, and only stores have checksums: leave out --verify.")
        facts = file_facts(path, tree)
        _show(facts, file_view(facts), as_json=as_json)
        return ExitCode.FINE
    checked = _verified(path, quiet=quiet or as_json) if verify else None
    # A store that lacks a shard cannot be opened, but verification has said so already.
    facts = store_facts(path, checked) if checked and not checked.ok else store_facts(EventStore.open(path).path, checked)
    _show(facts, store_view(facts), as_json=as_json)
    return ExitCode.FINE if checked is None or checked.ok else ExitCode.NOT_GOOD_ENOUGH


def recipe_of(
    columns: Sequence[str],
    weight: str | None,
    cuts: Sequence[str],
    constants: Sequence[str],
    units: Sequence[str],
    not_finite: str,
    dtype: str,
) -> Recipe:
    """A recipe from the options of the command line.

    Raises:
        SettingsError: an option is not of its form, or impossible.
    """
    return Recipe(
        columns=_columns(columns), weight=weight, cuts=tuple(cuts),
        constants={name: _number(value, name) for name, value in _pairs(constants, "--constant", "s=98596").items()},
        units=_pairs(units, "--unit", "Q2=GeV^2"), not_finite=not_finite, dtype=dtype,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def _columns(texts: Sequence[str]) -> dict[str, str] | None:
    """``{our name: column or formula}`` from ``x,Q2,y=Q2/(s*x)``.

    Example:
        >>> _columns(["x,Q=sqrt(Q2)", "m=minimum(a, b)"])
        {'x': 'x', 'Q': 'sqrt(Q2)', 'm': 'minimum(a, b)'}
    """
    found: dict[str, str] = {}
    for part in (part.strip() for text in texts for part in _COMMA.split(text)):
        name, equals, formula = (word.strip() for word in part.partition("="))
        if not name or (equals and not formula):
            raise SettingsError(f"'--columns {part}' is not NAME or NAME=FORMULA. Write for example --columns 'x,Q=sqrt(Q2)'.")
        if name in found:
            raise SettingsError(f"'--columns' names '{name}' twice.")
        found[name] = formula or name
    return found or None


def _pairs(texts: Sequence[str], option: str, example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (word.strip() for word in text.partition("="))
        if not (name and equals and value):
            raise SettingsError(f"'{option} {text}' is not NAME=VALUE. Write for example {option} {example}.")
        if name in found:
            raise SettingsError(f"'{option}' gives '{name}' twice: {found[name]} and {value}.")
        found[name] = value
    return found


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(f"'--constant {name}={text}' is not a number.") from error


def _looks_like_store(path: str) -> bool:
    """Stores without their manifest, and unfinished ones, are to be told about as stores."""
    return is_directory(Path(path, "shards")) or is_directory(partial_path(Path(path)))


def _verified(path: str, *, quiet: bool) -> Verification:
    with _bar(quiet=quiet) as show:
        return verify_store(path, progress=lambda done, total: show("verifying shards", done, total))


_Show = Callable[[str, int, int | None], None]


@contextmanager
def _bar(*, quiet: bool) -> Iterator[_Show]:
    console = _errors()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True, expand=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("opening files", total=None)
        yield lambda text, done, total: progress.update(task, description=text, completed=done, total=total)


def _as_rows(show: _Show) -> Callable[[IngestProgress], None]:
    return lambda state: show(f"{state.phase} rows", state.done, state.total)


def _show(facts: Mapping[str, Any], view: Any, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    else:
        Console(highlight=False).print(view)


def _print(text: str) -> None:
    Console(highlight=False).print(text, soft_wrap=True, markup=False)


def _errors() -> Console:
    return Console(stderr=True, highlight=False)
