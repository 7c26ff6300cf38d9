"""What all sections of a runcard share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _absolute(path: Path, info: Any) -> Path:
    base = (info.context or {}).get("directory", Path.cwd())
    return (base / path.expanduser()).absolute()


#: A file that is read: relative paths start at the directory of the runcard.
InputPath = Annotated[Path, AfterValidator(_absolute)]


def check_order(key: str, low: float | None, high: float | None) -> None:
    """Refuse a range that is upside down or empty."""
    if low is not None and high is not None and not low < high:
        hint = f"; write the lower end first: [{high:g}, {low:g}]" if low > high else ""
        raise ValueError(f"the range of '{key}' is upside down or empty, [{low:g}, {high:g}]{hint}")
