"""Errors on the terminal."""

from __future__ import annotations

import sys

from rich.console import Console


def print_error(message: str) -> None:
    """Show one message on the standard error stream; long lines wrap at the edge of a terminal and stay whole in a file."""
    Console(stderr=True, highlight=False).print(f"[bold red]Error:[/] {_escaped(message)}", soft_wrap=not sys.stderr.isatty())


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
