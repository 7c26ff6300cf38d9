"""What all sections of a runcard share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from unscatter.events.locations import is_remote
from unscatter.problems import example_file


class Section(BaseModel):
    """A frozen group of settings that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


#: How the path of an example file that comes with the package begins.
_EXAMPLE = "example:"


def _absolute(path: Path, info: Any) -> Path:
    if str(path).startswith(_EXAMPLE):
        return example_file(str(path).removeprefix(_EXAMPLE))
    base = (info.context or {}).get("directory", Path.cwd())
    return (base / path.expanduser()).absolute()


def _not_empty(value: Any) -> Any:
    """An empty path would be the directory of the runcard."""
    if value == "":
        raise PydanticCustomError("path_empty", "a path must not be empty")
    return value


#: A file that is read: relative paths start at the directory of the runcard, ``example:NAME`` is a file that comes with the package.
InputPath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_absolute)]


def _location(value: Any, info: Any) -> Path | str:
    if not isinstance(_not_empty(value), str | os.PathLike):
        raise PydanticCustomError("path_type", "a path was expected")
    return value if isinstance(value, str) and is_remote(value) else _absolute(Path(value), info)


#: As :data:`InputPath`, or a URL; both may be patterns.
InputLocation = Annotated[Path | str, PlainValidator(_location), WithJsonSchema({"type": "string", "format": "path"})]


def check_order(key: str, low: float | None, high: float | None) -> None:
    """Refuse a range that is upside down or empty."""
    if low is not None and high is not None and not low < high:
        hint = f"; write the lower end first: [{high:g}, {low:g}]" if low > high else ""
        raise ValueError(f"the range of '{key}' is upside down or empty, [{low:g}, {high:g}]{hint}")
