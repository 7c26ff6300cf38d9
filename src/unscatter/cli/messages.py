"""Errors and notes on the terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text


def print_error(message: str) -> None:
    """Show one message on the standard error stream; long lines wrap at the edge of a terminal and stay whole in a file."""
    _print("Error:", "bold red", message, soft_wrap=not sys.stderr.isatty())


def print_note(message: str) -> None:
    """Show one message about what is no error on the standard error stream."""
    _print("Note:", "yellow", message, soft_wrap=True)


def print_warning(message: str) -> None:
    """Show one message about what probably is an error on the standard error stream."""
    _print("Warning:", "yellow", message, soft_wrap=True)


def _print(kind: str, style: str, message: str, *, soft_wrap: bool) -> None:
    # Not a text with markup: escaping it is not safe for all that a message may quote.
    Console(stderr=True, highlight=False).print(Text.assemble((kind, style), " ", message), soft_wrap=soft_wrap)
