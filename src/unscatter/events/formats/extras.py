"""Libraries that not everybody has."""

from __future__ import annotations

import importlib
from typing import Any

from unscatter.errors import MissingExtraError


def library(name: str, reads: str, extra: str = "io") -> Any:
    """Import a library that only some formats need.

    Args:
        name: what is imported.
        reads: what it is needed for, in words.
        extra: the extra of this package that brings it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingExtraError(
            f"reading {reads} needs {package}, which is not installed ({error}). Install it: pip install 'unscatter[{extra}]'"
        ) from error
