"""The tables of a report, as texts ready to print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unscatter.files import TEMPORARY_SUFFIX
from unscatter.report.record import ParameterRow, RunRecord, number
from unscatter.report.rounding import percentage, plain_number, rounded_pair

_MAX_FILES = 100


@dataclass(frozen=True)
class ParameterLine:
    """One row of the table of parameters; an empty text where there is nothing to say.

    Args:
        name: of the parameter.
        value: rounded to the precision of its error.
        error: spread of the replicas.
        bound: Cramer-Rao bound, or that the events do not fix the parameter.
        relative_bound: the bound in per cent.
        truth: what the pseudo-data were made with.
        pull: deviation from the truth over the error.
        allowed_range: where the parameter may lie.
        role: ``physics`` or ``nuisance``.
        determined: whether the events fix it.
    """

    name: str
    value: str
    error: str
    bound: str
    relative_bound: str
    truth: str
    pull: str
    allowed_range: str
    role: str
    determined: bool


def parameter_lines(rows: Sequence[ParameterRow]) -> list[ParameterLine]:
    """The table of parameters."""
    return [_parameter_line(row) for row in rows]


def last_values(record: RunRecord) -> list[tuple[str, str, str]]:
    """Name, last iterate and average of each parameter at the last recorded step, for a run without a result."""
    last = record.metrics[-1] if record.metrics else {}
    iterate, averaged = last.get("parameters") or {}, last.get("averaged") or {}
    return [(name, _number_text(iterate.get(name)), _number_text(averaged.get(name))) for name in dict.fromkeys([*iterate, *averaged])]


def flattened(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as ``{"method.learning_rate": "0.001"}``.

    Example:
        >>> flattened({"method": {"name": "gan", "betas": [0, 0.9]}, "seed": 1})
        {'method.name': 'gan', 'method.betas': '[0, 0.9]', 'seed': '1'}
    """
    if isinstance(value, Mapping) and value:
        nested = (flattened(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
        return {key: text for part in nested for key, text in part.items()}
    return {prefix: "" if value is None else str(value)}


def settings_of(record: RunRecord) -> dict[str, str]:
    """Flat settings of a run; empty where there are none or where the file is not YAML."""
    try:
        settings = yaml.safe_load(record.settings or "")
    except yaml.YAMLError:
        return {}
    return flattened(settings) if settings else {}


def files_of(directory: Path) -> list[tuple[str, str]]:
    """Files of a run directory with their sizes, without what comes and goes."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.suffix != TEMPORARY_SUFFIX)
    listed = [path for path in files if path.relative_to(directory).as_posix() not in ("lock", "report.html")]
    lines = [(path.relative_to(directory).as_posix(), size_text(path.stat().st_size)) for path in listed[:_MAX_FILES]]
    return lines + ([(f"and {len(listed) - _MAX_FILES} more", "")] if len(listed) > _MAX_FILES else [])


def size_text(num_bytes: int) -> str:
    """A size as people say it.

    Example:
        >>> size_text(512), size_text(1_250_000)
        ('512 B', '1.2 MB')
    """
    size = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _parameter_line(row: ParameterRow) -> ParameterLine:
    return ParameterLine(
        name=row.name,
        value="not finite" if row.value is None else rounded_pair(row.value, row.sigma)[0],
        error=_error_text(row, row.error),
        bound=_error_text(row, row.bound) if row.determined else "not determined",
        relative_bound="" if row.relative_bound is None else percentage(row.relative_bound),
        truth="" if row.truth is None else plain_number(row.truth, 6),
        pull="" if row.pull is None else f"{row.pull:+.2f}",
        allowed_range=" to ".join(_range_ends(row)),
        role=row.role,
        determined=row.determined,
    )


def _error_text(row: ParameterRow, error: float | None) -> str:
    if error is None:
        return ""
    return rounded_pair(row.value or 0.0, error)[1] or plain_number(error)


def _range_ends(row: ParameterRow) -> Iterator[str]:
    if row.low is not None or row.high is not None:
        yield "-∞" if row.low is None else plain_number(row.low)
        yield "∞" if row.high is None else plain_number(row.high)


def _number_text(value: Any) -> str:
    known = number(value)
    return "" if known is None else plain_number(known, 5)
