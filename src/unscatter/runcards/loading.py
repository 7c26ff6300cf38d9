"""From a file or a text, and overrides, to a runcard."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from unscatter.errors import SettingsError
from unscatter.files import missing_path
from unscatter.runcards.messages import Explainer
from unscatter.runcards.runcard import Runcard
from unscatter.runcards.yaml_text import KeyPath, parse, parse_value


def load_runcard(source: str | Path, overrides: Sequence[str] = ()) -> Runcard:
    """Read and validate a runcard.

    Args:
        source: a path, or the text itself, which has more than one line.
        overrides: settings that replace those of the runcard, ``"solve.steps=100"``; values are YAML.

    Raises:
        SettingsError: the file is missing, is not YAML, or holds something wrong; the message lists all errors with their lines.

    Example:
        >>> card = load_runcard(
        ...     '''
        ... problem: {name: proxy2d}
        ... events: {events: data.parquet}
        ... ''',
        ...     ["solve.steps=100", "method.loss=wasserstein-gp"],
        ... )
        >>> card.solve.steps, card.method.loss
        (100, 'wasserstein-gp')
    """
    if isinstance(source, str) and "\n" in source:
        return _load(source, "the runcard", None, overrides)
    path = Path(source)
    return _load(_read(path), str(path), path, overrides)


def _read(path: Path) -> str:
    if path.is_dir():
        cards = sorted(file.name for pattern in ("*.yaml", "*.yml") for file in path.glob(pattern))[:5]
        raise SettingsError(f"'{path}' is a directory, not a runcard." + (f" Name one of its files: {cards}." if cards else ""))
    if not path.exists():
        raise SettingsError(missing_path(path))
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read '{path}': {error}.") from error


def _load(text: str, name: str, path: Path | None, overrides: Sequence[str]) -> Runcard:
    raw, lines = parse(text, name)
    if not isinstance(raw, dict):
        found = "is empty" if raw is None else f"holds {type(raw).__name__}, not a mapping"
        raise SettingsError(f"'{name}' {found}. A runcard has at least the keys 'problem' and 'events':\n{_MINIMAL}")
    raw, changed = _with_overrides(raw, overrides)
    explainer = Explainer(Runcard, raw, lines, frozenset(changed))
    directory = Path.cwd() if path is None else path.absolute().parent
    try:
        card = Runcard.model_validate(raw, context={"directory": directory})
    except ValidationError as error:
        raise SettingsError(_message(name, explainer.explain(error.errors()))) from error
    numbers = [f"{explainer.place(place)}: must be a number, got {str(value).lower()}." for place, value in _booleans_as_numbers(raw, card)]
    if numbers:
        raise SettingsError(_message(name, numbers))
    return card.from_source(text, path)


_MINIMAL = "  problem: {name: proxy2d}\n  events: {events: data.parquet}"


def _message(name: str, errors: Sequence[str]) -> str:
    if len(errors) == 1:
        return f"in '{name}': {errors[0]}"
    return "\n".join([f"'{name}' has {len(errors)} errors:", *(f"- {error}" for error in errors)])


def _with_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[KeyPath]]:
    raw, changed = copy.deepcopy(raw), []
    for override in overrides:
        key, equals, text = override.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            raise SettingsError(f"'{override}' is not an override. Write key=value with a dotted key, for example solve.steps=100.")
        _set(raw, path, parse_value(text, override), override)
        changed.append(path)
    return raw, changed


def _set(raw: dict[str, Any], path: tuple[str, ...], value: Any, override: str) -> None:
    place: Any = raw
    for depth in range(len(path) - 1):
        key = _key(place, path, depth, override)
        if isinstance(place, dict) and place.get(key) is None:
            place[key] = {}
        place = place[key]
    place[_key(place, path, len(path) - 1, override)] = value


def _key(place: Any, path: tuple[str, ...], depth: int, override: str) -> Any:
    """The key or position in ``place`` that a part of a dotted key names."""
    part, above = path[depth], ".".join(path[:depth])
    if isinstance(place, dict):
        return part
    if not isinstance(place, list):
        raise SettingsError(f"'{override}': '{above}' is {place!r} in the runcard, not a mapping with a key '{part}'.")
    if not part.isdecimal() or int(part) >= len(place):
        raise SettingsError(f"'{override}': '{above}' is a list of {len(place)} entries, counted from 0; '{part}' is none of them.")
    return int(part)


def _booleans_as_numbers(raw: Any, value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, bool]]:
    """Places where true or false was taken for 1 or 0."""
    if isinstance(raw, bool) and isinstance(value, int | float) and not isinstance(value, bool):
        yield path, raw
    elif isinstance(raw, dict):
        for key, item in raw.items():
            inner = getattr(value, str(key), None) if isinstance(value, BaseModel) else value.get(key) if isinstance(value, dict) else None
            yield from _booleans_as_numbers(item, inner, (*path, str(key)))
    elif isinstance(raw, list) and isinstance(value, tuple | list):
        for index, (item, inner) in enumerate(zip(raw, value, strict=False)):
            yield from _booleans_as_numbers(item, inner, (*path, index))
