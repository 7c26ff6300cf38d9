"""From texts and figures to one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from unscatter.errors import RunError
from unscatter.files import write_failure
from unscatter.report.style import ReportFigure, data_uri, save_figure


@dataclass(frozen=True)
class Picture:
    """A figure as a page shows it."""

    stem: str
    title: str
    caption: str
    source: str
    wide: bool


def save_pictures(figures: Sequence[ReportFigure], directory: Path) -> list[Picture]:
    """Save figures for papers and encode them for the page.

    Raises:
        RunError: the directory cannot be written.
    """
    if not figures:
        return []
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(write_failure(directory, error)) from error
    return [Picture(f.stem, f.title, f.caption, data_uri(save_figure(f, directory)), f.wide) for f in figures]


def render(template: str, **values: Any) -> str:
    """Fill a template; everything is escaped, and a name that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("unscatter.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(template).render(written=written, program=_program(), **values)


def _program() -> str:
    try:
        return f"unscatter {version('unscatter')}"
    except PackageNotFoundError:
        return "unscatter"
